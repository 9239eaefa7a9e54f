"""Shared by all tests."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("GAITREID_IN_PROCESS", "1")  # one job needs no process of its own, which costs seconds each time


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real videos and skeletons; tests that ask for it are skipped where there is none."""
    folder = os.environ.get("GAITREID_DATA")
    if not folder:
        pytest.skip("needs real data: set GAITREID_DATA")
    return Path(folder)
