import copy
from dataclasses import replace

import made_walks
import numpy as np
import pytest
import torch
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from gaitreid.pose.arrays import ByteArray, FloatArray
from gaitreid.pose.backends.silhouette_rcnn import box, build, find, mirrored, targets, train
from gaitreid.pose.errors import UsageError
from gaitreid.pose.rounds import rounds
from gaitreid.pose.silhouettes import SilhouetteRcnnConfig
from gaitreid.pose.skeleton import COCO17

CPU = torch.device("cpu")
TINY = SilhouetteRcnnConfig(backbone="resnet18", side=44, head=8, places=4, iterations=3, batch=2, every=2)


@pytest.fixture(scope="module")
def walk() -> tuple[ByteArray, FloatArray]:
    """Silhouettes of a made-up walk and its joints in them."""
    masks = made_walks.masks(6, 6.0, 8.0, 0.0).astype(np.uint8) * 255
    points = made_walks.keypoints(6, 6.0, 8.0, 0.0)
    return masks, np.concatenate([points[..., :2] * 0.64 - [10, 12.8], points[..., 2:] > 0], axis=-1)


def test_by_default_it_is_torchvisions_network() -> None:
    with torch.device("meta"):
        ours, frozen = build(SilhouetteRcnnConfig()), build(SilhouetteRcnnConfig(weights="any.pth"), begin=False)
        theirs = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == shapes
    without_counts = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    assert {name: tuple(value.shape) for name, value in frozen.state_dict().items()} == without_counts
    assert all(p.requires_grad for p in ours.parameters())


def test_published_weights_go_without_an_epsilon() -> None:
    with torch.device("meta"):
        net = build(SilhouetteRcnnConfig(weights="keypointrcnn_resnet50_fpn"), begin=False)
    norms = [m for m in net.modules() if hasattr(m, "running_var")]
    assert len(norms) == 53
    assert {m.eps for m in norms} == {0.0}


def test_targets_by_hand() -> None:
    mask = np.zeros((1, 64, 44), np.uint8)
    mask[0, 5:60, 10:31] = 255
    np.testing.assert_array_equal(box(mask[0]), [9.5, 4.5, 30.5, 59.5])
    points = np.zeros((1, 17, 3))
    points[0, 3] = [20, 30, 1]
    (target,) = targets(mask, points, CPU)
    assert target["boxes"].tolist() == [[10, 5, 31, 60]]
    assert target["labels"].tolist() == [1]
    assert target["keypoints"][0, 3].tolist() == [20.5, 30.5, 1]
    assert target["keypoints"][0, :, 2].sum() == 1


def test_who_is_mirrored_has_left_and_right_in_the_others_places(walk: tuple[ByteArray, FloatArray]) -> None:
    masks, points = walk
    which = np.array([True, False] * 3)
    shown, labels = mirrored(masks, points, which)
    np.testing.assert_array_equal(shown[1::2], masks[1::2])
    np.testing.assert_array_equal(labels[1::2], points[1::2])
    np.testing.assert_array_equal(shown[::2], masks[::2, :, ::-1])
    left, right = COCO17.indices("left_knee", "right_knee")
    np.testing.assert_allclose(labels[::2, left, 0], 43 - points[::2, right, 0])
    np.testing.assert_allclose(labels[::2, :, 1:], points[::2][:, COCO17.mirror(), 1:])
    again = mirrored(shown, labels, which)
    np.testing.assert_array_equal(again[0], masks)
    np.testing.assert_allclose(again[1], points)


def test_it_learns_where_joints_are(walk: tuple[ByteArray, FloatArray]) -> None:
    """From every label there is; and from a snapshot it goes on as if it had not stopped."""
    torch.manual_seed(0)
    net = build(TINY)
    before = copy.deepcopy(net.state_dict())
    seen = list(train(net, *walk, TINY, CPU, 0))
    assert rounds(TINY) == 2
    assert [epoch for epoch, *_ in seen] == [1, 2]
    losses = seen[0][1]
    assert set(losses) == {"loss", "classifier", "box_reg", "keypoint", "objectness", "rpn_box_reg"}
    assert losses["loss"] == pytest.approx(sum(losses.values()) - losses["loss"], rel=1e-4)
    last = "roi_heads.keypoint_predictor.kps_score_lowres.weight"
    assert not torch.equal(net.state_dict()[last], before[last])
    other = build(TINY)
    other.load_state_dict(before)
    first = train(other, *walk, TINY, CPU, 0)
    state = copy.deepcopy(next(first)[2]())
    again = build(TINY)
    assert [epoch for epoch, *_ in train(again, *walk, TINY, CPU, 0, state)] == [2]
    for name, value in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_a_longer_training_goes_on_at_the_rates_of_its_length(
    walk: tuple[ByteArray, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    small = replace(TINY, side=32, iterations=3)
    ((*_, first), (*_, last)) = train(build(small), *walk, small, CPU, 0)
    assert first()["step"] == 2
    state = copy.deepcopy(last())
    assert (state["epoch"], state["step"]) == (2, 3)
    longer = replace(small, iterations=8, every=4, learning_rate=1e-3)
    parameter = torch.nn.Parameter(torch.zeros(1))
    other = torch.optim.AdamW([parameter], lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(other, 1e-3, 9, pct_start=0.1)
    expected = []
    for _ in range(8):
        expected.append((other.param_groups[0]["lr"], other.param_groups[0]["betas"]))
        other.step()
        schedule.step()
    seen = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW) -> None:
        seen.append((self.param_groups[0]["lr"], self.param_groups[0]["betas"]))
        step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    assert [epoch for epoch, *_ in train(build(longer), *walk, longer, CPU, 0, state)] == [3, 4]
    assert seen == expected[3:]
    assert rounds(longer, state) == 4
    with pytest.raises(UsageError, match=r"asked for, and \d+ steps are done"):
        next(train(build(small), *walk, replace(small, iterations=2), CPU, 0, state))


def test_from_silhouettes_without_labels_no_joint_is_learnt(walk: tuple[ByteArray, FloatArray]) -> None:
    torch.manual_seed(0)
    net = build(TINY)
    unlabelled = walk[1] * np.array([1, 1, 0])
    ((_, none, _),) = train(net, walk[0], unlabelled, SilhouetteRcnnConfig(**{**vars(TINY), "iterations": 1}), CPU, 0)
    assert none["keypoint"] == 0
    assert none["classifier"] > 0


def test_keypoints_are_found_in_pixels_of_the_silhouettes(
    walk: tuple[ByteArray, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = build(TINY)
    net.roi_heads.score_thresh = 0.0
    xy, score = find(net, walk[0][:2], CPU)
    assert xy.shape == (2, 17, 2)
    assert ((score > 0) & (score <= 1)).all()
    with torch.inference_mode():
        expected = net([torch.tensor(walk[0][1] / np.float32(255)).expand(3, -1, -1)])[0]["keypoints"][0, :, :2]
    np.testing.assert_allclose(xy[1] + 0.5, expected, atol=1e-3)
    net.roi_heads.score_thresh = 1.0
    xy, score = find(net, walk[0][:2], CPU)
    assert np.isnan(xy).all()
    assert not score.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"side": 16}, "side 32"),
        ({"places": 2}, "places 4"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"seen": 0.0}, "seen"),
        ({"weights": "w.pth", "backbone": "resnet18"}, "torchvision's model"),
    ],
)
def test_ranges_are_checked(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SilhouetteRcnnConfig(**options)  # type: ignore[arg-type]
