from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimators import CHECKS, Check
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from gaitreid.pose import weights
from gaitreid.pose.backends import keypointrcnn
from gaitreid.pose.backends.keypointrcnn import KeypointRcnn, confidence, meant
from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.pose.render import scene
from gaitreid.pose.video import Image
from gaitreid.pose.walker import walker

SMALL, FEW, ONE = 160, 10, 1  # pixels a side, proposals and people in tests: a twentieth of the work


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keypointrcnn, "SIDE", SMALL)
        patch.setattr(keypointrcnn, "PROPOSALS", FEW)
        patch.setattr(keypointrcnn, "PEOPLE", ONE)
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that take every box for a person."""
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.manual_seed(0)
    model: Any = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    model.roi_heads.box_predictor.cls_score.bias.data[:] = torch.tensor([0.0, 3.0])
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def estimator(checkpoint: Path) -> KeypointRcnn:
    return KeypointRcnn(str(checkpoint))


@pytest.fixture(scope="module")
def pictures() -> list[Image]:
    shown = list(scene([walker(0, 1)], "nm", 90, 1.0, (0, 1, 0, 1)))[10:13]
    return [p.image[40 : 40 + SMALL, 60 : 60 + SMALL] for p in shown]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_does_what_every_estimator_must(check: Check, estimator: KeypointRcnn, tmp_path: Path) -> None:
    check(estimator, False, tmp_path)


def test_it_says_what_torchvisions_model_says(checkpoint: Path, estimator: KeypointRcnn, pictures: list[Image]) -> None:
    plain: Any = keypointrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=SMALL,
        max_size=2 * SMALL,
        rpn_post_nms_top_n_test=FEW,
        box_detections_per_img=ONE,
    )
    plain.load_state_dict(torch.load(checkpoint, weights_only=True))
    image = pictures[0]
    with torch.inference_mode():
        (people,) = plain.eval()([torch.tensor(image[:, :, [2, 1, 0]].transpose(2, 0, 1) / np.float32(255))])
    (found,) = estimator.batch([image])
    assert found is not None
    assert found.xy.shape == (17, 2)
    assert {str(part.dtype) for part in (found.xy, found.score, found.world)} == {"float32"}
    assert np.isnan(found.world).all()
    assert found.mask is None
    among = [np.abs(found.xy - xy[:, :2].numpy()).max() for xy in people["keypoints"]]
    n = int(np.argmin(among))
    assert among[n] < 1e-2
    np.testing.assert_allclose(found.score, 1 / (1 + np.exp(2 - people["keypoints_scores"][n].numpy())), rtol=1e-3)


def test_who_is_meant() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    middle, aside, corner = [150, 100, 250, 300], [300, 100, 400, 300], [0, 0, 60, 120]
    boxes = np.array([aside, middle, corner], np.float32)
    assert meant(boxes, np.array([0.99, 0.9, 0.99]), image) == 1
    assert meant(boxes, np.array([0.9, 0.1, 0.9]), image) == 0  # hardly anybody in the middle
    assert meant(boxes[[2]], np.array([0.4]), image) == 0


def test_scores_are_in_the_unit_interval_and_half_where_detectron_sees_a_joint() -> None:
    logits = np.array([-1e3, -5, 2, 8, 1e3], np.float32)
    with np.errstate(over="raise"):
        scores = confidence(logits)
    np.testing.assert_allclose(scores, [0, 0.0009, 0.5, 0.9975, 1], atol=1e-3)


def test_nobody_is_found_where_no_box_is_likely(
    estimator: KeypointRcnn, pictures: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = estimator._model.roi_heads
    assert heads.score_thresh == keypointrcnn.MIN_PERSON
    assert None not in estimator.batch(pictures[:1])
    monkeypatch.setattr(heads, "score_thresh", 1.0)
    assert estimator.batch(pictures[:1]) == [None]


def test_published_weights_are_taken_with_torchvisions_epsilon(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = weights.KNOWN[keypointrcnn.PUBLISHED]
    monkeypatch.setenv("GAITREID_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="gaitreid doctor --download keypointrcnn_resnet50_fpn"):
        KeypointRcnn()
    (tmp_path / known.file).hardlink_to(checkpoint)
    with pytest.raises(FormatError, match="SHA-256"):
        KeypointRcnn()
    monkeypatch.setattr(weights, "verify", lambda *_: None)
    norms = [m for m in KeypointRcnn()._model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 53
    assert {m.eps for m in norms} == {0.0}


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"weight": torch.zeros(2)}, UsageError, "these are not weights of keypointrcnn_resnet50_fpn"),
        ([1, 2], UsageError, "these are not weights"),
        (None, FormatError, "cannot be read as a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_of_it_is_refused(tmp_path: Path, content: object, error: type[Exception], words: str) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    if content is None:
        path.write_bytes(b"not torch's")
    with pytest.raises(error, match=words):
        KeypointRcnn(str(path))


def test_silhouettes_are_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="--pose mediapipe"):
        KeypointRcnn(masks=True)
