import builtins
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from gaitreid.pose import openmmlab
from gaitreid.pose.errors import FormatError, UsageError

RTMPOSE = "rtmpose-t_8xb256-420e_coco-256x192"
SMALL = """
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[0, 0, 0], std=[1, 1, 1]),
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type='SyncBN')),
    head=dict(
        type='HeatmapHead', in_channels=64, out_channels=17, deconv_out_channels=None,
        loss=dict(type='KeypointMSELoss'),
        decoder=dict(type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(2, 2), sigma=2)))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration of one's own, and a checkpoint for it such as a training leaves it."""
    folder = tmp_path_factory.mktemp("small")
    config = folder / "small.py"
    config.write_text(SMALL)
    model = openmmlab.construct("mmpose", openmmlab.load_config("mmpose", str(config), trust=True)[0])
    from mmengine.logging import HistoryBuffer

    meta = {"epoch": np.int64(3), "dataset_meta": {"dataset_name": "walkers", "sigmas": np.ones(17, np.float32)}}
    log = {"loss": HistoryBuffer([0.5, 0.25], [1, 1])}
    torch.save({"state_dict": model.state_dict(), "meta": meta, "message_hub": log}, folder / "small.pth")
    return config, folder / "small.pth"


def test_configurations_are_found_by_name_and_the_nearest_are_suggested() -> None:
    assert openmmlab.find("mmpose", RTMPOSE).name == f"{RTMPOSE}.py"
    assert openmmlab.find("mmpose", f"{RTMPOSE}.py") == openmmlab.find("mmpose", RTMPOSE)
    assert "rtmdet_tiny_8xb32-300e_coco" in openmmlab.zoo("mmdet")
    with pytest.raises(UsageError, match=r"no configuration 'rtmpose-t_coco'.*did you mean .*rtmpose-t"):
        openmmlab.find("mmpose", "rtmpose-t_coco")


def test_a_python_file_is_not_run_unless_it_is_trusted(tmp_path: Path) -> None:
    file, trace = tmp_path / "mine.py", tmp_path / "ran"
    file.write_text(f"open({str(trace)!r}, 'w').close()\nmodel = dict(type='x')\n")
    with pytest.raises(UsageError, match="--trust-config"):
        openmmlab.load_config("mmpose", str(file))
    assert not trace.exists()
    openmmlab.load_config("mmpose", str(file), trust=True)
    assert trace.exists()


def test_a_checkpoint_of_a_training_is_read_into_its_model(small: tuple[Path, Path]) -> None:
    config, checkpoint = small
    built = openmmlab.build("mmpose", f"{config},{checkpoint}", trust=True)
    assert not built.model.training
    assert built.meta["dataset_name"] == "walkers"
    saved = openmmlab.read_checkpoint(checkpoint)["state_dict"]
    for key, value in built.model.state_dict().items():
        torch.testing.assert_close(value, saved[key])
    assert built.model.extract_feat(torch.zeros(1, 3, 64, 48))[0].shape == (1, 64, 2, 2)


def test_missing_weights_are_named_with_where_they_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GAITREID_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(UsageError, match=f"gaitreid doctor --download {RTMPOSE}.*rtmpose-tiny.*pth"):
        openmmlab.build("mmpose", RTMPOSE)


def test_weights_of_another_model_are_refused(small: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = small
    other = tmp_path / "other.pth"
    state = openmmlab.read_checkpoint(checkpoint)["state_dict"]
    torch.save({"state_dict": {k: v for k, v in state.items() if "backbone" in k}}, other)
    with pytest.raises(UsageError, match=r"other\.pth.*do not fit.*small.*2 are missing, first head\.final_layer"):
        openmmlab.build("mmpose", f"{config},{other}", trust=True)
    torch.save({"state_dict": {k: v[..., :1] if v.ndim > 1 else v for k, v in state.items()}}, other)
    with pytest.raises(UsageError, match="size mismatch for backbone"):
        openmmlab.build("mmpose", f"{config},{other}", trust=True)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo harm",)


class Reaching:
    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        return builtins.getattr, ("text", "upper")


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    file = tmp_path / "harm.pth"
    torch.save({"state_dict": {}, "meta": Harmful()}, file)
    with pytest.raises(FormatError, match=r"harm\.pth: cannot be read as a checkpoint"):
        openmmlab.read_checkpoint(file)
    torch.save({"meta": Reaching()}, file)
    assert openmmlab.read_checkpoint(file)["meta"] is None
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(FormatError, match="cannot be read"):
        openmmlab.read_checkpoint(file)


def test_missing_operations_say_so_and_nms_is_torchvisions() -> None:
    openmmlab.prepare()
    with openmmlab.quiet():
        from mmcv.ops import batched_nms, roi_align
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    kept = batched_nms(boxes, torch.tensor([0.5, 0.9, 0.1]), torch.zeros(3), {"type": "nms", "iou_threshold": 0.5})[1]
    assert kept.tolist() == [1, 2]
    with pytest.raises(UsageError, match=r"'roi_align_forward'.*mmcv-lite"):
        roi_align(torch.zeros(1, 1, 8, 8), torch.zeros(1, 5), (2, 2))


def test_versions_that_were_not_tried_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(openmmlab.VERSIONS, "mmpose", "1.4")
    openmmlab.prepare.cache_clear()
    with pytest.raises(UsageError, match=r"mmpose 1\.3\.2 is installed.*`pip install --no-deps mmpose~=1\.4\.0`.*VERSIONS"):
        openmmlab.prepare()
    monkeypatch.setitem(openmmlab.VERSIONS, "mmpose", "1.3")
    openmmlab.prepare.cache_clear()
    openmmlab.prepare()


def test_preparing_says_nothing_and_takes_no_heavy_import() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        openmmlab.prepare()
    assert sys.modules["mmcv._ext"].__spec__ is not None
    assert "xtcocotools.coco" in sys.modules
