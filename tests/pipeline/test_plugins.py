from functools import partial

import pytest

from gaitreid.pipeline import plugins
from gaitreid.pose.backends.mediapipe import MediaPipe
from gaitreid.pose.errors import UsageError


class Model:
    def __init__(self, argument: str = "", masks: bool = False, device: str = "cpu") -> None:
        self.given = (argument, masks, device)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.BUILT_IN["pose"], "own", f"{Model.__module__}:Model")


def test_what_stands_after_the_colon_is_the_first_argument(own: None) -> None:
    assert plugins.load("pose", "own:a.py,b.pth")(masks=True).given == ("a.py,b.pth", True, "cpu")
    assert plugins.load("pose", "own")().given == ("", False, "cpu")


def test_options_are_bound_where_they_are_known(own: None) -> None:
    assert plugins.load("pose", "own:a", device="cuda:1", trust_config=True)().given == ("a", False, "cuda:1")
    assert plugins.load("pose", "mediapipe", device="cuda:1") is MediaPipe
    assert isinstance(plugins.load("pose", "own", device="cuda:1"), partial)


def test_an_argument_that_nobody_takes_is_an_error() -> None:
    with pytest.raises(UsageError, match="'mediapipe' takes no argument: write mediapipe instead of mediapipe:x"):
        plugins.load("pose", "mediapipe:x")


def test_unknown_names_are_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown pose 'mmpos': did you mean 'mmpose'"):
        plugins.check("pose", "mmpos:config")
