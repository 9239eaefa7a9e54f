import numpy as np
import pytest

from gaitreid.reid.identification import Identification


@pytest.mark.parametrize("seed", range(20))
def test_figures_and_confusions_agree_where_scores_are_equal(seed: int) -> None:
    """By loops: a tie is no answer, and whoever is right is among those who are taken for somebody else."""
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 3, size=(12, 4)) / 2, rng.integers(0, 4, 12)
    found = Identification(scores, truth, np.array(list("abcd")))
    expected, right = np.zeros((4, 4), dtype=int), 0
    for row, own in zip(scores.tolist(), truth.tolist(), strict=True):
        best = [k for k, value in enumerate(row) if value == max(row)]
        expected[own, own if best == [own] else next(k for k in best if k != own)] += 1
        right += best == [own]
    assert found.confusion.tolist() == expected.tolist()
    assert found.figures(0)["rank1"] == pytest.approx(right / 12)
