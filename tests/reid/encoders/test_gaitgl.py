from dataclasses import replace
from typing import Any

import pytest
import torch
from benchmarks.plain_gaitgl import PlainGaitGl, load_ours

from gaitreid.pose.errors import UsageError
from gaitreid.reid.config import GaitGlConfig
from gaitreid.reid.encoders.gaitgl import GaitGl, GeM, GlobalLocal
from gaitreid.reid.walks import Clips

PEOPLE = tuple(f"{k:03d}" for k in range(74))
SMALL = GaitGlConfig(channels=(2, 3, 4, 5), embed_dim=6, shrink=2)


def clips(count=4, frames=9, seed=0):
    torch.manual_seed(seed)
    silhouettes = (torch.rand(count, frames, 64, 44) > 0.5).float()
    return Clips(silhouettes, torch.zeros(count, frames, 17, 3), torch.zeros(count, frames, 4), torch.zeros(count, frames))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_casia_b_has_its_number_of_parameters():
    model: Any = GaitGl(PEOPLE)
    assert parameters(model) == 3_096_673
    assert [parameters(stage) for stage in model.maps.stages] == [110_592, 442_368, 884_736]
    assert (parameters(model.maps.stem), parameters(model.maps.aggregate)) == (864, 3_072)
    assert (parameters(model.separate), parameters(model.scale), parameters(model.classes)) == (1_048_576, 256, 606_208)


def test_every_stage_has_the_shape_of_the_table():
    table = {
        "stem": (32, 30, 64, 44),
        "lta": (32, 10, 64, 44),
        "GLConvA0": (64, 10, 64, 44),
        "pool": (64, 10, 32, 22),
        "GLConvA1": (128, 10, 32, 22),
        "GLConvB2": (128, 10, 64, 22),
        "TP": (128, 64, 22),
        "GeM": (128, 64),
        "head0": (128, 64),
        "bn": (128, 64),
        "head1": (74, 64),
    }
    seen = {}
    model: Any = GaitGl(PEOPLE).eval()
    there = clips(1, 30)
    named = {
        "stem": model.maps.stem,
        "lta": model.maps.aggregate,
        "GLConvA0": model.maps.stages[0],
        "pool": model.maps.pool,
        "GLConvA1": model.maps.stages[1],
        "GLConvB2": model.maps.stages[2],
        "GeM": model.gem,
        "head0": model.separate,
        "bn": model.scale,
    }
    for name, module in named.items():
        module.register_forward_hook(lambda _m, given, out, name=name: seen.update({name: out.shape[1:], f"{name} in": given}))
    with torch.no_grad():
        model.vectors(there)
    seen["TP"] = seen["GeM in"][0].shape[1:]
    seen["head1"] = model.classes(torch.zeros(2, 128, 64)).shape[1:]
    assert {name: tuple(seen[name]) for name in table} == table


def test_ou_mvlp_has_twice_the_layers_and_strips_of_half_the_body():
    config = GaitGlConfig(channels=(32, 64, 128, 256), blocks=(2, 2, 2), stem=2, partitions=2, embed_dim=256)
    model: Any = GaitGl(PEOPLE, config)
    with torch.no_grad():
        maps = model.maps(torch.zeros(1, 3, 64, 44))
    assert [[c.whole.weight.shape[:2] for c in stage] for stage in model.maps.stages] == [
        [(64, 32), (64, 64)],
        [(128, 64), (128, 128)],
        [(256, 128), (256, 256)],
    ]
    assert [[c.upon for c in stage] for stage in model.maps.stages] == [[False, False], [False, False], [False, True]]
    assert maps.shape == (1, 256, 1, 64, 22)
    assert model.parts == 64


def test_same_weights_same_outputs_and_gradients_as_the_plain_version():
    torch.manual_seed(0)
    there = clips(4, 7)
    ours: Any = GaitGl(("a", "b"), GaitGlConfig(channels=(2, 3, 4, 5)))
    theirs = load_ours(PlainGaitGl(2, (2, 3, 4, 5)), ours.state_dict())
    subject = torch.tensor([0, 1, 0, 1])
    loss, parts = ours.loss(ours.trunk(there), there, subject)
    expected = theirs.loss(there.silhouettes, subject)
    torch.testing.assert_close(loss, expected)
    assert set(parts) == {"loss", "triplet", "cross_entropy"}
    torch.testing.assert_close(parts["loss"], parts["triplet"] + parts["cross_entropy"])
    loss.backward()
    expected.backward()
    for a, b in (
        (ours.maps.stages[0][0].local.weight, theirs.conv0.loc.weight),
        (ours.maps.stem[0].weight, theirs.stem.weight),
        (ours.gem.exponent, theirs.p),
        (ours.separate.weight, theirs.head0),
    ):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval().vectors(there), theirs.eval().embed(there.silhouettes), atol=1e-5, rtol=1e-4)


def test_a_strip_sees_nothing_of_its_neighbours():
    torch.manual_seed(0)
    layer = GlobalLocal(2, 3, 4)
    x = torch.rand(1, 2, 5, 16, 6)
    other = x.clone()
    other[:, :, :, 4:8] += 1
    changed = (layer._strips(x) - layer._strips(other)).abs().amax(dim=(0, 1, 2, 4)) > 0
    assert changed.tolist() == [4 <= row < 8 for row in range(16)]


def test_the_generalised_mean_lies_between_mean_and_maximum():
    x = torch.rand(2, 3, 4, 9)
    torch.testing.assert_close(GeM(1.0)(x), x.mean(dim=-1))
    torch.testing.assert_close(GeM(100.0)(x + 0.5), x.amax(dim=-1) + 0.5, atol=0.04, rtol=0)
    torch.testing.assert_close(GeM()(x), (x.double() ** 6.5).mean(dim=-1).pow(1 / 6.5).float())
    assert (GeM()(-x) > 0).all()  # what is negative counts as next to nothing


def test_few_frames_are_repeated_where_three_make_one():
    model = GaitGl(("a", "b"), SMALL).eval()
    there = clips(1, 3)
    one = Clips(there.silhouettes[:, :1], there.keypoints[:, :1], there.box[:, :1], there.time[:, :1])
    thrice = replace(there, silhouettes=one.silhouettes.repeat(1, 3, 1, 1))
    with torch.no_grad():
        torch.testing.assert_close(model.vectors(one), model.vectors(thrice))


def test_a_vector_is_its_parts_one_after_the_other():
    model = GaitGl(("a", "b"), SMALL).eval()
    there = clips(2, 6)
    with torch.no_grad():
        vectors = model.vectors(there)
        embedded = model.scale(model.embed(model.trunk(there), there))
    assert model.parts == 32
    torch.testing.assert_close(vectors.view(2, 32, 6)[:, 5], embedded[:, :, 5])


def test_neck_and_weights_of_the_losses():
    there, subject = clips(4, 6), torch.tensor([0, 0, 1, 1])
    torch.manual_seed(0)
    model = GaitGl(("a", "b"), GaitGlConfig(**{**vars(SMALL), "neck": "bnneck", "ce_weight": 0.0}))
    assert model.classes is None
    features = model.trunk(there)
    loss, parts = model.loss(features, there, subject)
    assert set(parts) == {"loss", "triplet"}
    loss.backward()
    assert model.scale.weight.grad is None  # nothing behind the batch normalisation is asked for
    with torch.no_grad():
        before = model.embed(features, there).transpose(1, 2).flatten(1)
        torch.testing.assert_close(model.eval().vectors(there), before)


@pytest.mark.parametrize(
    "options",
    [{"channels": (2, 3)}, {"partitions": 7}, {"shrink": 3}, {"triplet_weight": 0.0, "ce_weight": 0.0}, {"smoothing": 1.0}],
)
def test_settings_that_cannot_be(options):
    with pytest.raises(UsageError):
        GaitGlConfig(**options)


def test_one_person_teaches_nothing():
    with pytest.raises(UsageError, match="two or more"):
        GaitGl(("a",))
