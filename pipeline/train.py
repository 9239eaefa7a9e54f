"""Stage: windows to an encoder in `models/NAME/`.

config.yaml       the settings, what the encoder takes (joints, length, normalisation), and what it was trained on
checkpoint.pt     state of the training after the last whole epoch; read with weights_only, so it cannot run code
encoder.safetensors   the weights, once the training is done
log.jsonl         one line an epoch
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gaitreid.pipeline import plugins, store
from gaitreid.pipeline.config import Config, as_dict
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import digest, replacing, write_text
from gaitreid.pipeline.work import Work, settings
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.reid.records import Sequences
from gaitreid.reid.select import subject_rows


def is_trained(work: Work, name: str) -> bool:
    """Whether a model of this name is there and done."""
    return (work.model(name) / "encoder.safetensors").exists()


def train(
    work: Work, config: Config, name: str, console: Console, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Train an encoder; where the same training was cut off it goes on, where it is done nothing happens.

    Args:
        resume: go on from the last checkpoint even if the settings differ (such as more epochs).

    Returns:
        The model's folder.

    Raises:
        EmptyError: there are no windows to train on.
        UsageError: there is nothing to resume.
    """
    from gaitreid.reid.train import train as run

    folder = work.model(name)
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    description = _description(work, config, sequences)
    same = _same(folder, description)
    if is_trained(work, name) and same and not (resume or overwrite):
        console.say(f"train: '{name}' is up to date")
        return folder
    if resume and not (folder / "checkpoint.pt").exists():
        raise UsageError(f"--resume: there is no checkpoint in {folder}")
    state = _load_state(folder) if resume or (same and not overwrite) else None
    rows = _windows(sequences, config.train.subjects)
    encoder = plugins.load("encoder", config.train.model)(
        len(sequences.skeleton.joints), sequences.length, description["options"]
    )
    (folder / "encoder.safetensors").unlink(missing_ok=True)
    write_text(folder / "config.yaml", yaml.safe_dump(description, sort_keys=False))
    log = [] if state is None else _read_log(folder, state["epoch"])
    console.say(
        f"train: '{name}' on {len(rows)} windows, {config.train.epochs} epochs"
        + (f", going on after epoch {state['epoch']}" if state else "")
    )
    started = time.monotonic()
    with console.progress("train", config.train.epochs, "epochs") as progress:
        for epoch, losses, snapshot in run(encoder, sequences, rows, config.train, config.device, config.seed, state):
            log.append(json.dumps({"epoch": epoch, **losses}))
            _save_state(folder, snapshot())
            write_text(folder / "log.jsonl", "\n".join(log) + "\n")
            progress(epoch, " ".join(f"{k} {v:.3g}" for k, v in losses.items()))
            console.detail(f"epoch {epoch}: " + " ".join(f"{k} {v:.4g}" for k, v in losses.items()))
    _save_weights(folder / "encoder.safetensors", encoder)
    last = json.loads(log[-1])
    console.say(f"train: done in {time.monotonic() - started:.0f} s, loss {last['loss']:.4g}")
    return folder
