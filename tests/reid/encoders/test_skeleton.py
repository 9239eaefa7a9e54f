from dataclasses import replace
from typing import Any

import made_walks
import numpy as np
import pytest
import torch

from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import COCO17
from gaitreid.reid.config import SkeletonConfig, WalksConfig
from gaitreid.reid.encoders.skeleton import BONES, JOINTS, MIRROR, PARTS, Block, Skeleton, adjacency, inputs, mirrored
from gaitreid.reid.losses.triplet import triplet_loss
from gaitreid.reid.walk_training import train
from gaitreid.reid.walks import Clips, Packed, body_keypoints, encode

CPU = torch.device("cpu")
SMALL = SkeletonConfig(channels=(8, 16), embed_dim=8)
WALKS = made_walks.walks(3, 4, frames=16)
PACKED = Packed(WALKS, CPU)
ROWS = np.arange(len(WALKS.video))
WHO = np.unique(WALKS.subject, return_inverse=True)[1]


@pytest.fixture
def model() -> Skeleton:
    torch.manual_seed(0)
    return Skeleton(("001", "002", "003"), SMALL).eval()


def some(count: int = 2, frames: int = 12) -> Clips:
    return PACKED.clips(WALKS.start[:count, None] + np.arange(frames))


def changed(clips: Clips, keypoints: torch.Tensor) -> Clips:
    return replace(clips, keypoints=keypoints)


def test_it_is_small() -> None:
    count = sum(p.numel() for p in Skeleton(tuple(f"{k:03d}" for k in range(74))).parameters())
    assert 100_000 < count < 1_000_000


def test_neighbours_are_the_same_on_both_sides() -> None:
    found = adjacency()
    assert found.shape == (3, JOINTS, JOINTS)
    np.testing.assert_allclose(found.sum(dim=2)[0], 1)
    for kind in found:
        torch.testing.assert_close(kind[MIRROR][:, MIRROR], kind)
    left, right, knee = COCO17.indices("left_hip", "right_hip", "left_knee")
    assert found[1, left, knee] > 0
    assert found[1, left, left] == 0
    assert found[2, left, right] == 1
    assert len({end for end, _ in BONES}) == len(BONES)
    assert {(MIRROR[end], MIRROR[start]) for end, start in BONES} == {(end, start) for end, start in BONES}


def test_inputs_by_hand() -> None:
    body = torch.zeros(1, 3, JOINTS, 3)
    knee, ankle, hip = COCO17.indices("left_knee", "left_ankle", "left_hip")
    body[0, :, hip] = torch.tensor([0.1, 0.0, 1.0])
    body[0, 0, knee], body[0, 1, knee] = torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0.15, 0.25, 0.8])  # then it is missing
    body[0, :, ankle] = torch.tensor([0.2, 0.5, 0.7])
    found = inputs(body)
    assert found.shape == (1, 3, JOINTS, 7)
    torch.testing.assert_close(found[..., :3], body)
    torch.testing.assert_close(found[0, 1, knee, 3:], torch.tensor([0.05, 0.05, 0.05, 0.25]))
    torch.testing.assert_close(found[0, 0, knee, 3:], torch.tensor([0.0, 0.0, 0.0, 0.2]))
    assert not found[0, 2, knee].any()
    torch.testing.assert_close(found[0, 1, ankle, 5:], torch.tensor([0.05, 0.25]))
    assert not found[0, 2, ankle, 5:].any()  # where the knee is missing there is no shank
    torch.testing.assert_close(found[0, 0, hip, 5:], torch.tensor([0.1, 0.0]))


def slow_pooled(model: Skeleton, body: torch.Tensor) -> torch.Tensor:
    """Features of the parts of one walk (T, 17, 3), (2 C, parts), joint by joint and frame by frame."""

    def normed(of: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(of, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)
        assert of.running_mean is not None
        assert of.running_var is not None
        return (x - of.running_mean) / (of.running_var + of.eps).sqrt() * of.weight + of.bias

    bones = [set(edge) for edge in COCO17.edges]
    kinds = [
        [[a for a in range(17) if a == b] for b in range(17)],
        [[a for a in range(17) if {a, b} in bones] for b in range(17)],
        [[MIRROR[b]] for b in range(17)],
    ]
    score = body[:, :, 2]
    x = normed(model.first, inputs(body[None])[0].flatten(1)).view(len(body), 17, 7)
    blocks: Any = model.blocks
    for block in blocks:
        kept, hidden = score[:: block.stride], torch.empty(len(x), 17, block.joints.out_features)
        for t, joint in np.ndindex(len(x), 17):
            taken = []
            for kind, balance in zip(kinds, block.balance, strict=True):
                of = [balance[joint, a] * score[t, a] * x[t, a] for a in kind[joint]]
                taken.append(sum(of, torch.zeros_like(x[t, joint])) / max(len(of), 1))
            hidden[t, joint] = torch.relu(normed(block.first, block.joints(torch.cat(taken))))
        around, reach = block.frames.weight[..., 0], block.frames.kernel_size[0] // 2
        out = torch.empty(len(kept), *hidden.shape[1:])
        for t, joint in np.ndindex(len(kept), 17):
            near = [(k, t * block.stride + k - reach) for k in range(2 * reach + 1)]
            of = [around[:, :, k] @ hidden[at, joint] for k, at in near if 0 <= at < len(hidden)]
            out[t, joint] = normed(block.second, sum(of, block.frames.bias))
            past = x[t * block.stride, joint]
            if not isinstance(block.past, torch.nn.Identity):
                past = normed(block.past[1], block.past[0].weight[:, :, 0, 0] @ past + block.past[0].bias)
            out[t, joint] = torch.relu(out[t, joint] + past)
        x, score = out, kept
    parts = []
    for joints in PARTS:
        weighed, sure = x[:, joints].flatten(0, 1) * score[:, joints].flatten()[:, None], score[:, joints].sum()
        parts.append(torch.cat([weighed.sum(dim=0) / sure, weighed.amax(dim=0)]))
    return torch.stack(parts, dim=1)


def test_against_a_slow_forward_pass_and_losses_by_hand() -> None:
    torch.manual_seed(0)
    config = SkeletonConfig(
        channels=(4, 4, 4), kernel=3, embed_dim=3, margin=0.4, triplet_weight=0.7, ce_weight=0.3, smoothing=0.2
    )
    model = Skeleton(("001", "002", "003"), config).eval()
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.dtype == torch.float32 and value.shape != (3, JOINTS, JOINTS):
                value.copy_(torch.rand_like(value) + 0.2 if value.dim() == 1 else torch.randn_like(value) * 0.5)
        for block in model.blocks:
            assert isinstance(block, Block)
            block.balance.uniform_(0.5, 1.5)
        clips = some(4, 7)
        clips.keypoints[..., 2] = torch.rand(4, 7, JOINTS) * (torch.rand(4, 7, JOINTS) > 0.1)
        body = body_keypoints(clips)
        both = [torch.stack([slow_pooled(model, walk) for walk in of]) for of in (body, mirrored(body))]
        features = model.trunk(clips)
        torch.testing.assert_close(features, (both[0] + both[1]) / 2, atol=1e-4, rtol=1e-4)
        layer, scale = model.separate.weight, model.scale
        assert scale.running_mean is not None
        assert scale.running_var is not None
        separate = torch.stack([features[:, :, k] @ layer[k] for k in range(4)], dim=1)  # (B, parts, D)
        embedding = (separate - scale.running_mean) / (scale.running_var + scale.eps).sqrt() * scale.weight + scale.bias
        torch.testing.assert_close(model.vectors(clips), embedding.flatten(1), atol=1e-4, rtol=1e-4)
        subject = torch.tensor([0, 0, 1, 2])
        total, parts = model.loss(features, clips, subject)
        triplet = triplet_loss(embedding.transpose(0, 1), subject, "all", 0.4)
        assert model.classes is not None
        share = torch.stack([embedding[:, k] @ model.classes.weight[k] for k in range(4)], dim=1).log_softmax(dim=2)
        wanted = 0.8 * torch.eye(3)[subject][:, None] + 0.2 / 3
        crossed = -(wanted * share).sum(dim=2).mean()
        torch.testing.assert_close(parts["triplet"], triplet, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(parts["cross_entropy"], crossed, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(total, 0.7 * triplet + 0.3 * crossed, atol=1e-4, rtol=1e-4)


def test_a_walk_and_its_mirror_image_are_the_same(model: Skeleton) -> None:
    clips = some()
    clips.keypoints[:, :, COCO17.index("left_wrist"), 0] += 12  # one arm out: the made-up walker is the same on both sides
    turned = clips.keypoints[:, :, MIRROR] * torch.tensor([-1.0, 1, 1]) + torch.tensor([100.0, 0, 0])  # in a picture 100 px wide
    box = clips.box[..., [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([100.0, 0, 100, 0])
    other = replace(clips, keypoints=turned, box=box)
    torch.testing.assert_close(body_keypoints(other), mirrored(body_keypoints(clips)), rtol=0, atol=1e-5)
    torch.testing.assert_close(model.vectors(other), model.vectors(clips), rtol=1e-3, atol=1e-4)
    plain = Skeleton(("001", "002"), SkeletonConfig(channels=(8, 16), embed_dim=8, mirror=False)).eval()
    assert not torch.allclose(plain.vectors(other), plain.vectors(clips), atol=1e-3)


def test_place_and_size_in_the_picture_do_not_matter(model: Skeleton) -> None:
    clips = some()
    moved = torch.cat([clips.keypoints[..., :2] * 2 + 37, clips.keypoints[..., 2:]], dim=-1)
    other = replace(clips, keypoints=moved, box=clips.box * 2 + 37)
    torch.testing.assert_close(model.vectors(other), model.vectors(clips), rtol=1e-3, atol=1e-4)


def test_joints_count_as_much_as_they_are_sure(model: Skeleton) -> None:
    clips = some()
    wrist = COCO17.index("left_wrist")
    apart = []
    for score in (0.9, 0.3, 0.0):
        both = []
        for shift in (0.0, 20.0):
            points = clips.keypoints.clone()
            points[:, :, wrist, 2] = score
            points[:, :, wrist, 0] += shift
            both.append(model.vectors(changed(clips, points)))
        apart.append(float((both[1] - both[0]).detach().abs().mean()))
    assert apart[0] > apart[1] > 0
    assert apart[2] == 0
    missing = clips.keypoints.clone()
    missing[:, :, wrist] = torch.tensor([torch.nan, torch.nan, 0])
    assert model.vectors(changed(clips, missing)).isfinite().all()


def test_parts_are_their_own_joints(model: Skeleton) -> None:
    """The pooled features of the legs see the head only over the bones between; the head itself sees it most."""
    assert model.parts == 4
    vectors = model.vectors(some())
    assert vectors.shape == (2, 4 * 8)
    blind = Skeleton(("001", "002"), SkeletonConfig(channels=(8,), embed_dim=8)).eval()
    clips = some()
    points = clips.keypoints.clone()
    points[:, :, COCO17.indices("nose", "left_eye", "right_eye"), 1] -= 5
    before, after = (blind.trunk(c) for c in (clips, changed(clips, points)))
    moved = (after - before).abs().amax(dim=(0, 1))
    assert moved[0] > 0
    assert moved[1] == moved[2] == 0  # one layer: shoulders and hips are more than a bone away
    assert moved[3] > 0


def test_it_learns_who_walks_and_the_same_seed_gives_the_same_weights() -> None:
    config = WalksConfig(people=3, walks=3, frames=12, iterations=24, every=12, learning_rate=3e-3, milestones=())
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        net = Skeleton(("001", "002", "003"), SMALL)
        losses = [parts for _, parts, _ in train(net, PACKED, ROWS, WHO, config, CPU, 0)]
        states.append(net.state_dict())
    assert losses[-1]["loss"] < 0.7 * losses[0]["loss"]
    assert set(losses[0]) == {"iteration", "loss", "triplet", "cross_entropy"}
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0)
    vectors = encode(net, PACKED, ROWS, CPU)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1) + 1e9 * np.eye(len(ROWS))
    assert (WHO[apart.argmin(axis=1)] == WHO).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": ()}, "channels"),
        ({"kernel": 4}, "kernel odd"),
        ({"margin": -1.0}, "margin"),
        ({"triplet_weight": 0.0, "ce_weight": 0.0}, "one of the weights"),
        ({"smoothing": 1.0}, "smoothing"),
    ],
)
def test_ranges_are_checked(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SkeletonConfig(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two or more known subjects"):
        Skeleton(("001",))
