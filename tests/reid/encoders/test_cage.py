import pytest
import torch
from torch import nn

from gaitreid.reid.config import CageConfig
from gaitreid.reid.encoders.cage import Cage, GroupedLSTMCell

SMALL = CageConfig(hidden=8, standardize=False)


def cage(joints=4, length=5, config=SMALL):
    torch.manual_seed(0)
    return Cage(joints, length, config)


@pytest.mark.parametrize(
    ("joints", "length", "contrastive", "count"),
    [
        (20, 6, "paper", 7_623_228),
        (25, 6, "paper", 7_657_803),
        (20, 6, "none", 6_245_436),
        (25, 6, "none", 6_280_011),
    ],
)
def test_parameters_to_the_unit(joints, length, contrastive, count):
    model = Cage(joints, length, CageConfig(contrastive=contrastive))
    assert sum(p.numel() for p in model.parameters()) == count


def test_shapes_and_attention():
    model, windows = cage(), torch.randn(3, 5, 4, 3)
    output, attention, context = model(windows)
    assert output.shape == (3, 3, 5, 4)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(3, 3, 5))
    hidden, _ = model._encode(model.coordinates(windows))
    torch.testing.assert_close(context, attention @ hidden)
    features = model.features(windows)
    assert features.shape == (3, 5, 24)
    torch.testing.assert_close(features[:, 2, 8:16], context[1][:, 2])  # [x; y; z]


def test_grouped_layer_is_torchs_own_lstm():
    torch.manual_seed(1)
    layer, x = GroupedLSTMCell(4, 6), torch.randn(3, 2, 7, 4)
    for axis in range(3):
        lstm = nn.LSTM(4, 6, batch_first=True)
        own = (layer.input[axis].T, layer.hidden[axis].T, layer.bias[axis, 0], torch.zeros(24))
        with torch.no_grad():
            for theirs, ours in zip(lstm.parameters(), own, strict=True):
                theirs.copy_(ours)
        expected, _ = lstm(x[axis])
        state = (torch.zeros(3, 2, 6), torch.zeros(3, 2, 6))
        steps = []
        for t in range(7):
            state = layer(layer.project(x[:, :, t]), state)
            steps.append(state[0][axis])
        torch.testing.assert_close(torch.stack(steps, dim=1), expected)


def slow_forward(model, windows):
    """One axis, one window, one step at a time, as the fact sheet says (section 2.1)."""
    k, f = model.config.hidden, model.length

    def cell(layer, axis, x, h, c):
        gates = x @ layer.input[axis] + h @ layer.hidden[axis] + layer.bias[axis, 0]
        i, forget, g, o = gates.chunk(4)
        c = torch.sigmoid(forget) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    outputs = torch.zeros(3, len(windows), f, windows.shape[2])
    for axis in range(3):
        for b, window in enumerate(windows):
            h1 = c1 = h2 = c2 = torch.zeros(k)
            top = []
            for t in range(f):
                h1, c1 = cell(model.encoder1, axis, window[t, :, axis], h1, c1)
                h2, c2 = cell(model.encoder2, axis, h1, h2, c2)
                top.append(h2)
            hidden, attentional = torch.stack(top), torch.zeros(k)
            for t in range(f):
                x = torch.cat([torch.zeros(windows.shape[2]), attentional])
                h1, c1 = cell(model.decoder1, axis, x, h1, c1)
                h2, c2 = cell(model.decoder2, axis, h1, h2, c2)
                a = torch.softmax((hidden @ model.score[axis]) @ h2, dim=0)
                attentional = torch.cat([h2, a @ hidden]) @ model.combine[axis]
                outputs[axis, b, t] = attentional @ model.output[axis] + model.output_bias[axis, 0]
    return outputs


def test_against_a_slow_forward_pass():
    model, windows = cage(), torch.randn(2, 5, 4, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(windows)[0], slow_forward(model, windows))


def test_targets_do_not_reach_the_features():
    model, windows = cage(), torch.randn(2, 5, 4, 3)
    before = model.features(windows)
    _, parts = model.loss(windows, torch.ones(1, dtype=torch.bool))
    torch.testing.assert_close(model.features(windows), before)
    assert set(parts) == {"loss", "reconstruction", "locality", "contrastive"}


@pytest.mark.parametrize("change", [{"attention": "bas"}, {"contrastive": "none"}, {"standardize": True}])
def test_options(change):
    model = cage(config=CageConfig(hidden=8, **change))
    model.prepare(torch.randn(50, 4, 3) * 4 + 2)
    total, parts = model.loss(torch.randn(3, 5, 4, 3), torch.ones(2, dtype=torch.bool))
    assert torch.isfinite(total)
    assert ("locality" in parts) == (change.get("attention") != "bas")
    assert ("contrastive" in parts) == (change.get("contrastive") != "none")


def test_gradients_of_the_whole_loss():
    model = cage(2, 3, CageConfig(hidden=3, standardize=False, temperature=1.0)).double()
    follows = torch.ones(2, dtype=torch.bool)
    windows = torch.randn(3, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model.loss(x, follows)[0], windows)
