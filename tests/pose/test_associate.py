import numpy as np
import pytest

from gaitreid.pose.associate import Followed, associate, distances, is_named
from gaitreid.pose.extract import ExtractConfig
from gaitreid.pose.keypoint_files import Clip, Person
from gaitreid.pose.skeleton import COCO17, Skeleton

RATE = 25.0
CONFIG = ExtractConfig()
BODY = np.random.default_rng(0).uniform([-20, 0], [20, 100], (17, 2))  # about 100 px tall


def person(x: float, y: float = 50.0, phase: float = 0.0, track: int | None = None, lost: tuple[int, ...] = ()) -> Person:
    """Somebody at a place, limbs swinging."""
    swing = 8 * np.sin(phase + np.arange(17))
    xy = (BODY + np.array([x, y]) + np.stack([swing, 0 * swing], axis=1)).astype(np.float32)
    score = np.full(17, 0.8, np.float32)
    xy[list(lost)], score[list(lost)] = np.nan, 0
    return Person(xy, score, None, track)


def clip(*frames: list[Person], skeleton: Skeleton = COCO17) -> Clip:
    return Clip("clip", skeleton, dict(enumerate(frames)))


def test_two_people_who_pass_one_another_at_some_distance_stay_themselves():
    rng = np.random.default_rng(1)
    frames = []
    for n in range(75):
        people = [person(100 + 4 * n, 50, n / 3), person(400 - 4 * n, 90, n / 4, lost=tuple(rng.integers(0, 17, 3)))]
        frames.append([people[k] for k in rng.permutation(2)])  # files have people in any order
    found = associate(clip(*frames), RATE, CONFIG)
    assert not found.named
    assert [len(t.frame) for t in found.tracks] == [75, 75]
    assert (found.numbers, found.rejected, found.frames_used) == ((1, 2), (), 75)
    for track, speed in zip(sorted(found.tracks, key=lambda t: float(np.nanmean(t.xy[0, :, 0]))), (4, -4), strict=True):
        centre = np.nanmedian(track.xy[..., 0] - BODY[:, 0], axis=1)
        assert np.polyfit(track.frame, centre, 1)[0] == pytest.approx(speed, abs=0.3)


def test_two_people_who_cannot_be_told_apart_give_new_tracks():
    frames = [[person(100 + 3 * n), person(340 - 3 * n)] for n in range(80)]  # through one another at frame 40
    found = associate(clip(*frames), RATE, CONFIG)
    for track in found.tracks:
        steps = np.diff(np.nanmean(track.xy[..., 0], axis=1))
        assert (track.frame[-1] < 45) or (track.frame[0] > 35)  # nobody goes on through the meeting
        assert (np.sign(steps) == np.sign(steps[-1])).mean() > 0.9
    assert len(found.tracks) == 4


def test_gaps_are_bridged_as_far_as_max_missing():
    walk = [[person(100 + 5 * n)] for n in range(60)]
    short = [[] if 25 <= n < 31 else people for n, people in enumerate(walk)]
    (track,) = associate(clip(*short), RATE, CONFIG).tracks
    assert len(track.frame) == 54
    assert np.diff(track.frame).max() == 7
    long = [[] if 25 <= n < 34 else people for n, people in enumerate(walk)]
    assert [len(t.frame) for t in associate(clip(*long), RATE, CONFIG).tracks] == [25, 26]


def test_who_runs_is_sought_where_they_run_to():
    frames = [[] if 25 <= n < 31 else [person(100 + 12 * n)] for n in range(60)]  # seven eighths of their size on
    assert [len(t.frame) for t in associate(clip(*frames), RATE, CONFIG).tracks] == [54]


def test_a_joint_that_is_lost_goes_on_with_the_person():
    one = Followed(1)
    for n in range(60):
        one.add(n, person(100 + 6 * n, 50 - 2 * n), RATE)
    np.testing.assert_allclose(one.velocity, [150, -50], rtol=1e-3)
    one.add(63, person(100 + 6 * 63, 50 - 2 * 63, lost=(3, 4)), RATE)
    np.testing.assert_allclose(one.xy, person(100 + 6 * 63, 50 - 2 * 63).xy, atol=0.1)
    whole = one.size
    one.add(64, person(100 + 6 * 64, 50 - 2 * 64, lost=tuple(np.flatnonzero(BODY[:, 1] > 40).tolist())), RATE)
    assert one.size > 0.9 * whole  # nor are they smaller for it


@pytest.mark.parametrize(("shift", "first"), [(2, 0), (60, 1)])
def test_people_who_share_no_joints_are_compared_by_their_boxes(shift, first):
    joint = np.arange(17)
    corners = np.stack([joint // 2 % 2 * 40.0, joint // 4 % 2 * 100.0], axis=1)  # even and odd joints have the same box

    def seen(n):
        xy = (corners + np.array([shift * min(n, 1) + 2 * n, 0])).astype(np.float32)
        xy[joint % 2 == 1 - n] = np.nan  # the even ones, the odd ones, then all
        return Person(xy, np.isfinite(xy[:, 0]).astype(np.float32), None)

    (track,) = associate(clip(*[[seen(n)] for n in range(40)]), RATE, CONFIG).tracks
    assert track.frame.tolist() == list(range(first, 40))


def test_somebody_elsewhere_is_somebody_else():
    frames = [[person(100 if n < 30 else 300)] for n in range(60)]
    assert [(t.frame[0], t.frame[-1]) for t in associate(clip(*frames), RATE, CONFIG).tracks] == [(0, 29), (30, 59)]


def test_a_person_who_is_found_twice_is_one():
    frames = [[person(100 + 3 * n, lost=(0, 1, 2)), person(102 + 3 * n)] for n in range(40)]
    (track,) = associate(clip(*frames), RATE, CONFIG).tracks
    assert np.isfinite(track.xy).all()  # the fuller one


def test_a_ghost_beside_somebody_does_not_end_their_track():
    frames = [[person(100 + 3 * n), *([person(109 + 3 * n)] if n % 7 == 3 else [])] for n in range(60)]
    found = associate(clip(*frames), RATE, CONFIG)
    assert max(len(t.frame) for t in found.tracks) >= 58


def test_who_is_nearer_to_a_ghost_for_a_moment_stays_with_the_older_track():
    frames = [[person(100 + 3 * n + (8 if n == 21 else 0)), *([person(100 + 3 * n + 15)] if n == 20 else [])] for n in range(60)]
    found = associate(clip(*frames), RATE, CONFIG)
    assert [t.frame.tolist() for t in found.tracks] == [list(range(60))]
    assert [(r.first, r.last) for r in found.rejected] == [(20, 20)]


def test_numbers_of_the_file_are_kept():
    frames = [[person(100, track=7), person(100 if n % 2 else 300, track=2)] for n in range(30)]
    found = associate(clip(*frames), RATE, CONFIG)
    assert found.named
    assert sorted(found.numbers) == [2, 7]
    assert [len(t.frame) for t in found.tracks] == [30, 30]


def test_a_number_that_comes_back_is_another_track():
    frames = [[person(100 + n, track=3)] if n < 30 or n > 60 else [person(400, track=5)] for n in range(90)]
    found = associate(clip(*frames), RATE, CONFIG)
    spans = {k: (t.frame[0], t.frame[-1]) for k, t in zip(found.numbers, found.tracks, strict=True)}
    assert spans == {3: (0, 29), 5: (30, 60), 6: (61, 89)}


@pytest.mark.parametrize("tracks", [(1, None), (3, 3)])
def test_numbers_that_do_not_tell_people_apart_do_not_count(tracks):
    frames = [[person(100 + 200 * k, track=track) for k, track in enumerate(tracks)] for _ in range(30)]
    assert not is_named(clip(*frames))
    assert [len(t.frame) for t in associate(clip(*frames), RATE, CONFIG).tracks] == [30, 30]


def test_what_is_left_out_says_why():
    legs = tuple(COCO17.indices("left_shoulder", "left_hip", "left_knee", "left_ankle", "right_knee"))
    frames = [[person(100), *([person(300)] if n < 10 else []), person(500, lost=legs)] for n in range(40)]
    found = associate(clip(*frames), RATE, CONFIG)
    assert len(found.tracks) == 1
    assert sorted((r.reason, r.first, r.last, r.frames) for r in found.rejected) == [
        ("few-joints", 0, 39, 40),
        ("too-short", 0, 9, 10),
    ]


def test_tracks_have_times_boxes_and_no_third_dimension():
    frames = [[Person(p.xy, p.score, np.array([1.0, 2, 3, 4]) if n else None)] for n in range(30) for p in [person(100)]]
    (track,) = associate(clip(*frames), 10.0, CONFIG).tracks
    np.testing.assert_allclose(track.time, np.arange(30) / 10)
    assert track.box[1].tolist() == [1, 2, 3, 4]
    low, high = track.xy[0].min(axis=0), track.xy[0].max(axis=0)
    assert (track.box[0, :2] < low).any()
    assert (track.box[0, 3] > high[1]).all()
    assert np.isnan(track.world).all()


def test_distances_against_a_slow_reading():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(3, 5, 2)), rng.normal(size=(4, 5, 2))
    one[0, :3], other[1, 4] = np.nan, np.nan
    sizes = np.array([1.0, 2.0, 3.0])
    found = distances(one, other, sizes)
    for n in range(3):
        for m in range(4):
            apart = [
                min(float(np.hypot(*(one[n, j] - other[m, j])) / sizes[n]), 0.5)
                for j in range(5)
                if np.isfinite(one[n, j]).all() and np.isfinite(other[m, j]).all()
            ]
            assert found[n, m] == pytest.approx(np.mean(apart) if len(apart) >= 3 else np.inf)


def test_nobody():
    found = associate(clip([], []), RATE, CONFIG)
    assert (found.tracks, found.rejected, found.frames_used) == ((), (), 0)
    only_two_joints = person(100, lost=tuple(range(2, 17)))
    assert associate(clip(*[[only_two_joints]] * 40), RATE, CONFIG).tracks == ()
