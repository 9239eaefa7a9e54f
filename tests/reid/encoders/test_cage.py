import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from benchmarks.encoder import Plain
from walks import batch, takes

from gaitreid.pose.errors import UsageError
from gaitreid.reid.config import CageConfig
from gaitreid.reid.encoders.cage import Cage, CagePlus, age

SMALL = CageConfig(hidden=8, standardize=False)


def cage(joints=4, length=5, config=SMALL):
    torch.manual_seed(0)
    return Cage(takes(joints, length), config)


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("joints", "length", "of_cage", "of_age"),
    [(20, 6, 7_623_228, 6_245_436), (25, 6, 7_657_803, 6_280_011), (14, 20, None, None)],
)
def test_parameters_to_the_unit(joints, length, of_cage, of_age):
    # At J=14 the source counts two dead copies an axis, a kernel (J + 256) x 1024 and a bias of 1024: they are taken off.
    dead = 3 * ((joints + 256) * 1024 + 1024)
    expected = 11_166_762 - dead if joints == 14 else of_cage
    assert count(Cage(takes(joints, length))) == expected
    if of_age:
        assert count(age(takes(joints, length))) == of_age
        assert of_cage + dead == {20: 8_474_172, 25: 8_524_107}[joints]  # the published 8.47 M
        assert of_age + dead == {20: 7_096_380, 25: 7_146_315}[joints]  # the published 7.15 M


def test_the_benchmarks_plain_version_is_the_same_model():
    torch.manual_seed(0)
    plain: Any = Plain(5, 4, 8)
    model: Any = cage(config=replace(SMALL, contrastive="paper", regularisation=0.0))
    order = torch.cat([torch.arange(16), torch.arange(24, 32), torch.arange(16, 24)])  # i, f, o, g to i, f, g, o
    with torch.no_grad():
        for k, axis in enumerate(plain.axes):
            cells = [(model.encoder1, axis.encoder, "_l0"), (model.encoder2, axis.encoder, "_l1")]
            cells += [(model.decoder1, axis.decoder1, ""), (model.decoder2, axis.decoder2, "")]
            for ours, theirs, layer in cells:
                weight, bias = ours.weight[k][order], ours.gate_bias[k, :, 0][order]
                getattr(theirs, f"weight_ih{layer}").copy_(weight[:, :-8])
                getattr(theirs, f"weight_hh{layer}").copy_(weight[:, -8:])
                getattr(theirs, f"bias_ih{layer}").copy_(bias)
                getattr(theirs, f"bias_hh{layer}").zero_()
            axis.score.weight.copy_(model.score[k])
            axis.combine.weight.copy_(model.combine[k])
            axis.output.weight.copy_(model.output[k])
            axis.output.bias.copy_(model.output_bias[k, :, 0])
            for linear, name in ((axis.head[0], "inner"), (axis.head[2], "outer")):
                linear.weight.copy_(model.head[name][k])
                linear.bias.copy_(model.head[f"{name}_bias"][k, :, 0])
    windows = torch.randn(6, 5, 4, 3)
    with torch.no_grad():
        torch.testing.assert_close(plain.features(windows), model.features(windows), atol=1e-5, rtol=1e-4)
        expected = torch.stack([axis.loss(windows[..., k], regularisation=0.0) for k, axis in enumerate(plain.axes)]).sum()
        torch.testing.assert_close(model.loss(batch(windows))[0], expected, atol=1e-3, rtol=1e-4)


def slow_forward(model, windows, aux):
    """One axis, one window, one step at a time, as the fact sheet says (sections 2.1 and 2.2)."""
    config, k, f, joints = model.config, model.config.hidden, model.length, windows.shape[2]

    def cell(layer, axis, x, h, c):
        gates = layer.weight[axis, :, : len(x)] @ x + layer.weight[axis, :, len(layer.weight[axis, 0]) - k :] @ h
        i, forget, o, g = (gates + layer.bias[axis, :, 0]).chunk(4)
        c = torch.sigmoid(forget + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    outputs, attention = torch.zeros(f, 3, joints, len(windows)), torch.zeros(3, len(windows), f, f)
    contexts = torch.zeros(3, len(windows), f, k)
    for axis, b in itertools.product(range(3), range(len(windows))):
        h1 = c1 = h2 = c2 = torch.zeros(k)
        top = []
        for t in range(f):
            h1, c1 = cell(model.encoder1, axis, windows[b, t, :, axis], h1, c1)
            h2, c2 = cell(model.encoder2, axis, h1, h2, c2)
            top.append(h2)
        hidden, attentional, fed = torch.stack(top), torch.zeros(k), torch.zeros(joints)
        for t in range(f):
            if config.aux == "teacher":
                fed = torch.zeros(joints) if t == 0 else aux[b, t - 1, :, axis]
            x = fed if config.attention == "none" else torch.cat([fed, attentional])
            h1, c1 = cell(model.decoder1, axis, x, h1, c1)
            h2, c2 = cell(model.decoder2, axis, h1, h2, c2)
            attentional = h2
            if config.attention != "none":
                keys = hidden @ model.score[axis].T if config.score == "general" else hidden
                a = torch.softmax(keys @ h2, dim=0)
                context = (a * model.mask[t] if config.attention == "mbas" else a) @ hidden
                attentional = model.combine[axis] @ torch.cat([h2, context])
                attentional = torch.tanh(attentional) if config.squash else attentional
                attention[axis, b, t], contexts[axis, b, t] = a, context
            outputs[t, axis, :, b] = model.output[axis] @ attentional + model.output_bias[axis, :, 0]
            if config.aux == "free":
                fed = outputs[t, axis, :, b]
        if config.attention == "none":
            contexts[axis, b] = hidden
    return outputs, attention, contexts


OPTIONS = [
    {"attention": attention, "aux": aux, "score": score, "squash": squash}
    for attention, aux, (score, squash) in itertools.product(
        ("none", "las", "mbas"), ("zero", "teacher", "free"), (("general", False), ("dot", True))
    )
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_against_a_slow_forward_pass(options):
    model, windows, target = cage(config=replace(SMALL, **options)), torch.randn(2, 5, 4, 3), torch.randn(2, 5, 4, 3)
    with torch.no_grad():
        for weights in (model.encoder1.bias, model.decoder1.bias, model.output_bias):
            weights.normal_()
        aux = model._aux(model.coordinates(target))
        found = model(model.coordinates(windows), aux)
        expected = slow_forward(model, windows, target)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-4)
    if options["attention"] != "none":
        torch.testing.assert_close(found[1], expected[1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found[1].sum(dim=-1), torch.ones(3, 2, 5))
    torch.testing.assert_close(found[2], expected[2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_gradients_of_the_whole_loss(options):
    model = sharp(replace(SMALL, hidden=3, temperature=1.0, **options), 2, 3).double()
    names = [name for name, _ in model.named_parameters()]
    windows = torch.randn(3, 3, 2, 3, dtype=torch.float64)

    def loss(*values):
        for name, value in zip(names, values, strict=True):
            parent, _, last = name.rpartition(".")
            owner = model.get_submodule(parent) if parent and not parent.startswith("head") else model
            if parent.startswith("head"):
                model.head._parameters.pop(last, None)
                model.head.__dict__[last] = value
            else:
                owner._parameters.pop(last, None)
                owner.__dict__[last] = value
        return model.loss(batch(windows))[0]

    assert torch.autograd.gradcheck(loss, [p.detach().clone().requires_grad_() for p in model.parameters()], fast_mode=True)


def test_gradients_with_and_without_what_the_other_kind_of_cpu_uses(monkeypatch):
    # oneDNN's products are taken where the processor has AVX-512; both must give the same.
    from gaitreid.reid.encoders import recurrent

    model, windows = cage(), torch.randn(6, 5, 4, 3)
    found = []
    for onednn in (False, True):
        monkeypatch.setattr(recurrent, "ONEDNN", onednn)
        model.zero_grad()
        model.loss(batch(windows))[0].backward()
        found.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


class Strict:
    """oneDNN's product on any processor; refuses a second operand with gaps, for which oneDNN takes a thousand times as long."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, weight, bias, attr, scalars, algorithm):
        assert (bias, attr, scalars, algorithm) == (None, "none", [], "")
        return self.binary(x, torch.zeros(()), weight, None, "add")

    def binary(self, x, other, weight, bias, attr):
        assert (bias, attr) == (None, "add")
        assert weight.is_contiguous() or weight.T.is_contiguous()
        self.calls += 1
        return x @ weight.T + other


def test_no_operand_of_onednns_products_has_gaps(monkeypatch):
    from gaitreid.reid.encoders import recurrent

    model, windows = cage(), torch.randn(6, 5, 4, 3)
    gradients = []
    for onednn, function in ((False, None), (True, strict := Strict())):
        monkeypatch.setattr(recurrent, "ONEDNN", onednn)
        monkeypatch.setattr(recurrent, "_onednn", function)
        model.zero_grad()
        model.loss(batch(windows))[0].backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert strict.calls > 100
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    with torch.no_grad():
        model.features(windows)


def test_bfloat16_is_near_float32():
    model, windows = cage(), torch.randn(4, 5, 4, 3)
    exact, _ = model.loss(batch(windows))
    exact.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.precision = torch.bfloat16
    low, _ = model.loss(batch(windows))
    low.backward()
    assert float(low.detach()) == pytest.approx(float(exact.detach()), rel=0.02)
    for p, expected in zip(model.parameters(), gradients, strict=True):
        assert p.grad.dtype == torch.float32
        assert torch.linalg.vector_norm(p.grad - expected) < 0.1 * torch.linalg.vector_norm(expected) + 1e-6


def test_shapes_and_order_of_the_features():
    model, windows = cage(), torch.randn(3, 5, 4, 3)
    with torch.no_grad():
        _, attention, context = model(model.coordinates(windows))
        hidden, _ = model._encode(model.coordinates(windows))
    torch.testing.assert_close(context, attention @ hidden.permute(1, 3, 0, 2))
    features = model.features(windows)
    assert features.shape == (3, 5, 24)
    torch.testing.assert_close(features[:, 2, 8:16], context[1][:, 2])  # [x; y; z]
    shown = cage(config=replace(SMALL, features="hidden")).features(windows)
    torch.testing.assert_close(shown[:, 2, 8:16], hidden[2, 1].T)


def test_targets_do_not_reach_the_features_where_the_decoder_is_fed_zeros():
    model, windows = cage(config=replace(SMALL, pretext="prediction", aux="zero")), torch.randn(2, 5, 4, 3)
    with torch.no_grad():
        x = model.coordinates(windows)
        _, attention, context = model(x, model._aux(torch.randn_like(x) * 100))
        torch.testing.assert_close(context, model.by_axis(windows))
        torch.testing.assert_close(attention, model(x)[1])


def test_locality_is_trained_by_las_alone_and_not_where_there_is_no_reverse_order():
    cases: list[tuple[dict[str, Any], bool]] = [({}, True), ({"attention": "bas"}, False), ({"pretext": "sorting"}, False)]
    for change, there in cases:
        model = cage(config=replace(SMALL, **change))
        assert ("locality" in model.loss(batch(torch.randn(3, 5, 4, 3)))[1]) == there


@pytest.mark.parametrize("pretext", ["prediction", "sorting"])
@pytest.mark.parametrize("attention", ["none", "las"])
def test_where_no_target_is_known_later_the_decoder_is_fed_its_own_output(attention, pretext):
    config = replace(SMALL, attention=attention, pretext=pretext, contrastive="none")
    windows = torch.randn(3, 5, 4, 3)
    taught, free, zero = (sharp(replace(config, aux=aux)).loss(batch(windows))[0] for aux in ("teacher", "free", "zero"))
    assert torch.equal(taught, free)
    assert not torch.isclose(free, zero, rtol=1e-4)


def sharp(config, joints=4, length=5):
    """Weights so large that it shows what the decoder is fed."""
    model = cage(joints, length, config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    return model


@pytest.mark.parametrize("pretext", ["reverse", "plain"])
def test_windows_are_encoded_as_they_are_trained_on(pretext):
    model, windows = sharp(replace(SMALL, pretext=pretext, aux="teacher")), torch.randn(3, 5, 4, 3)
    trained = []
    hook = model.register_forward_hook(lambda _, arguments, result: trained.append(result[2]))
    with torch.no_grad():
        model.loss(batch(windows))
        hook.remove()
        torch.testing.assert_close(model.by_axis(windows), trained[0])
        unfed = model(model.coordinates(windows))[2]
    assert (unfed - trained[0]).abs().max() > 1e-3


@pytest.mark.parametrize(("encode_aux", "fed"), [("same", "teacher"), ("free", "free")])
def test_windows_can_be_encoded_with_the_decoders_own_output(encode_aux, fed):
    model, windows = sharp(replace(SMALL, aux="teacher", encode_aux=encode_aux)), torch.randn(2, 5, 4, 3)
    with torch.no_grad():
        found = model.by_axis(windows)
        model.config = replace(model.config, aux=fed)
        expected = slow_forward(model, windows, windows.flip(1))[2]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_negatives_within_a_track_make_the_loss_of_each_track_weighed_by_its_pairs():
    config = replace(SMALL, contrastive="paper", pairs="within")
    model, windows = cage(config=config), torch.randn(7, 5, 4, 3)

    def contrastive(rows, **options):
        return float(model.loss(batch(windows[rows], **options))[1]["contrastive"])

    both = contrastive(slice(None), pairs=[True, True, True, False, True, True])
    assert both == pytest.approx((3 * contrastive(slice(4)) + 2 * contrastive(slice(4, None))) / 5, rel=1e-5)
    model.config = replace(config, pairs="track")
    assert both < 0.9 * contrastive(slice(None), pairs=[True, True, True, False, True, True])


def test_pairs_of_the_batch_are_pairs_whoever_they_are_of():
    model, windows = cage(config=replace(SMALL, contrastive="paper", pairs="batch")), torch.randn(5, 5, 4, 3)
    everybody = float(model.loss(batch(windows, pairs=[True, False, True, False]))[1]["contrastive"])
    model.config = replace(model.config, pairs="track")
    assert everybody == pytest.approx(float(model.loss(batch(windows))[1]["contrastive"]))
    assert everybody != pytest.approx(float(model.loss(batch(windows, pairs=[True, False, True, False]))[1]["contrastive"]))


def test_pretext_tasks_read_and_aim_at_what_the_paper_says():
    windows, later = torch.randn(2, 5, 4, 3), torch.randn(2, 5, 4, 3)
    of = batch(windows, later=later)
    model = cage()
    x = model.coordinates(windows)
    cases: dict[str, Any] = {"plain": x, "reverse": x.flip(0), "prediction": model.coordinates(later)}
    for pretext, target in cases.items():
        change: dict[str, Any] = {"pretext": pretext}
        read, aim = cage(config=replace(SMALL, **change))._task(x, of)
        assert torch.equal(read, x)
        assert torch.equal(aim, target)
    read, aim = cage(config=replace(SMALL, pretext="sorting"))._task(x, of)
    assert torch.equal(aim, x)
    assert not torch.equal(read, x)
    torch.testing.assert_close(read.sort(dim=0).values, x.sort(dim=0).values)
    assert cage(config=replace(SMALL, pretext="prediction")).ahead == 2
    assert cage(config=replace(SMALL, pretext="prediction-full")).ahead == 5


def test_windows_without_a_later_one_do_not_count_in_prediction():
    model, windows = cage(config=replace(SMALL, pretext="prediction", contrastive="none")), torch.randn(3, 5, 4, 3)
    two = model.loss(batch(windows[:2], later=windows[1:]))[0]
    have = torch.tensor([True, True, False])
    three = model.loss(batch(windows, later=torch.cat([windows[1:], windows[:1]]), has_later=have))[0]
    torch.testing.assert_close(two, three)


def test_the_sum_over_the_batch_is_the_mean_times_its_size():
    windows = torch.randn(3, 5, 4, 3)
    config = replace(SMALL, contrastive="none")
    mean, total = (cage(config=replace(config, reduction=r)).loss(batch(windows))[0] for r in ("mean", "sum"))
    torch.testing.assert_close(total, 3 * mean)
    config, have = replace(config, pretext="prediction"), torch.tensor([True, False, True])
    models = (cage(config=replace(config, reduction=r)) for r in ("mean", "sum"))
    mean, total = (model.loss(batch(windows, later=windows, has_later=have))[0] for model in models)
    torch.testing.assert_close(total, 2 * mean)  # of those that have a target


def test_plus_is_three_encoders_side_by_side_within_each_axis():
    torch.manual_seed(0)
    model, windows = CagePlus(takes(), SMALL), torch.randn(2, 5, 4, 3)
    features = model.features(windows)
    assert features.shape == (2, 5, 72)
    for axis, task in itertools.product(range(3), range(3)):
        own = features[..., axis * 24 + task * 8 : axis * 24 + task * 8 + 8]
        torch.testing.assert_close(own, model.encoders[task].by_axis(windows)[axis])
    assert count(model) == sum(count(e) for e in model.encoders)
    with pytest.raises(UsageError, match="different tasks"):
        CagePlus(takes(), replace(SMALL, tasks=("reverse", "reverse")))


def test_training_three_side_by_side_is_training_each_alone():
    from walks import people

    from gaitreid.reid.config import TrainConfig
    from gaitreid.reid.train import train

    frames, start, track, _ = people()
    config = TrainConfig(epochs=2, batch=16)
    torch.manual_seed(0)
    plus = CagePlus(takes(), replace(SMALL, tasks=("reverse", "prediction")))
    alone = Cage(takes(), replace(SMALL, pretext="prediction"))
    alone.load_state_dict(plus.encoders[1].state_dict())
    for model in (plus, alone):
        for _ in train(model, frames, start, track, config, torch.device("cpu"), 0):
            pass
    for a, b in zip(plus.encoders[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
