import numpy as np
import pytest

from gaitreid.reid import metric_learning
from gaitreid.reid.metric_learning import LEARNT, itml, lmnn


def people(count=80, subjects=4, seed=0):
    """Vectors in which one small column tells people apart, and whose they are."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % subjects
    vectors = rng.normal(size=(count, 6)) * np.array([8.0, 8, 8, 1, 1, 1])
    vectors[:, 3] += 4 * label
    return vectors, label


@pytest.mark.parametrize("learn", LEARNT.values())
def test_the_direction_that_tells_people_apart_is_found(learn):
    vectors, label = people()

    def nearest(x):
        distance = np.linalg.norm(x[:40, None] - x[None, 40:], axis=-1)
        return (label[40:][distance.argmin(axis=1)] == label[:40]).mean()

    linear = learn(vectors[40:], label[40:])
    assert linear.shape[0] == 6
    assert nearest(vectors @ linear) > nearest(vectors) + 0.2


@pytest.mark.parametrize("learn", LEARNT.values())
def test_the_same_labels_give_the_same_map(learn):
    vectors, label = people()
    np.testing.assert_array_equal(learn(vectors, label), learn(vectors, label))


@pytest.mark.parametrize("learn", LEARNT.values())
def test_nothing_to_learn_from_leaves_the_metric_as_it_is(learn):
    vectors, _ = people(12)
    linear = learn(vectors, np.arange(12))  # everybody once
    before = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    after = np.linalg.norm((vectors @ linear)[:, None] - (vectors @ linear)[None], axis=-1)
    np.testing.assert_allclose(after / after.max(), before / before.max(), atol=1e-4)
    assert np.isfinite(learn(np.zeros((6, 3)), np.arange(6) % 2)).all()


def test_itml_keeps_pairs_where_they_are_to_be_and_stays_near_the_euclidean_metric():
    vectors, label = people(40)
    found = {slack: itml(vectors, label, slack=slack) for slack in (1e-4, 1.0, 1e3)}
    first, second = np.triu_indices(40, 1)
    alike = label[first] == label[second]

    def apart(linear):
        return np.square((vectors[first] - vectors[second]) @ linear).sum(axis=1)

    def ratio(linear):
        return apart(linear)[alike].mean() / apart(linear)[~alike].mean()

    plain = ratio(np.eye(6))
    assert ratio(found[1e3]) < ratio(found[1.0]) < plain  # the more the pairs count, the nearer are those of one subject
    assert ratio(found[1e-4]) == pytest.approx(plain, rel=0.05)  # and where they count for nothing all stays as it is


def test_itml_pulls_one_subject_together_and_is_a_metric():
    vectors, label = np.array([[0.0, 0], [4, 0], [0, 1], [9, 9]]), np.array([0, 0, 1, 2])
    linear = itml(vectors, label, slack=1.0)
    metric = linear @ linear.T
    assert np.allclose(metric, metric.T)
    assert (np.linalg.eigvalsh(metric) > 0).all()
    v = vectors[0] - vectors[1]
    reduce, _ = metric_learning._principal(vectors)
    euclidean = (reduce @ reduce.T).numpy()
    assert v @ metric @ v < v @ euclidean @ v  # one subject: pulled together
    w = vectors[2] - vectors[3]
    assert w @ metric @ w / (v @ metric @ v) > w @ euclidean @ w / (v @ euclidean @ v)


def test_of_many_vectors_some_are_drawn(monkeypatch):
    monkeypatch.setattr(metric_learning, "MOST", 30)
    vectors, label = people(400)
    assert lmnn(vectors, label).shape[0] == 6
    drawn, whose = metric_learning._drawn(vectors, label, 0)
    assert drawn.shape == (30, 6)
    rows = [int(np.flatnonzero((vectors == one).all(axis=1))[0]) for one in drawn]
    assert label[rows].tolist() == whose.tolist()
