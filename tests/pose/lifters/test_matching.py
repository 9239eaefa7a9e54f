from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from gaitreid.pose.errors import FormatError, ItemError
from gaitreid.pose.lifters import matching
from gaitreid.pose.lifters.matching import AROUND, ELEVATIONS, HIPS, Matching, normalised, path, pictured, poses
from gaitreid.pose.lifters.motions import from_walker
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import CASIA14, H36M17, Skeleton


@pytest.fixture(scope="module")
def library() -> np.ndarray:
    return poses([from_walker(3, n, 1.0) for n in range(3)])


def track(xy: np.ndarray, of: Skeleton = CASIA14) -> Track2D:
    frames = np.arange(len(xy))
    return Track2D(
        frame=frames,
        time=frames / 25,
        box=np.zeros((len(xy), 4), np.float32),
        xy=xy.astype(np.float32),
        score=np.isfinite(xy).all(axis=-1).astype(np.float32),
        world=np.full((*xy.shape[:2], 3), np.nan, np.float32),
        skeleton=of,
    )


def test_views_are_turned_and_nothing_else(library: np.ndarray) -> None:
    seen = pictured(library).reshape(-1, len(library), 14, 3)
    distances = np.linalg.norm(library[:, 0] - library[:, 13], axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(seen[:, :, 0] - seen[:, :, 13], axis=-1), np.tile(distances, (len(seen), 1)), atol=1e-5
    )
    assert (seen[:, :, 0, 1] < seen[:, :, 13, 1]).all()  # y is down
    first = seen[0, 0] - seen[0, 0, HIPS].mean(axis=0)
    world = library[0] - library[0, HIPS].mean(axis=0)
    shoulders = CASIA14.indices("left_shoulder", "right_shoulder")
    # A body is no mirror image of itself: left, up and forward keep their handedness.
    for points, up in ((first, np.array([0, -1, 0])), (world, np.array([0, 1, 0]))):
        left = points[shoulders[0]] - points[shoulders[1]]
        forward = points[CASIA14.index("head")] - points[CASIA14.index("neck")]
        assert np.dot(np.cross(left, up), forward) > 0


def test_views_are_all_around_and_from_as_high_as_stated(library: np.ndarray) -> None:
    seen = pictured(library).reshape(len(ELEVATIONS), AROUND, len(library), 14, 3)
    up = library[:, :, 1] - library[:, HIPS, 1].mean(axis=1, keepdims=True)
    for elevation, views in zip(np.deg2rad(ELEVATIONS), seen, strict=True):
        # All around, what is before and beside the hips cancels out; who looks down sees what is high up nearer.
        middle = np.stack([0 * up, -up * np.cos(elevation), -up * np.sin(elevation)], axis=-1)
        np.testing.assert_allclose(views.mean(axis=0), middle, atol=1e-5)


def test_a_pose_of_the_library_seen_from_one_of_its_views_is_found_again(library: np.ndarray) -> None:
    seen = pictured(library)
    chosen = seen[[40, 40, 40, 40]]
    xyz, score = Matching(library).lift(track(120 * chosen[..., :2] + [300, 200]), CASIA14)
    np.testing.assert_allclose(xyz - xyz[:, HIPS].mean(axis=1, keepdims=True), chosen, atol=2e-3)
    assert (score == 1).all()


def test_joints_that_are_never_seen_come_from_the_library(library: np.ndarray) -> None:
    chosen = pictured(library)[[40, 40, 40, 40]]
    xy = 120 * chosen[..., :2]
    xy[:, CASIA14.index("left_wrist")] = np.nan
    xyz, score = Matching(library).lift(track(xy), CASIA14)
    np.testing.assert_allclose(xyz, chosen, atol=2e-3)
    assert (score[:, CASIA14.index("left_wrist")] == 0).all()


def test_gaps_are_bridged(library: np.ndarray) -> None:
    chosen = pictured(library)[[40] * 5]
    xy = 120 * chosen[..., :2]
    xy[2, 4:9] = np.nan
    xyz, _ = Matching(library).lift(track(xy), CASIA14)
    np.testing.assert_allclose(xyz[2], xyz[1], atol=1e-4)


def cost(way: tuple[int, ...], unary: np.ndarray, candidates: np.ndarray, shelf: np.ndarray) -> float:
    """Of one way through the candidates, as the docstring has it."""
    poses = [shelf[candidates[t, k]] for t, k in enumerate(way)]
    own = sum(float(unary[t, k]) for t, k in enumerate(way))
    return own + 0.7 * sum(float(((a - b) ** 2).sum()) for a, b in pairwise(poses))


def test_the_path_is_the_cheapest_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "STEADINESS", 0.7)
    rng = np.random.default_rng(0)
    for _ in range(20):
        shelf = rng.normal(size=(9, 2, 3))
        candidates = np.stack([rng.permutation(9)[:3] for _ in range(5)])
        unary = rng.uniform(0, 8, (5, 3))
        ways = {way: cost(way, unary, candidates, shelf) for way in product(range(3), repeat=5)}
        best = min(ways, key=ways.__getitem__)
        assert path(unary, candidates, shelf).tolist() == [candidates[t, k] for t, k in enumerate(best)]


def test_steadiness_mends_a_flip(library: np.ndarray) -> None:
    """One frame's picture is a little nearer to the pose seen from behind; its neighbours say that it is not."""
    front, behind = library[0], library[0] * [-1, 1, -1]
    shelf = np.stack([front, behind])
    unary = np.array([[0.0, 0.5], [0.3, 0.2], [0.0, 0.5]])
    assert path(unary, np.array([[0, 1]] * 3), shelf).tolist() == [0, 0, 0]


def test_a_walk_of_the_library_is_found_again_frame_by_frame(library: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where steadiness weighs next to nothing, the nearest picture is taken, whatever those before and after it."""
    monkeypatch.setattr(matching, "STEADINESS", 1e-6)
    chosen = pictured(library)[len(library) * 7 :][: len(library)]
    xyz, _ = Matching(library).lift(track(120 * chosen[..., :2]), CASIA14)
    np.testing.assert_allclose(xyz, chosen, atol=2e-3)


def test_a_library_in_another_unit_gives_the_same_poses(library: np.ndarray) -> None:
    """Distances of poses are in body heights, as those of pictures are: what is chosen does not depend on the unit."""
    seen = pictured(library)[len(library) * 7 :][: len(library), :, :2]
    noisy = track(120 * (seen + np.random.default_rng(0).normal(0, 0.05, seen.shape)))
    metres, (millimetres, _) = Matching(library).lift(noisy, CASIA14)[0], Matching(1000 * library).lift(noisy, CASIA14)
    np.testing.assert_allclose(millimetres / 1000, metres, atol=1e-4)


def test_size_and_place_do_not_matter() -> None:
    xy = np.random.default_rng(0).normal(size=(3, 14, 2))
    every = np.ones(14, dtype=bool)
    a, size = normalised(xy, every)
    b, larger = normalised(50 * xy + [10, -70], every)
    np.testing.assert_allclose(a, b, atol=1e-9)
    np.testing.assert_allclose(larger, 50 * size)


def test_who_is_hardly_seen_is_not_lifted(library: np.ndarray) -> None:
    xy = np.full((5, 14, 2), np.nan)
    xy[:, :9] = 1.0
    with pytest.raises(ItemError, match="hips"):
        Matching(library).lift(track(xy), CASIA14)


def test_made_up_walkers_are_there_without_a_file() -> None:
    lifter = Matching()
    xyz, _ = lifter.lift(track(pictured(poses([from_walker(77, 5, 1.0)]))[:6, :, :2]), H36M17)
    assert np.isfinite(xyz).all()
    assert xyz.shape == (6, 17, 3)


def test_a_folder_without_a_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no library of poses"):
        Matching(str(tmp_path))
