"""Stage: windows to `embeddings/NAME.h5`."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.checkpoints import DESCRIPTION, LOG
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import digest, replacing, sha256
from gaitreid.pipeline.train import WEIGHTS, device, load, skeleton_of
from gaitreid.pipeline.work import Work, is_current, provenance
from gaitreid.pose.arrays import FloatArray, specs
from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import Skeleton, mapping
from gaitreid.reid.config import EncodeConfig
from gaitreid.reid.records import Embeddings, Sequences, Tracks
from gaitreid.reid.whiten import Moments, whiten


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

    began = time.monotonic()
    encoder, moments, sequences = prepared(work, name)
    window = vectors(
        encoder, sequences.xyz, sequences.start, sequences.length, config.encode.form, config.encode.batch, device(config.device)
    )
    power = whitening(config.encode, encoder)
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
    frames = len(window) * sequences.length
    console.item("encode", name, "done", "", time.monotonic() - began, work.sequences.stat().st_size, frames)
    console.say(
        f"encode: {counted(len(window), 'windows')}, {counted(len(embeddings.vector), 'tracks')}, "
        f"{window.shape[1]} numbers each, by '{name}'"
    )
    return target


def whitening(config: EncodeConfig, encoder: Any) -> float:
    """How far an encoder's vectors are whitened: those of form sc are not, nor those that LDA has scaled already."""
    return 0.0 if config.form != "mean" or getattr(encoder, "whitened", False) else config.whiten


def prepared(work: Work, name: str) -> tuple[Any, Moments, Sequences]:
    """A trained encoder, the moments of its vectors, and the windows in the joints that it takes.

    Raises:
        UsageError: the windows are not what the model was trained on (length, rate, normalisation), or lack joints.
    """
    encoder, moments, description = load(work.model(name))
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    for key, value in (("length", sequences.length), ("fps", sequences.fps), ("normalize", sequences.normalize)):
        if description.get(key) != value:
            raise UsageError(
                f"model '{name}' was trained with {key} = {description.get(key)}, the windows have {value}: "
                "split as it was trained, or train it again"
            )
    target = skeleton_of(description)
    xyz = in_joints(sequences.xyz, sequences.skeleton, target)
    return encoder, moments, replace(sequences, xyz=xyz, skeleton=target)


def in_joints(xyz: FloatArray, own: Skeleton, target: Skeleton) -> FloatArray:
    """Frames (F, J, 3) in the joints of another skeleton, carried over by name: an encoder may be of other data."""
    if target.joints == own.joints:
        return xyz
    return np.asarray(np.einsum("kj,fjc->fkc", mapping(own, target), xyz), dtype=np.float32)


def adopt(work: Work, source: Path, name: str) -> None:
    """Copy a model from another work folder, so that it encodes here (transfer).

    Raises:
        UsageError: there is no model in `source`.
    """
    check_adopted(source)
    for file in (DESCRIPTION, LOG, WEIGHTS):  # the weights last: they make it a model
        target = work.model(name) / file
        if (source / file).exists() and not (target.exists() and sha256(target) == sha256(source / file)):
            with replacing(target) as temporary:
                shutil.copyfile(source / file, temporary)


def check_adopted(source: Path) -> None:
    """Raises: UsageError: there is no model in this folder."""
    if not (source / WEIGHTS).exists():
        raise UsageError(f"--encoder {source}: holds no {WEIGHTS}: name a folder models/NAME")
