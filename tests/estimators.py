"""What every pose estimator must do. The test of each backend runs all of CHECKS on its own."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from gaitreid.pose.errors import ItemError
from gaitreid.pose.estimate import CORE, BatchEstimator, Estimate, Estimators, PoseEstimator
from gaitreid.pose.extract import ExtractConfig, core_score, crop_for, extract, keypoint_box, least_score, pose
from gaitreid.pose.records import Track2D
from gaitreid.pose.render import FPS, Rendered, scene
from gaitreid.pose.skeleton import H36M17, remap
from gaitreid.pose.video import Image
from gaitreid.pose.walker import walker

Check = Callable[[PoseEstimator, bool, Path], None]


@cache
def clip() -> list[Rendered]:
    """A walker seen from the side, for 1.2 seconds."""
    return list(scene([walker(0, 1)], "nm", 90, 1.2, (0, 1, 0, 1)))


def video(path: Path) -> Path:
    """The same, as a file."""
    height, width = clip()[0].image.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (width, height))
    for picture in clip():
        writer.write(picture.image)
    writer.release()
    return path


def box(rendered: Rendered) -> np.ndarray:
    """Of the one person in a picture, (4,)."""
    xy = rendered.people[0].xy
    nobody = np.empty(0)
    return keypoint_box(Estimate(xy, nobody, nobody, None), rendered.image)


def crops(estimator: PoseEstimator, count: int) -> list[Image]:
    """What the tracker would show it of the walker."""
    return [crop_for(estimator).of(p.image, box(p))[0] for p in clip()[10 : 10 + count]]


def is_valid(estimate: Estimate | None, estimator: PoseEstimator, image: Image) -> None:
    """Shapes, types and ranges of an estimate."""
    joints = len(estimator.skeleton.joints)
    assert estimate is not None
    assert estimate.xy.shape == (joints, 2)
    assert estimate.score.shape == (joints,)
    assert estimate.world.shape == (joints, 3)
    assert {a.dtype for a in (estimate.xy, estimate.score, estimate.world)} == {np.dtype(np.float32)}
    assert np.isfinite(estimate.xy).all()
    assert (estimate.score >= 0).all()
    assert (estimate.score <= 1).all()
    assert estimate.mask is None or estimate.mask.shape == image.shape[:2]


def finds_one_person(estimator: PoseEstimator, trained: bool, folder: Path) -> None:
    """In a crop, and in a whole picture of another shape, near which the keypoints lie."""
    picture = clip()[10]
    for image in (crops(estimator, 1)[0], picture.image):
        estimator.reset()
        estimate = estimator(image)
        is_valid(estimate, estimator, image)
        assert estimate is not None
        size = np.array(image.shape[1::-1])
        assert (np.abs(estimate.xy - size / 2) < 1.5 * size).all()
    assert set(CORE) <= set(estimator.skeleton.joints)
    if trained:
        estimator.reset()
        found = pose(picture.image, box(picture), estimator)
        assert found is not None
        xy, _ = remap(found.xy, found.score, estimator.skeleton, H36M17)
        assert np.median(np.linalg.norm(xy - picture.people[0].xy, axis=-1)) < 6


def says_the_same_twice(estimator: PoseEstimator, trained: bool, folder: Path) -> None:
    """After a reset, whatever it was shown before."""
    image, other = crops(estimator, 2)
    estimator.reset()
    first = estimator(image)
    estimator(other)
    estimator.reset()
    second = estimator(image)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.xy, second.xy)
    np.testing.assert_array_equal(first.score, second.score)


def poses_a_batch_as_one_by_one(estimator: PoseEstimator, trained: bool, folder: Path) -> None:
    """But for the last digits, as sums are done in another order."""
    if not isinstance(estimator, BatchEstimator):
        return
    images = crops(estimator, 3)
    together = estimator.batch(images)
    assert len(together) == len(images)
    for image, one in zip(images, together, strict=True):
        is_valid(one, estimator, image)
        (alone,) = estimator.batch([image])
        assert one is not None
        assert alone is not None
        np.testing.assert_allclose(one.xy, alone.xy, atol=0.05)
        np.testing.assert_allclose(one.score, alone.score, atol=1e-3)
    assert estimator.batch([]) == []


def sees_nobody_where_nobody_is(estimator: PoseEstimator, trained: bool, folder: Path) -> None:
    """A grey picture gives nobody, or nobody who would be followed; of random weights only that it is well formed."""
    image = np.full_like(crops(estimator, 1)[0], 128)
    estimator.reset()
    estimate = estimator(image)
    if estimate is not None:
        is_valid(estimate, estimator, image)
        if trained:
            assert core_score(estimate, estimator.skeleton) < least_score(ExtractConfig(), estimator)


def serves_extraction(estimator: PoseEstimator, trained: bool, folder: Path) -> None:
    """A whole video goes through; trained, it gives the one track that is there."""
    path = video(folder / "walker.avi")
    lent = Estimators(lambda masks: estimator)
    tracks: Sequence[Track2D] = ()
    reason = ""
    try:
        tracks = extract(path, ExtractConfig(detector="hog" if trained else "whole", min_seconds=0.5), lent).tracks
    except ItemError as error:
        reason = error.reason
    assert reason == "" or (reason == "no-person" and not trained)
    assert len(tracks) == 1 or not trained
    assert all(track.skeleton == estimator.skeleton for track in tracks)
    assert lent.take() is estimator  # it was given back


CHECKS: tuple[Check, ...] = (
    finds_one_person,
    says_the_same_twice,
    poses_a_batch_as_one_by_one,
    sees_nobody_where_nobody_is,
    serves_extraction,
)
