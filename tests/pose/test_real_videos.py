"""Real people: skipped, by name, where GAITREID_DATA does not point to them."""

from pathlib import Path

import numpy as np
import pytest

from gaitreid.pose.backends.mediapipe import MediaPipe
from gaitreid.pose.estimate import Estimators
from gaitreid.pose.extract import ExtractConfig, Extraction, extract


@pytest.fixture(scope="module")
def estimators() -> Estimators:
    return Estimators(MediaPipe)


def run(video: Path, estimators: Estimators) -> Extraction:
    return extract(video, ExtractConfig(), estimators)


@pytest.mark.parametrize("name", ["060_002_bg-03.avi", "090_001_nm-01.avi", "120_001_nm-01.avi"])
def test_one_person_is_one_track_over_the_walk(real_data: Path, estimators: Estimators, name: str) -> None:
    found = run(real_data / "clips" / name, estimators)
    (track,) = found.tracks
    assert len(track.frame) > 0.7 * found.frames_read
    middle = track.box[:, [0, 2]].mean(axis=1)
    assert np.abs(np.diff(middle)).max() < 0.1 * found.info.width
    assert abs(middle[-1] - middle[0]) > 0.4 * found.info.width


def test_two_people_at_once_are_two_tracks(real_data: Path, estimators: Estimators) -> None:
    found = run(real_data / "clips/sports2d_side_walk.mp4", estimators)
    walker, jumper = sorted(found.tracks, key=lambda t: -len(t.frame))[:2]
    together = np.intersect1d(walker.frame, jumper.frame)
    assert len(together) > 100
    heights = [np.median(t.box[np.isin(t.frame, together)][:, 3]) for t in (walker, jumper)]
    assert abs(heights[0] - heights[1]) > 0.3 * found.info.height  # one walks on the lawn, one jumps on the roof


@pytest.mark.parametrize(("person", "crossings"), [("08", 4), ("13", 3)])
def test_small_grey_people_in_coats_are_followed_over_their_crossings(
    real_data: Path, estimators: Estimators, person: str, crossings: int
) -> None:
    # Person 13 is the hardest: which of the four crossings falls into pieces hangs on single grey levels.
    found = run(real_data / f"kth/person{person}_walking_d3_uncomp.avi", estimators)
    assert crossings <= len(found.tracks) <= 4
    assert min(len(t.frame) for t in found.tracks) >= 20  # 0.8 s
    assert sum(len(t.frame) for t in found.tracks) > 35 * crossings
