"""A trained encoder as ONNX, checked against this one by onnxruntime."""

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import replacing
from gaitreid.pipeline.train import load
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import FormatError, UsageError

TOLERANCE = 1e-4  # of the largest value
CHECKED = (1, 3, 64)  # windows at a time in the parity check


def export(work: Work, config: Config, name: str, target: Path | None, console: Console) -> Path:
    """Write windows (B, f, J, 3) -> features (B, f, D), for any number of windows, and compare it with this encoder.

    Raises:
        UsageError: there is no such model, or onnx, onnxscript and onnxruntime are not installed.
        FormatError: what onnxruntime computes differs; nothing is written.
    """
    missing = [m for m in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(m) is None]
    if missing:
        raise UsageError(f"export onnx needs {', '.join(missing)}: pip install {' '.join(missing)}")
    if not work.model(name).exists():
        raise UsageError(f"there is no model '{name}' in {work.root}: run `gaitreid train` first")
    encoder, _, description = load(work.model(name))
    target = target or work.model(name) / "encoder.onnx"
    with replacing(target, private=False) as temporary:
        _write(encoder.eval(), description, temporary)
        worst = max(_difference(encoder, description, temporary, count, config.seed) for count in CHECKED)
        if worst > TOLERANCE:
            raise FormatError(f"{target}: onnxruntime differs by {worst:.2g} of the largest value: not written")
    console.say(f"export: {target}, onnxruntime differs by {worst:.1g} of the largest value on random windows")
    return target


def _write(encoder: Any, description: dict[str, Any], path: Path) -> None:
    import torch
    from torch import Tensor, nn

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, windows: Tensor) -> Tensor:
            features: Tensor = self.encoder.features(windows)
            return features

    example = torch.zeros(2, description["length"], len(description["joints"]), 3)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            Features().eval(),
            (example,),
            str(path),
            input_names=["windows"],
            output_names=["features"],
            dynamic_shapes={"windows": {0: torch.export.Dim("count")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _difference(encoder: Any, description: dict[str, Any], path: Path, count: int, seed: int) -> float:
    """Largest difference between the two, as a share of the largest value."""
    import onnxruntime
    import torch

    rng = np.random.default_rng(seed)
    windows = rng.normal(0, 0.5, (count, description["length"], len(description["joints"]), 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"windows": windows})
    with torch.no_grad():
        own = encoder.features(torch.as_tensor(windows)).numpy()
    return float(np.abs(found - own).max() / np.abs(own).max())
