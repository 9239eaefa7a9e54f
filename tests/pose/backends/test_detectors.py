from pathlib import Path
from types import SimpleNamespace
from typing import Any

import estimators
import numpy as np
import pytest
import torch

from gaitreid.pose import openmmlab
from gaitreid.pose.backends import detectors
from gaitreid.pose.backends.detectors import FASTER_RCNN, RTMDET, RtmDet, TorchVision, tall
from gaitreid.pose.detect import detector
from gaitreid.pose.errors import FormatError, UsageError

IMAGE = estimators.clip()[10].image


@pytest.fixture(scope="module")
def rtmdet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """RTMDet-tiny with random weights, as an argument."""
    path = tmp_path_factory.mktemp("weights") / "rtmdet.pth"
    torch.manual_seed(0)
    model = openmmlab.construct("mmdet", openmmlab.load_config("mmdet", RTMDET)[0])
    for level in model.bbox_head.rtm_cls:
        level.bias.data[0] = 0.5  # people everywhere
    torch.save({"state_dict": model.state_dict()}, path)
    return f"{RTMDET},{path}"


@pytest.fixture(scope="module")
def faster_rcnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchvision.models import get_model

    path = tmp_path_factory.mktemp("weights") / f"{FASTER_RCNN}-random.pth"
    torch.manual_seed(0)
    torch.save(get_model(FASTER_RCNN, weights=None, weights_backbone=None).state_dict(), path)
    return path


def test_rtmdet_proposes_what_mmdet_itself_says(rtmdet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "MIN_HEIGHT", 0.0)
    ours = RtmDet(rtmdet).propose(IMAGE)
    built = openmmlab.build("mmdet", rtmdet)
    with openmmlab.quiet():
        from mmdet.datasets.transforms import PackDetInputs
        from mmengine.dataset import Compose, pseudo_collate
        from mmengine.registry import DefaultScope

        assert PackDetInputs
        steps = [step for step in built.config.test_dataloader.dataset.pipeline if "Load" not in step["type"]]
        facts = {"img": IMAGE, "img_id": 0, "img_path": "", "img_shape": IMAGE.shape[:2], "ori_shape": IMAGE.shape[:2]}
        with DefaultScope.overwrite_default_scope("mmdet"):
            data = Compose(steps)(facts)
        with torch.inference_mode():
            found = built.model.test_step(pseudo_collate([data]))[0].pred_instances
    theirs = np.asarray(found.bboxes[(found.labels == 0) & (found.scores > detectors.MIN_SCORE)])
    assert len(theirs) > 0
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, atol=0.5)


def test_boxes_come_back_in_pixels_of_the_picture(rtmdet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = RtmDet(rtmdet)
    # 320x240 is brought to 640x480; a low box and a box of another class stay out.
    boxes = torch.tensor([[20.0, 40, 120, 440], [20, 40, 120, 60], [20, 40, 120, 440]])
    said = SimpleNamespace(bboxes=boxes, labels=torch.tensor([0, 0, 5]), scores=torch.tensor([0.9, 0.9, 0.9]))

    def step(data: dict[str, Any]) -> list[Any]:
        assert data["inputs"][0].shape == (3, 640, 640)
        return [SimpleNamespace(pred_instances=said)]

    monkeypatch.setattr(one._model, "test_step", step)
    np.testing.assert_allclose(one.propose(IMAGE), [[10, 20, 60, 220]])


def test_a_model_that_knows_no_people_is_refused() -> None:
    meta = {"classes": ("cat", "dog")}
    with pytest.raises(UsageError, match="knows no people, but cat, dog"):
        detectors._person(openmmlab.Built("pets", {}, None, meta))
    assert detectors._person(openmmlab.Built("own", {}, None, {"classes": ("dog", "Person")})) == 1
    assert detectors._person(openmmlab.Built("coco", {}, None, {})) == 0


def test_torchvisions_detector_is_known_by_the_name_of_its_weights(faster_rcnn: Path, tmp_path: Path) -> None:
    boxes = TorchVision(str(faster_rcnn)).propose(IMAGE)
    assert boxes.dtype == np.float64
    assert boxes.shape[1] == 4
    other = tmp_path / "other.pth"
    other.write_bytes(b"")
    with pytest.raises(UsageError, match="does not begin with that of a detector"):
        TorchVision(str(other))
    broken = tmp_path / f"{FASTER_RCNN}.pth"
    broken.write_bytes(b"no weights")
    with pytest.raises(FormatError, match="cannot be read as a checkpoint"):
        TorchVision(str(broken))
    torch.save({"a": torch.zeros(1)}, broken)
    with pytest.raises(UsageError, match=f"not weights of {FASTER_RCNN}"):
        TorchVision(str(broken))


def test_a_network_is_made_once_and_missing_weights_are_named(
    faster_rcnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert detector(f"torchvision:{faster_rcnn}") is detector(f"torchvision:{faster_rcnn}")
    assert detector("motion") is not detector("motion")
    for name in ("GAITREID_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for name, weights in (("rtmdet", RTMDET), ("torchvision", FASTER_RCNN)):
        with pytest.raises(UsageError, match=f"gaitreid doctor --download {weights}"):
            detector(name)


def test_low_boxes_are_left_out() -> None:
    assert tall(np.array([[0.0, 0, 10, 100], [0, 0, 10, 20]]), IMAGE).tolist() == [[0, 0, 10, 100]]
    assert tall(np.empty((0, 4)), IMAGE).shape == (0, 4)
