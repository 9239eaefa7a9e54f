from pathlib import Path

import estimators
import numpy as np
import pytest

from gaitreid.pose.backends.mediapipe import MediaPipe
from gaitreid.pose.render import scene
from gaitreid.pose.skeleton import H36M17, remap
from gaitreid.pose.video import Image
from gaitreid.pose.walker import walker


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Image, np.ndarray]]:
    clip = list(scene([walker(0, 1)], "nm", 90, 1.6, (0, 1, 0, 1)))[10:22]
    return [(p.image, p.people[0].xy) for p in clip]


@pytest.mark.parametrize("check", estimators.CHECKS)
def test_conformance(check: estimators.Check, tmp_path: Path) -> None:
    check(MediaPipe(), True, tmp_path)


def test_the_person_is_found_and_the_mask_is_theirs(pictures: list[tuple[Image, np.ndarray]]) -> None:
    estimator = MediaPipe(masks=True)
    for image, truth in pictures:
        found = estimator(image)
        assert found is not None
        xy, _ = remap(found.xy, found.score, estimator.skeleton, H36M17)
        assert np.median(np.linalg.norm(xy - truth, axis=-1)) < 6
        assert found.world.shape == (33, 3)
        assert found.mask is not None
        assert found.mask.shape == image.shape[:2]
        inside = [found.mask[int(y), int(x)] for x, y in truth[[0, H36M17.index("spine"), H36M17.index("thorax")]]]
        assert min(inside) > 0.5


def test_a_used_estimator_is_as_good_as_a_fresh_one(pictures: list[tuple[Image, np.ndarray]]) -> None:
    nobody = np.full_like(pictures[0][0], 128)
    fresh, used = MediaPipe(), MediaPipe()
    for image, _ in pictures[::-1]:
        used(image)
    used.reset()
    assert used(nobody) is None
    used.reset()
    for image, _ in pictures:
        a, b = fresh(image), used(image)
        assert a is not None
        assert b is not None
        np.testing.assert_array_equal(a.xy, b.xy)
        np.testing.assert_array_equal(a.world, b.world)


def test_it_says_nothing_of_its_own(capfd: pytest.CaptureFixture[str], pictures: list[tuple[Image, np.ndarray]]) -> None:
    MediaPipe()(pictures[0][0])
    assert capfd.readouterr() == ("", "")
