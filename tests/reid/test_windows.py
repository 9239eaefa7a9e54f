from dataclasses import replace

import numpy as np
import pytest

from gaitreid.pose.arrays import take
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.records import Track3D
from gaitreid.pose.render import scene
from gaitreid.pose.skeleton import H36M17
from gaitreid.pose.walker import walker
from gaitreid.reid.windows import SplitConfig, join, resample, split_track


def track(seconds=4.0, rate=25.0, first=0):
    fine = np.stack([r.people[0].xyz for r in scene([walker(0, 1)], "nm", 90, seconds, (0, 1))])
    xyz = fine - fine[:, :1]
    time = np.arange(0, (len(xyz) - 1) / 25 + 1e-9, 1 / rate)
    even = np.stack([[np.interp(time, np.arange(len(xyz)) / 25, xyz[:, j, c]) for c in range(3)] for j in range(17)])
    points = even.transpose(2, 0, 1).astype(np.float32)
    frame = first + np.arange(len(time))
    return Track3D(frame=frame, time=time, xyz=points, score=np.ones(points.shape[:2]), skeleton=H36M17, lifter="x")


@pytest.mark.parametrize(("length", "step"), [(20, 10), (6, 3), (7, 3), (50, 25)])
def test_number_of_windows(length, step):
    windows = split_track(track(), SplitConfig(length=length, trim=10))
    assert len(windows.start) == (100 - 20 - length) // step + 1
    assert windows.start[0] == 10
    assert (np.diff(windows.start) == step).all()


@pytest.mark.parametrize(
    ("frames", "words"), [(23, "23 frames, 19 without those at its ends; windows take 20"), (9, "9 frames; windows take 20")]
)
def test_a_track_that_is_too_short_says_what_is_left_of_it(frames, words):
    with pytest.raises(ItemError, match=f"^(too-short: )?{words}$"):
        split_track(take(track(), "T", slice(0, frames)), SplitConfig())


def test_an_even_track_is_not_touched():
    t = track()
    xyz, _, frame = resample(t, SplitConfig())
    np.testing.assert_array_equal(xyz, t.xyz)
    np.testing.assert_array_equal(frame, t.frame)


@pytest.mark.parametrize("rate", [10.0, 30.0, 50.0])
def test_other_rates_come_to_the_same_walk(rate):
    reference, _, _ = resample(track(), SplitConfig())
    xyz, time, frame = resample(track(rate=rate), SplitConfig())
    assert np.abs(xyz[:90] - reference[:90]).max() < (0.08 if rate == 10 else 0.02)
    np.testing.assert_allclose(np.diff(time), 1 / 25)
    assert np.abs(frame / rate - time).max() <= 0.5 / rate + 1e-9


def test_long_gaps_are_not_bridged():
    t = track()
    keep = np.r_[0:40, 60:100]
    gap = Track3D(frame=t.frame[keep], time=t.time[keep], xyz=t.xyz[keep], score=t.score[keep], skeleton=H36M17, lifter="x")
    windows = split_track(gap, SplitConfig(trim=0))
    ends = {(int(windows.frame[s]), int(windows.frame[s + 19])) for s in windows.start}
    assert ends == {(0, 19), (10, 29), (20, 39), (60, 79), (70, 89), (80, 99)}


def test_missing_joints_split_the_track():
    t = track()
    t.xyz[50, 3] = np.nan
    windows = split_track(t, SplitConfig(trim=0))
    assert all(not s <= 50 < s + 20 for s in windows.start)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(lambda t: (slice(0, 19), t.xyz), "too-short"), (lambda t: (slice(None), t.xyz * np.nan), "missing-joints")],
)
def test_reasons(change, reason):
    t = track()
    rows, xyz = change(t)
    part = Track3D(frame=t.frame[rows], time=t.time[rows], xyz=xyz[rows], score=t.score[rows], skeleton=H36M17, lifter="x")
    with pytest.raises(ItemError) as error:
        split_track(part, SplitConfig())
    assert error.value.reason == reason


def test_five_frames_a_second_are_too_few():
    with pytest.raises(ItemError) as error:
        split_track(track(rate=5.0), SplitConfig())
    assert error.value.reason == "rate-too-low"


def test_a_long_gap_is_no_low_rate():
    whole = track(rate=10.0, seconds=20.0)
    seen = np.r_[0:60, 140 : len(whole.time)]
    parts = {name: getattr(whole, name)[seen] for name in ("frame", "time", "xyz", "score")}
    found = split_track(replace(whole, **parts), SplitConfig(length=6, fps=None, trim=0))
    assert len(found.start) == 2 * 19
    last = found.start + 5
    assert not ((found.frame[found.start] < 60) & (found.frame[last] >= 140)).any()


def test_join_keeps_windows_within_their_track():
    parts = [split_track(track(seconds=s), SplitConfig()) for s in (3, 4)]
    whole = join(parts)
    rows = whole["start"][whole["window_track"] == 1][0]
    np.testing.assert_array_equal(whole["xyz"][rows : rows + 20], parts[1].xyz[parts[1].start[0] : parts[1].start[0] + 20])


def test_ranges_are_checked():
    with pytest.raises(UsageError):
        SplitConfig(length=1)
    assert SplitConfig(length=7).stride == 3


def test_short_tracks_lose_a_tenth_at_each_end_and_no_more():
    windows = split_track(take(track(), "T", slice(0, 50)), SplitConfig(length=40, trim=10))
    assert windows.start.tolist() == [5]
