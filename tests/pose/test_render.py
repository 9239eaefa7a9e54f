import itertools

import numpy as np
import pytest

from gaitreid.pose import render
from gaitreid.pose.render import BAGS, DRESSES, FPS, HEIGHT, WIDTH, Dress, Rendered, any_dress, project, scene
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


def test_who_is_behind_the_camera_is_in_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(render, "_draw", lambda image, person, body, dress: drawn.append(body[0, 2]))
    (first, _) = clip(90, people=14, seconds=0.1)  # lanes nearer and nearer to the camera, the last behind it
    depth = np.array([person.xyz[0, 2] for person in first.people])
    seen = np.array([np.isfinite(person.xy).all() for person in first.people])
    assert seen.tolist() == [True] * 12 + [False] * 2
    assert depth[12] > 0.4 > 0 > depth[13]  # the other one's arms are too near
    assert drawn[:12] == sorted(depth[:12], reverse=True)
    assert len(drawn) == 24
    assert all(np.isnan(person.xy).all() for person in first.people[12:])


def test_left_is_left_seen_from_behind_and_right_seen_from_the_front() -> None:
    left, right = H36M17.indices("left_hip", "right_hip")
    for view, sign in ((180, -1), (0, 1)):
        xy = clip(view)[10].people[0].xy
        assert np.sign(xy[left, 0] - xy[right, 0]) == sign


def test_conditions_look_different_and_walk_alike() -> None:
    nm, bg, cl = (clip(90, condition)[12] for condition in ("nm", "bg", "cl"))
    for other in (bg, cl):
        assert (np.abs(nm.image.astype(int) - other.image).max(axis=-1) > 60).sum() > 100


def test_on_any_other_day_the_same_body_looks_and_walks_otherwise() -> None:
    days = [list(scene([walker(0, 1)], "day", 90, 0.6, (0, 1, 3, n))) for n in range(1, 5)]
    views = [list(scene([walker(0, 1)], "day", view, 0.6, (0, 1, 3, 1)))[5].people[0].xyz for view in (90, 0)]
    pose = [frames[5].people[0].xyz for frames in days]
    hip, knee = H36M17.indices("left_hip", "left_knee")
    for one, other in itertools.pairwise(pose):
        assert np.linalg.norm(one[hip] - one[knee]) == pytest.approx(np.linalg.norm(other[hip] - other[knee]))
        assert np.abs((one - one[0]) - (other - other[0])).max() > 0.02
    # The cameras of one recording see the same walk.
    across, towards = (xyz - xyz[0] for xyz in views)
    np.testing.assert_allclose(np.linalg.norm(across, axis=1), np.linalg.norm(towards, axis=1), atol=1e-9)
    np.testing.assert_array_equal(days[0][3].image, list(scene([walker(0, 1)], "day", 90, 0.6, (0, 1, 3, 1)))[3].image)


def test_dresses_differ_and_change_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    dresses = [any_dress(rng) for _ in range(200)]
    assert {dress.bag for dress in dresses} == {"", *BAGS}
    assert 0.3 < np.mean([dress.coat for dress in dresses]) < 0.7
    assert 0.1 < np.mean([dress.hood > 1 for dress in dresses]) < 0.5
    pixels = {}
    for dress in (
        Dress(),
        Dress(coat=True, hem=0.3),
        Dress(coat=True, hem=1.3),
        Dress(bag="front"),
        Dress(hood=1.3),
        Dress(trousers=1.3),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(DRESSES, "nm", dress)
            pixels[dress] = clip(90, seconds=0.4)[5].image.astype(int)
    plain = pixels.pop(Dress())
    changed = {dress: np.argwhere(np.abs(image - plain).max(axis=-1) > 60) for dress, image in pixels.items()}
    assert all(len(where) > 20 for where in changed.values())
    short, long = (where[:, 0].max() for dress, where in changed.items() if dress.coat)
    assert long > short + 10  # rows: the hem hangs lower


def test_people_in_one_scene_cross() -> None:
    pictures = clip(90, people=2, seconds=3.0)
    x = np.array([[person.xy[0, 0] for person in p.people] for p in pictures])
    assert np.sign(x[0, 0] - x[0, 1]) != np.sign(x[-1, 0] - x[-1, 1])
