from typing import Any

import pytest

from gaitreid.pipeline.figures import Fact


@pytest.mark.parametrize(
    ("losses", "drawn"),
    [
        ({"loss": [0.0]}, []),  # of a model that is made in one go
        ({"loss": [3.0, 1.0]}, ["loss"]),
        ({"loss": [3.0, 1.0], "locality": [2.0, 1.0], "reconstruction": [1.0, 0.5]}, ["locality", "reconstruction"]),
    ],
)
def test_losses_that_are_drawn(losses: dict[str, list[float]], drawn: list[str]) -> None:
    nobody: Any = None
    assert [name for name, *_ in Fact("all", {}, nobody, losses).loss_curves] == drawn
