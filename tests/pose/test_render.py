import numpy as np
import pytest

from gaitreid.pose.render import FPS, HEIGHT, WIDTH, Rendered, project, scene
from gaitreid.pose.skeleton import H36M17
from gaitreid.pose.walker import walker


def clip(view: float, condition: str = "nm", people: int = 1, seconds: float = 1.0) -> list[Rendered]:
    return list(scene([walker(0, n) for n in range(1, people + 1)], condition, view, seconds, (0, 1, 2, 3)))


def test_pictures_have_their_size_and_number_and_are_the_same_again() -> None:
    first, second = clip(90, seconds=0.4), clip(90, seconds=0.4)
    assert len(first) == round(0.4 * FPS)
    for a, b in zip(first, second, strict=True):
        assert a.image.shape == (HEIGHT, WIDTH, 3)
        assert a.image.dtype == np.uint8
        np.testing.assert_array_equal(a.image, b.image)


def test_truth_is_where_the_person_is_drawn() -> None:
    pictures = clip(90, seconds=2.0)
    images = np.stack([p.image for p in pictures]).astype(int)
    changed = np.abs(images - np.median(images, axis=0)).max(axis=-1) > 40
    for t in (10, 25, 40):
        pelvis, head = pictures[t].people[0].xy[[0, H36M17.index("nose")]]
        for x, y in (pelvis, head):
            assert changed[t, int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].mean() > 0.5


def test_truth_in_3d_projects_to_truth_in_2d() -> None:
    for picture in clip(54, people=2):
        for person in picture.people:
            np.testing.assert_allclose(project(person.xyz), person.xy)


@pytest.mark.parametrize(("view", "sign"), [(0, -1), (180, 1)])
def test_view_0_comes_nearer_and_180_goes_away(view: float, sign: int) -> None:
    pictures = clip(view, seconds=2.0)
    assert np.sign(pictures[-1].people[0].xyz[0, 2] - pictures[0].people[0].xyz[0, 2]) == sign


def test_left_is_left_seen_from_behind_and_right_seen_from_the_front() -> None:
    left, right = H36M17.indices("left_hip", "right_hip")
    for view, sign in ((180, -1), (0, 1)):
        xy = clip(view)[10].people[0].xy
        assert np.sign(xy[left, 0] - xy[right, 0]) == sign


def test_conditions_look_different_and_walk_alike() -> None:
    nm, bg, cl = (clip(90, condition)[12] for condition in ("nm", "bg", "cl"))
    for other in (bg, cl):
        assert (np.abs(nm.image.astype(int) - other.image).max(axis=-1) > 60).sum() > 100


def test_people_in_one_scene_cross() -> None:
    pictures = clip(90, people=2, seconds=3.0)
    x = np.array([[person.xy[0, 0] for person in p.people] for p in pictures])
    assert np.sign(x[0, 0] - x[0, 1]) != np.sign(x[-1, 0] - x[-1, 1])
