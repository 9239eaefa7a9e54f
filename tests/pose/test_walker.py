import numpy as np
import pytest

from gaitreid.pose.skeleton import H36M17
from gaitreid.pose.walker import BODY, walk, walker

TIME = np.arange(75) / 25


def at(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, BODY.index(name)]


def test_a_person_is_the_same_however_many_there_are() -> None:
    assert walker(3, 7) == walker(3, 7)
    assert walker(3, 7) != walker(3, 8)
    assert walker(3, 7) != walker(4, 7)


@pytest.mark.parametrize("subject", range(1, 6))
def test_limbs_keep_their_length_while_walking(subject: int) -> None:
    joints, _ = walk(walker(0, subject), TIME, np.random.default_rng(0))
    for a, b in (("left_hip", "left_knee"), ("right_knee", "right_ankle"), ("left_shoulder", "left_elbow")):
        length = np.linalg.norm(at(joints, a) - at(joints, b), axis=-1)
        np.testing.assert_allclose(length, length[0], rtol=1e-6)


@pytest.mark.parametrize("subject", range(1, 6))
def test_it_is_walking(subject: int) -> None:
    person = walker(0, subject)
    joints, way = walk(person, TIME, np.random.default_rng(0))
    assert 0.5 < way[-1] / TIME[-1] < 2.2  # metres a second
    swing = at(joints, "left_ankle")[:, 2] - at(joints, "right_ankle")[:, 2]
    crossings = (np.diff(np.sign(swing)) != 0).sum()
    assert crossings == pytest.approx(2 * person.cadence * TIME[-1], abs=1.5)  # feet pass each other twice a stride
    arms = at(joints, "left_wrist")[:, 2] - at(joints, "right_wrist")[:, 2]
    assert np.corrcoef(swing, arms)[0, 1] < -0.5  # arms swing against the legs
    # A standing foot does not slide: on the ground it moves much less than the body does in a frame.
    ground = at(joints, "left_ankle")[:, 2] + way
    standing = at(joints, "left_ankle")[:, 1] < at(joints, "right_ankle")[:, 1]
    slide = np.abs(np.diff(ground))[standing[1:] & standing[:-1]]
    assert np.median(slide) < 0.3 * way[-1] / len(way)


def test_people_differ_more_than_recordings_of_one() -> None:
    def style(subject: int, seed: int) -> np.ndarray:
        joints, _ = walk(walker(0, subject), TIME, np.random.default_rng(seed))
        body = joints[:, : len(H36M17.joints)] - joints[:, :1]
        return np.concatenate([body.mean(axis=0).ravel(), body.std(axis=0).ravel()])

    features = np.array([[style(subject, seed) for seed in range(3)] for subject in range(1, 9)])
    within = np.linalg.norm(features[:, 0] - features[:, 1], axis=-1).mean()
    between = np.linalg.norm(features[:, None, 0] - features[None, :, 1], axis=-1)[~np.eye(8, dtype=bool)].mean()
    assert between > 2 * within
