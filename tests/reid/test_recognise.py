import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gaitreid.reid.config import RecogniseConfig
from gaitreid.reid.identification import Identification
from gaitreid.reid.recognise import Network, fit, pool_scores, recogniser, rows, score

RNG = np.random.default_rng(0)
LABEL = np.arange(60) % 3
FEATURES = (RNG.normal(size=(3, 1, 5))[LABEL] * 3 + RNG.normal(size=(60, 4, 5))).astype(np.float32)


@pytest.mark.parametrize("manner", ["ap", "sc"])
@pytest.mark.parametrize("kind", ["rn", "knn", "svm", "adaboost"])
def test_every_recogniser_learns_in_both_manners(kind, manner):
    one = recogniser(RecogniseConfig(recogniser=kind, epochs=30), 3, seed=0)
    fit(one, FEATURES[:45], LABEL[:45], manner)
    found = score(one, FEATURES[45:], manner)
    assert found.shape == (15, 3)
    assert (found.argmax(axis=1) == LABEL[45:]).mean() > 0.8


def test_ap_averages_frames_and_sc_joins_them():
    one = Network(3, RecogniseConfig(epochs=3))
    fit(one, FEATURES, LABEL, "ap")
    single = one.scores(FEATURES.reshape(-1, 5)).reshape(60, 4, 3)
    np.testing.assert_allclose(score(one, FEATURES, "ap"), single.mean(axis=1), rtol=1e-5)
    assert rows(FEATURES, "sc").shape == (60, 20)
    np.testing.assert_array_equal(rows(FEATURES, "sc")[7, 5:10], FEATURES[7, 1])


def test_same_seed_same_scores_and_published_weights_are_wide():
    def of(seed, published=False):
        one = Network(3, RecogniseConfig(epochs=2), seed=seed, published=published)
        fit(one, FEATURES, LABEL, "ap")
        return one

    np.testing.assert_array_equal(of(0).scores(FEATURES[0]), of(0).scores(FEATURES[0]))
    assert np.abs(of(0).scores(FEATURES[0]) - of(1).scores(FEATURES[0])).max() > 0
    deviation = [float(p.detach().std()) for p in of(0, published=True).layers.parameters()]
    assert deviation[0] == pytest.approx(1, abs=0.1)


def test_two_classes_and_one_that_is_missing():
    for kind in ("svm", "knn"):
        one = recogniser(RecogniseConfig(recogniser=kind), 3, seed=0)
        two = LABEL < 2
        fit(one, FEATURES[two], LABEL[two], "ap")
        assert set(score(one, FEATURES[two], "ap").argmax(axis=1).tolist()) == {0, 1}


def test_a_tracks_scores_are_the_mean_of_its_windows():
    pooled, tracks = pool_scores(np.array([[1.0, 0], [3.0, 2], [5.0, 5]]), np.array([7, 7, 9]))
    assert pooled.tolist() == [[2.0, 1.0], [5.0, 5.0]]
    assert tracks.tolist() == [7, 9]


def test_figures_of_a_closed_set_by_hand():
    scores = np.array([[3.0, 2, 1], [1.0, 3, 2], [5.0, 1, 2], [0.2, 0.1, 0.1]])
    found = Identification(scores, np.array([0, 2, 1, 1]), np.array(["a", "b", "c"]))
    assert found.rank.tolist() == [1, 2, 3, 3]  # the last is a tie, which does not help
    assert found.curve.tolist() == [0.25, 0.5, 1.0]
    assert found.confusion.tolist() == [[1, 0, 0], [2, 0, 0], [0, 1, 0]]
    figures = found.figures(0)
    assert figures["rank1"] == 0.25
    assert figures["nauc_cmc"] == pytest.approx((0.25 + 0.5 + 1) / 3)
    truth = np.eye(3)[[0, 2, 1, 1]]
    assert figures["nauc_micro_roc"] == pytest.approx(roc_auc_score(truth.ravel(), scores.ravel()))
    assert figures["nauc_micro_roc"] != pytest.approx(figures["nauc_cmc"], abs=0.02)  # two figures of one name
