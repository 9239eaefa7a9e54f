from dataclasses import replace
from typing import Any

import pytest
import torch

from gaitreid.pose.errors import UsageError
from gaitreid.reid.config import AttentionConfig, GaitTakeConfig
from gaitreid.reid.encoders.gaitgl import GaitGl
from gaitreid.reid.encoders.gaittake import POSE, Attention, GaitTake
from gaitreid.reid.walks import Clips

PEOPLE = ("a", "b", "c")
TINY: dict[str, Any] = {"channels": (2, 3, 4, 5), "embed_dim": 6, "shrink": 2, "clip_len": 3}
FEW: dict[str, Any] = {"hidden": 7, "pose_hidden": 5}


def model(seed=0, attention=None, **options):
    torch.manual_seed(seed)
    return GaitTake(PEOPLE, GaitTakeConfig(**{**TINY, "attention": AttentionConfig(**{**FEW, **(attention or {})}), **options}))


def clips(count=3, frames=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    silhouettes = (torch.rand(count, frames, 64, 44, generator=generator) > 0.5).float()
    keypoints = torch.rand(count, frames, 17, 3, generator=generator) * torch.tensor([40.0, 90, 1])
    box = torch.tensor([0.0, 0, 40, 90]).expand(count, frames, 4)
    return Clips(silhouettes, keypoints, box, torch.arange(frames).expand(count, frames) / 25)


def frames_of(whole, part):
    return Clips(*(array[:, part] for array in (whole.silhouettes, whole.keypoints, whole.box, whole.time)))


def attention(clip=4, keep=False, inputs=6, seed=0):
    torch.manual_seed(seed)
    return Attention(inputs, 5, clip, keep=keep)


@pytest.mark.parametrize(
    ("frames", "clip", "keep", "clips_"),
    [
        (12, 4, False, 3),
        (14, 4, False, 3),
        (14, 4, True, 4),
        (3, 4, False, 1),
        *((30, clip, False, 30 // clip) for clip in (1, 3, 5, 6, 10, 30)),
    ],
)
def test_weights_of_every_clip_add_up_to_its_share(frames, clip, keep, clips_):
    weights = attention(clip, keep)(torch.randn(2, 6, frames))
    assert weights.shape == (2, frames)
    assert (weights >= 0).all()
    used = frames if keep or frames < clip else frames // clip * clip
    for k in range(clips_):
        part = weights[:, k * clip : min((k + 1) * clip, used)]
        torch.testing.assert_close(part.sum(dim=1), torch.full((2,), 1 / clips_))
    assert (weights[:, used:] == 0).all()  # exactly: dropped
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("keep", [False, True])
def test_it_is_the_two_convolutions_and_the_softmax_clip_by_clip(keep):
    of, frames = attention(4, keep), torch.randn(2, 6, 10)
    starts = [0, 4, 8] if keep else [0, 4]
    rows = []
    for start in starts:
        hidden = torch.relu(
            torch.einsum("oc,bct->bot", of.first.weight[:, :, 0], frames[:, :, start : start + 4]) + of.first.bias[:, None]
        )
        scores = []
        for t in range(hidden.shape[2]):
            total = of.second.bias.clone().expand(2)
            for tap, other in enumerate((t - 1, t, t + 1)):
                if 0 <= other < hidden.shape[2]:
                    total = total + hidden[:, :, other] @ of.second.weight[0, :, tap]
            scores.append(total)
        rows.append(torch.softmax(torch.stack(scores, dim=1), dim=1) / len(starts))
    expected = torch.cat(rows, dim=1)
    torch.testing.assert_close(of(frames)[:, : expected.shape[1]], expected)


def test_what_a_clip_is_filled_up_with_does_not_count():
    of = attention(6, keep=True)
    short = torch.randn(1, 6, 4)
    alone = of(short)
    torch.testing.assert_close(alone.sum(), torch.tensor(1.0))
    tail = of(torch.cat([torch.randn(1, 6, 6), short], dim=2))
    torch.testing.assert_close(tail[:, 6:], alone / 2)  # neither the clip before nor the filling is seen


def test_clips_in_another_order_have_their_weights_with_them():
    of, frames = attention(4), torch.randn(2, 6, 12)
    order = torch.tensor([8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7])
    torch.testing.assert_close(of(frames[:, :, order]), of(frames)[:, order])


def test_frames_of_a_tail_that_is_dropped_change_nothing_but_what_convolutions_see():
    of = model(attention={"streams": "both"}).eval()
    maps = torch.rand(2, 5, 10, 32, 11)
    other = maps.clone()
    other[:, :, 9] = 7  # L = 3: the tenth frame is in no clip
    with torch.no_grad():
        torch.testing.assert_close(of.pooled(maps), of.pooled(other))
        kept = model(tail="keep").eval()
        assert not torch.allclose(kept.pooled(maps), kept.pooled(other))


def test_attention_of_one_frame_a_clip_is_the_mean():
    of = model(clip_len=1).eval()
    maps = torch.rand(2, 5, 8, 32, 11)
    with torch.no_grad():
        torch.testing.assert_close(of.pooled(maps), of.gem(maps.mean(dim=2)))


def test_a_weight_for_every_row_where_asked_for():
    of = model(attention={"per_part": True}).eval()
    weights = of.weights(torch.rand(2, 5, 9, 32, 11))
    assert weights.shape == (2, 9, 32)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 32))
    assert weights.std(dim=2).max() > 0
    one = model().eval().weights(torch.rand(2, 5, 9, 32, 11))
    assert one.std(dim=2).max() == 0


def test_all_of_the_map_or_its_rows():
    pooled, full = model().eval(), model(attention={"input": "full"}).eval()
    assert pooled.attention.first.in_channels == 5 * 32
    assert full.attention.first.in_channels == 5 * 32 * 11
    maps = torch.rand(1, 5, 6, 32, 11)
    mirrored = maps.flip(4)
    with torch.no_grad():
        torch.testing.assert_close(pooled.weights(maps), pooled.weights(mirrored))
        assert not torch.allclose(full.weights(maps), full.weights(mirrored))


def test_without_attention_and_keypoints_it_is_gaitgl_without_aggregation():
    torch.manual_seed(0)
    options: dict[str, Any] = {
        **TINY,
        "attention": AttentionConfig(streams="none"),
        "pose_fusion": "none",
        "triplet": "all",
        "ce_weight": 1.0,
    }
    ours = GaitTake(PEOPLE, GaitTakeConfig(**options))
    theirs = GaitGl(PEOPLE, GaitTakeConfig(**options))
    theirs.load_state_dict(ours.state_dict())
    there, subject = clips(4), torch.tensor([0, 0, 1, 2])
    assert ours.needs == ("silhouettes",)
    torch.testing.assert_close(
        ours.loss(ours.trunk(there), there, subject)[0], theirs.loss(theirs.trunk(there), there, subject)[0]
    )


@pytest.mark.parametrize(
    ("options", "streams", "has"),
    [
        ({}, "both", (True, True)),
        ({}, "silhouette", (True, False)),
        ({}, "pose", (False, True)),
        ({"pose_fusion": "none"}, "both", (True, False)),
        ({}, "none", (False, False)),
    ],
)
def test_switches_of_the_streams(options, streams, has):
    of = model(attention={"streams": streams}, **options)
    assert (of.attention is not None, of.pose_attention is not None) == has
    assert of.needs == (("silhouettes",) if options else ("silhouettes", "keypoints"))
    there, subject = clips(4), torch.tensor([0, 0, 1, 1])
    loss, parts = of.loss(of.trunk(there), there, subject)
    loss.backward()
    assert set(parts) == {"loss", "triplet"}
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in of.parameters())
    assert of.eval().vectors(there).shape == (4, 32 * 6)


def test_keypoints_as_channels_of_every_strip_or_as_a_strip():
    there = clips(2)
    beside, own = model().eval(), model(pose_fusion="extra_part").eval()
    assert beside.separate.weight.shape == (32, 5 + POSE, 6)
    assert (own.separate.weight.shape, own.separate_pose.weight.shape) == ((32, 5, 6), (1, POSE, 6))
    assert (beside.parts, own.parts) == (32, 33)
    moved = replace(there, keypoints=there.keypoints * torch.tensor([1.0, 0.5, 1]))
    with torch.no_grad():
        change = (own.vectors(there) - own.vectors(moved)).view(2, 33, 6).abs().amax(dim=(0, 2))
        assert (change > 0).tolist() == [False] * 32 + [True]
        assert ((beside.vectors(there) - beside.vectors(moved)).view(2, 32, 6).abs().amax(dim=(0, 2)) > 0).all()


def test_every_layer_sees_its_strip_or_all_of_them():
    torch.manual_seed(0)
    features, there = torch.rand(2, 5, 32), clips(2)
    changed = features.clone()
    changed[:, :, 3] += 1
    with torch.no_grad():
        for how, count in (("strip", 1), ("all", 32)):
            of = model(fc_input=how).eval()
            difference = (of.embed(features, there) - of.embed(changed, there)).abs().amax(dim=(0, 1)) > 0
            assert difference.sum() == count


def test_aggregation_takes_the_keypoints_along():
    of = model(lta=True, attention={"streams": "silhouette"}).eval()
    there = clips(2, 9)
    assert of.maps(there.silhouettes).shape[2] == 3
    with torch.no_grad():
        torch.testing.assert_close(
            of.pose(there), model(attention={"streams": "silhouette"}).eval().pose(there), atol=1e-5, rtol=1e-5
        )
        assert of.vectors(frames_of(there, slice(0, 2))).shape == (2, 32 * 6)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 31])
def test_walks_of_any_length_have_a_vector(frames):
    of = model().eval()
    with torch.no_grad():
        vectors = of.vectors(clips(2, frames))
    assert vectors.shape == (2, 192)
    assert torch.isfinite(vectors).all()


def test_frames_without_keypoints_and_picture_coordinates():
    there = clips(3)
    there.keypoints[:, 4:, :, :2] = torch.nan
    there.keypoints[:, 4:, :, 2] = 0
    for norm in ("box", "none"):
        assert torch.isfinite(model(pose_norm=norm).eval().vectors(there)).all()


def test_the_paper_s_size():
    attentive: Any = GaitTake(("a", "b"))
    counts = sum(p.numel() for p in attentive.parameters()), sum(p.numel() for p in attentive.attention.parameters())
    assert counts == (5_005_225, 2_098_177)  # 1,438,560 of GaitGL's convolutions are in it


def test_a_clip_has_a_frame():
    with pytest.raises(UsageError, match="clip_len"):
        GaitTakeConfig(clip_len=0)
