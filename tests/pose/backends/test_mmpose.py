from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import estimators
import numpy as np
import pytest
import torch

from gaitreid.pose import openmmlab
from gaitreid.pose.backends.mmpose import MMPose, skeleton
from gaitreid.pose.errors import UsageError
from gaitreid.pose.extract import pose
from gaitreid.pose.skeleton import COCO17, H36M17, HALPE26, Skeleton

RTMPOSE = "rtmpose-t_8xb256-420e_coco-256x192"
YOLOX_POSE = "yoloxpose_tiny_4xb64-300e_coco-416"
HEATMAP = "td-hm_mobilenetv2_8xb64-210e_coco-256x192"


def random_weights(name: str, folder: Path) -> str:
    """A configuration of the zoo with a checkpoint of random weights, as `CONFIG,CHECKPOINT`."""
    path = folder / f"{name}.pth"
    if not path.exists():
        torch.manual_seed(0)
        model = openmmlab.construct("mmpose", openmmlab.load_config("mmpose", name)[0])
        torch.save({"state_dict": model.state_dict()}, path)
    return f"{name},{path}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def rtmpose(folder: Path) -> MMPose:
    return MMPose(random_weights(RTMPOSE, folder))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("check", estimators.CHECKS)
def test_conformance(check: estimators.Check, rtmpose: MMPose, tmp_path: Path) -> None:
    check(rtmpose, False, tmp_path)


@pytest.mark.parametrize("name", [RTMPOSE, HEATMAP])
def test_it_says_what_mmpose_itself_says(name: str, folder: Path) -> None:
    picture = estimators.clip()[10]
    box = estimators.box(picture)
    estimator = MMPose(random_weights(name, folder))
    found = pose(picture.image, box, estimator)
    assert found is not None
    theirs = topdown(name, folder, picture.image, box)
    np.testing.assert_allclose(found.xy, theirs.keypoints[0], atol=0.01)
    np.testing.assert_allclose(found.score, theirs.keypoint_scores[0].clip(0, 1), atol=1e-4)


def topdown(name: str, folder: Path, image: np.ndarray, box: np.ndarray) -> Any:
    """As `mmpose.apis.inference_topdown` does it, without flipping, and with the picture's edge carried on beyond it."""
    argument = random_weights(name, folder)
    built = openmmlab.build("mmpose", argument)
    with openmmlab.quiet():
        from mmengine.dataset import Compose, pseudo_collate
        from mmengine.registry import DefaultScope
        from mmpose.datasets.transforms import TopdownAffine

        assert TopdownAffine
        built.model.test_cfg = {**built.model.test_cfg, "flip_test": False}
        # Beyond the picture mmpose shows black; this border makes that of no account.
        border = max(image.shape)
        wide = np.pad(image, ((border, border), (border, border), (0, 0)), mode="edge")
        facts = {"img": wide, "bbox": (box + border)[None].astype(np.float32), "bbox_score": np.ones(1, np.float32)}
        with DefaultScope.overwrite_default_scope("mmpose"):
            data = Compose(built.config.test_dataloader.dataset.pipeline)({**facts, "flip_indices": list(range(17))})
        with torch.inference_mode():
            found = built.model.test_step(pseudo_collate([data]))[0].pred_instances
    found.keypoints -= border
    return found


def test_a_one_stage_model_gives_the_person_in_the_middle(folder: Path) -> None:
    estimator = MMPose(random_weights(YOLOX_POSE, folder))
    assert (estimator.crop.width, estimator.crop.height) == (416, 416)
    for image, one in zip(images := estimators.crops(estimator, 2), estimator.batch(images), strict=True):
        estimators.is_valid(one, estimator, image)
    boxes = np.array([[0, 0, 40, 80], [190, 100, 240, 300], [180, 100, 230, 310]])
    assert estimator._nearest(boxes, np.array([0.9, 0.7, 0.8])) == 2
    assert estimator._nearest(boxes, np.array([0.9, 0.9, 0.8])) == 1


@pytest.mark.parametrize(
    ("data_set", "expected"), [("coco", COCO17), ("halpe26", HALPE26), ("h36m", H36M17), ("coco_wholebody", None), ("mpii", None)]
)
def test_keypoints_are_those_of_the_data_set(data_set: str, expected: Skeleton | None) -> None:
    found = skeleton(meta(data_set), "a model")
    assert expected is None or found == expected
    assert len(set(found.joints)) == len(found.joints)
    assert all(0 <= i < len(found.joints) for edge in found.edges for i in edge)


@pytest.mark.parametrize("data_set", ["wflw", "coco_wholebody_hand"])
def test_models_of_other_things_than_people_are_refused(data_set: str) -> None:
    with pytest.raises(UsageError, match="mmpose:a model poses no whole bodies: among its keypoints is no left_shoulder"):
        skeleton(meta(data_set), "a model")


def meta(data_set: str) -> dict[str, Any]:
    openmmlab.prepare()
    with openmmlab.quiet():
        from mmpose.datasets.datasets.utils import parse_pose_metainfo

        found: dict[str, Any] = parse_pose_metainfo({"from_file": f"configs/_base_/datasets/{data_set}.py"})
    return found


def test_lifters_and_masks_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="is a PoseLifter, which does not pose people in pictures"):
        MMPose(random_weights("video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m", folder))
    with pytest.raises(UsageError, match="no silhouettes: use --pose mediapipe"):
        MMPose(masks=True)


def test_a_package_that_a_model_needs_is_named() -> None:
    config, _ = openmmlab.load_config("mmpose", "td-hm_ViTPose-small_8xb64-210e_coco-256x192")
    with pytest.raises(UsageError, match="needs the package mmpretrain"):
        openmmlab.construct("mmpose", config)


def test_an_instance_that_is_nowhere_is_nobody(rtmpose: MMPose, monkeypatch: pytest.MonkeyPatch) -> None:
    xy = np.zeros((1, 17, 2), np.float32)
    found = SimpleNamespace(keypoints=xy, keypoint_scores=np.full((1, 17), 1.3, np.float32))
    estimate = rtmpose._estimate(found)
    assert estimate is not None
    assert (estimate.score == 1).all()
    xy[0, 3, 1] = np.inf
    assert rtmpose._estimate(found) is None
    found.keypoints = xy[:0]
    assert rtmpose._estimate(found) is None
