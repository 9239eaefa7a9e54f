import os

import pytest
from commands import run

from gaitreid.cli import share_the_cores


@pytest.mark.parametrize(
    ("there", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_wait_for_microseconds_unless_told_otherwise(
    there: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    share_the_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.parametrize(
    "words",
    [("walk.mp4", "--live", "0"), ("--live", "0", "--overlay"), ("--live", "0", "--top", "3"), ("walk.mp4", "--stop-after", "3")],
)
def test_options_that_would_do_nothing_are_refused(words: tuple[str, ...]) -> None:
    assert "Invalid value for --" in run("identify", *words, expect=2).output
