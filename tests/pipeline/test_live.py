from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gaitreid.pipeline import live as module
from gaitreid.pipeline.limits import LimitsConfig
from gaitreid.pipeline.live import SPAN, lines, live
from gaitreid.pose.errors import ItemError
from gaitreid.pose.estimate import Estimate, Estimators
from gaitreid.pose.extract import ExtractConfig, Tracker
from gaitreid.pose.records import Silhouettes, Track2D
from gaitreid.pose.skeleton import BLAZEPOSE33
from gaitreid.pose.video import Frame


class Standing:
    """An estimator that finds one person in the middle of the crop."""

    skeleton = BLAZEPOSE33

    def __init__(self, score: float = 1.0) -> None:
        self.score = score

    def __call__(self, crop: Any) -> Estimate:
        xy = np.linspace([180.0, 100], [200, 300], 33).astype(np.float32)
        return Estimate(xy=xy, score=np.full(33, self.score, np.float32), world=np.zeros((33, 3), np.float32), mask=None)

    def reset(self) -> None:
        pass


def standing(score: float = 1.0) -> Estimators:
    factory: Any = lambda masks: Standing(score)  # noqa: E731
    return Estimators(factory)


class Made:
    """Stands for a Recogniser; keeps the tracks that it is shown."""

    def __init__(self, limits: LimitsConfig = LimitsConfig(), **extract: Any) -> None:  # noqa: B008
        self.config = type("Config", (), {"extract": ExtractConfig(detector="whole", **extract), "limits": limits})()
        self.shown: list[Track2D] = []

    def vector(self, track: Track2D, masks: Silhouettes, width: float) -> tuple[Any, int]:
        assert (len(masks.frame), width) == (0, 100)
        if len(track.time) < 25:
            raise ItemError("too-short", "")
        self.shown.append(track)
        return np.zeros(4), 3


def played(
    monkeypatch: pytest.MonkeyPatch, seconds: float, cost: float, score: float = 1.0, **extract: Any
) -> tuple[Any, list[Any]]:
    """A video of so many seconds, each frame of which takes `cost` seconds; time is simulated."""
    now = 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

        @staticmethod
        def sleep(time: float) -> None:
            nonlocal now
            now += time

    def stream() -> Iterator[Frame]:
        for n in range(round(seconds * 25)):
            yield Frame(n, n / 25, np.zeros((200, 100, 3), np.uint8))

    step = Tracker.step

    def slow(self: Any, frame: Frame) -> None:
        nonlocal now
        now += cost
        step(self, frame)

    monkeypatch.setattr(module, "clock", Clock)
    monkeypatch.setattr(module, "_file", lambda *_: stream())
    monkeypatch.setattr(Tracker, "step", slow)
    recogniser: Any = Made(**extract)
    naming: Any = lambda clip: clip.people  # noqa: E731
    return recogniser, list(live("video.avi", recogniser, naming, standing(score)))


def test_names_come_about_every_second_from_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    recogniser, moments = played(monkeypatch, 8, 0.01)
    times = [m.time for m in moments]
    assert len(times) == 8  # the last at the end
    np.testing.assert_allclose(np.diff(times), 1.0, atol=0.05)
    assert all(m.dropped == 0 and m.behind < 0.05 for m in moments)
    assert max(t.time[-1] - t.time[0] for t in recogniser.shown) == pytest.approx(SPAN, abs=0.05)
    assert recogniser.shown[-1].time[-1] == times[-1]


def test_too_slow_a_machine_leaves_frames_out_and_stays_near(monkeypatch: pytest.MonkeyPatch) -> None:
    _, moments = played(monkeypatch, 10, 0.1)  # two and a half times too slow
    assert moments[-1].dropped > 100
    assert all(m.behind < 0.8 for m in moments)


def test_what_is_too_short_for_a_look_is_looked_at_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    (moment,) = played(monkeypatch, 0.8, 0.01)[1]
    assert (moment.time, moment.read) == (pytest.approx(0.76), 20)
    recogniser, moments = played(monkeypatch, 1.9, 0.01)
    assert [len(m.identities) for m in moments] == [1, 1]
    assert recogniser.shown[-1].time[-1] == moments[-1].time == pytest.approx(1.88)


def test_a_camera_without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ItemError, match="no picture came"):
        played(monkeypatch, 0, 0.01)


@pytest.mark.parametrize(("score", "extract", "named"), [(1, {}, 4), (1, {"min_seconds": 2.5}, 2), (0.6, {}, 0)])
def test_nobody_is_named_whom_extract_keeps_out(monkeypatch: pytest.MonkeyPatch, score: float, extract: Any, named: int) -> None:
    _, moments = played(monkeypatch, 4, 0.01, score, **extract)
    assert sum(len(m.identities) for m in moments) == named


@pytest.mark.parametrize("limits", [{"megapixels": 0.01}, {"hours": 0.0001}, {"gigabytes": 0.00001}])
def test_limits_are_those_of_the_configuration(tmp_path: Path, limits: dict[str, float]) -> None:
    walk = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(walk), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for _ in range(15):
        writer.write(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    writer.release()
    recogniser: Any = Made(LimitsConfig(**limits))
    naming: Any = None
    with pytest.raises(ItemError, match=rf"limits\.{next(iter(limits))}"):
        next(live(str(walk), recogniser, naming, standing()))


def test_lines_say_how_far_behind() -> None:
    moment = module.Moment(3.0, [], 0.42, 5, 90)
    assert list(lines(moment)) == ["    3.0 s  nobody to name (0.4 s behind, 5 of 90 frames left out)"]


@pytest.mark.parametrize(("source", "message"), [("77", "camera 77"), (str(2**40), "camera"), ("²", "cannot be read")])
def test_no_camera(source: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    (getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(3)  # as in a new process
    recogniser: Any = Made()
    naming: Any = None
    with pytest.raises(ItemError, match=message):
        next(live(source, recogniser, naming, standing()))
    assert capfd.readouterr().err == ""


def test_no_file(tmp_path: Path) -> None:
    recogniser: Any = Made()
    naming: Any = None
    with pytest.raises(ItemError):
        next(live(str(tmp_path / "none.avi"), recogniser, naming, standing()))


def test_a_file_within_the_limits_in_force(tmp_path: Path) -> None:
    path = tmp_path / "walk.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    video.write(np.zeros((48, 64, 3), np.uint8))
    video.release()
    recogniser: Any = Made()
    recogniser.config.limits = LimitsConfig(megapixels=0.003)
    naming: Any = None
    with pytest.raises(ItemError, match=r"64x48 pixels, 0.003 megapixels are allowed"):
        next(live(str(path), recogniser, naming, standing()))
