"""Extraction with other estimators than MediaPipe, as a user asks for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import estimators
import numpy as np
import pytest
from typer.testing import CliRunner

from gaitreid.cli import app
from gaitreid.pipeline import extract, plugins, store
from gaitreid.pose.errors import UsageError
from gaitreid.pose.estimate import BatchEstimator, Crop, Estimate
from gaitreid.pose.extract import ExtractConfig
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import COCO17
from gaitreid.pose.video import Image


class Upright(BatchEstimator):
    """Says that somebody stands wherever it looks."""

    skeleton = COCO17
    crop = Crop(96, 128, 1.25)
    made: list[tuple[str, str, bool]] = []  # noqa: RUF012 - what the last ones were made with

    def __init__(self, argument: str = "", masks: bool = False, device: str = "?", trust_config: bool = False) -> None:
        Upright.made.append((argument, device, trust_config))

    def batch(self, images: Sequence[Image]) -> list[Estimate | None]:
        y = 64 + 93 * np.linspace(-0.5, 0.5, 17)
        xy = np.stack([48 + 18 * np.cos(y), y], axis=1).astype(np.float32)
        return [Estimate(xy, np.full(17, 0.6, np.float32), np.full((17, 3), np.nan, np.float32), None) for _ in images]


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rendered walker, and the estimator `upright`."""
    monkeypatch.setitem(plugins.BUILT_IN["pose"], "upright", f"{__name__}:Upright")
    Upright.made.clear()
    extract._estimators.cache_clear()
    return estimators.video(tmp_path / "001-nm-01-090.avi")


def gaitreid(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_an_estimator_gets_its_argument_the_device_and_whether_configurations_are_trusted(video: Path, tmp_path: Path) -> None:
    where = ("extract", video, "--work", tmp_path / "work", "--jobs", 1, "--device", "cpu")
    command = (*where, "--detector", "hog", "--set", "extract.min_seconds=0.2")
    said = gaitreid(*command, "--pose", "upright:one,two")
    assert said.exit_code == 0, said.output
    assert Upright.made == [("one,two", "cpu", False)]
    (track,) = store.read_all(tmp_path / "work/pose2d/001-nm-01-090.h5", "pose2d", Track2D).values()
    assert track.skeleton == COCO17
    assert np.isnan(track.world).all()
    # Whom one trusts changes no track.
    again = gaitreid(*command, "--pose", "upright:one,two", "--trust-config", "-v")
    assert "up to date" in again.output
    gaitreid(*command, "--pose", "upright:three", "--trust-config")
    assert Upright.made[-1] == ("three", "cpu", True)


def test_what_is_missing_is_told_before_a_video_is_read(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GAITREID_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    mine = tmp_path / "mine.py"
    mine.write_text("model = dict()")
    for pose, match in (
        (f"mmpose:{mine},x.pth", "--trust-config"),
        ("mmpose:rtmpose", "did you mean .*rtmpose"),
        ("mmpose", "doctor --download rtmpose-m_8xb256-420e_coco-256x192"),
        ("mediapipe:heavy", "'mediapipe' takes no argument"),
        ("opnpose", "unknown pose 'opnpose'"),
    ):
        with pytest.raises(UsageError, match=match):
            extract.estimators(ExtractConfig(pose=pose), False, "cpu")
    with pytest.raises(UsageError, match="device 'cuda:9' cannot be used"):
        extract.estimators(ExtractConfig(pose="upright"), False, "cuda:9")
