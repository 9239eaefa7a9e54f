"""Packages that are missing; what is exported is compared in test_importer.py and test_walk_models.py."""

import importlib.util
from pathlib import Path

import pytest

from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.onnx import export
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import UsageError


def test_packages_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx, onnxscript, onnxruntime: pip install onnx onnxscript onnxruntime$"):
        export(Work(tmp_path), Config(), "cage", None, Console())
