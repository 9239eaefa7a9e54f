"""Stage: windows to `embeddings/NAME.h5`."""

from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.train import WEIGHTS, device, load
from gaitreid.pipeline.work import Work, is_current, provenance
from gaitreid.pose.arrays import specs
from gaitreid.pose.errors import UsageError
from gaitreid.reid.records import Embeddings, Sequences, Tracks


def encode(work: Work, config: Config, name: str, console: Console) -> Path:
    """One vector a window and one a track, by a trained model.

    Raises:
        UsageError: the windows are not what the model was trained on (joints, length, normalisation).
    """
    target = work.embeddings(name)
    weights = sha256(work.model(name) / WEIGHTS)
    made_from = digest([weights, sha256(work.sequences)])
    if is_current(target, "embeddings", config.encode, made_from):
        return target
    from gaitreid.reid.encode import encode as vectors
    from gaitreid.reid.encode import pool
    from gaitreid.reid.whiten import whiten

    encoder, moments, description = load(work.model(name))
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    _check(name, description, sequences)
    window = vectors(
        encoder, sequences.xyz, sequences.start, sequences.length, config.encode.form, config.encode.batch, device(config.device)
    )
    power = config.encode.whiten if config.encode.form == "mean" else 0.0
    if power:
        window = whiten(window, moments, power)
    columns = {field: getattr(sequences, field) for field, _ in specs(Tracks)}
    ends = sequences.start[:, None] + np.array([0, sequences.length - 1])
    embeddings = Embeddings(
        **columns,
        window=window,
        window_track=sequences.window_track,
        window_frame=sequences.frame[ends],
        vector=pool(window, sequences.window_track, len(sequences.video)),
        encoder=name,
        weights=weights,
        form=config.encode.form,
        whiten=power,
    )
    store.write(target, "embeddings", {"/embeddings": embeddings}, provenance(config.encode, made_from))
    console.say(f"encode: {len(window)} windows, {len(embeddings.vector)} tracks, {window.shape[1]} numbers each, by '{name}'")
    return target


def _check(name: str, description: dict[str, Any], sequences: Sequences) -> None:
    found = {
        "joints": list(sequences.skeleton.joints),
        "length": sequences.length,
        "fps": sequences.fps,
        "normalize": sequences.normalize,
    }
    for key, value in found.items():
        if description.get(key) != value:
            raise UsageError(
                f"model '{name}' was trained with {key} = {description.get(key)}, the windows have {value}: "
                "split as it was trained, or train it again"
            )
