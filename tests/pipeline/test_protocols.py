import numpy as np
import pytest
from galleries import embeddings

from gaitreid.pipeline.protocols import folds
from gaitreid.reid.config import RecogniseConfig
from gaitreid.reid.select import select

CONDITIONS = ("training", "testing-a", "testing-b", "walking")


@pytest.mark.parametrize("protocol", ["biwi", "ias", "kgbd", "ks20-rs", "ks20-cvs", "cve"])
def test_names_that_hold_the_marks_of_selectors(protocol: str) -> None:
    """Of every fold the tracks are those that the same labels without marks have."""
    plain = [(who, condition, "1", view) for who in "abc" for condition in CONDITIONS for view in ("left", "right")]
    odd = [(f"{who}, A|b=\\", condition, "1", f"{view}, near") for who, condition, _, view in plain]
    both = [embeddings(walks, np.zeros((len(walks), 2))) for walks in (plain, odd)]
    parts = [
        [[select(of, side).tolist() for side in (fold.train, fold.test)] for fold in folds(protocol, of, RecogniseConfig(), 0)]
        for of in both
    ]
    assert parts[0] == parts[1]
