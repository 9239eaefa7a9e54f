from typing import Any

import numpy as np
import pytest
from galleries import casia, rows

from gaitreid.pose.arrays import take
from gaitreid.pose.errors import UsageError
from gaitreid.reid.compare import compare
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.fuse import fuse
from gaitreid.reid.match import rank
from gaitreid.reid.metrics import evaluate


def spread(distance: Any, every: Any) -> float:
    return float(distance[~np.eye(len(every), dtype=bool)].std())


def test_fused_cosines_are_their_weighted_mean() -> None:
    one, two = casia(subjects=3, seed=0), casia(subjects=3, seed=1)
    every = np.arange(len(one.video))
    config = MatchConfig(exclude="nothing")
    parts = [compare(of, every, every, config).distances(slice(0, len(every))) for of in (one, two)]
    weights = [1 / spread(p, every) for p in parts]
    expected = (weights[0] * parts[0] + weights[1] * parts[1]) / sum(weights)
    fused = fuse([one, two], "cosine")
    np.testing.assert_allclose(compare(fused, every, every, config).distances(slice(0, len(every))), expected, atol=1e-5)
    assert fused.encoder == "made-up+made-up"


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_two_together_are_better(metric: Any) -> None:
    one, two = casia(noise=1.6, seed=0), casia(noise=1.6, seed=1)
    config = MatchConfig(metric=metric)
    figures = [
        evaluate(rank(of, rows(of, condition="cl"), rows(of, condition="nm"), config), draws=5)["map"]
        for of in (one, two, fuse([one, two], metric))
    ]
    assert figures[2] > max(figures[:2])


def test_other_tracks() -> None:
    of = casia(subjects=3)
    fewer = take(
        of, "K", np.arange(30), window=of.window[:30], window_track=of.window_track[:30], window_frame=of.window_frame[:30]
    )
    with pytest.raises(UsageError, match="not of the same tracks"):
        fuse([of, fewer], "cosine")
