from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gaitreid.pipeline.train import _subject_windows
from gaitreid.pose.errors import EmptyError


def test_subjects_that_are_not_there_are_told_with_those_that_are() -> None:
    of: Any = SimpleNamespace(start=np.arange(3), subject=np.array(["001", ""]), window_track=np.array([1, 0, 0]))
    assert _subject_windows(of, "001").tolist() == [False, True, True]
    with pytest.raises(EmptyError, match=r"there are '' \(unknown\), 001$"):
        _subject_windows(of, "9")
