"""Stage: windows to an encoder in `models/NAME/`.

config.yaml          the settings, what the encoder takes (joints, length, normalisation), and what it was trained on
checkpoint.pt        state of the training after the last whole epoch; read with weights_only, so it cannot run code
encoder.safetensors  the weights, once the training is done, and mean and covariance of the training windows' vectors
log.jsonl            one line an epoch
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import plugins, store
from gaitreid.pipeline.checkpoints import DESCRIPTION, Training, check_epochs, read_description, save_weights, start
from gaitreid.pipeline.config import Config, as_dict, build
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.skeleton import Skeleton
from gaitreid.reid.config import TrainConfig
from gaitreid.reid.records import Sequences
from gaitreid.reid.select import listed, select
from gaitreid.reid.whiten import Moments, check_moments

MOMENTS = "vectors."  # before the names of the moments, beside the encoder's own tensors
COHORT = 100
TAKES: dict[str, Any] = {"model": str, "length": int, "fps": (int, float), "normalize": str, "subjects": list, "options": dict}
WEIGHTS = "encoder.safetensors"


def is_trained(work: Work, name: str) -> bool:
    """Whether a model of this name is there and done.

    Raises:
        UsageError: a lifter or its like is there, of which training an encoder would take the place.
    """
    folder = work.model(name)
    _check_kind(folder, read_description(folder))
    return (folder / WEIGHTS).exists()


def train(work: Work, config: Config, name: str, console: Console, *, resume: bool = False, overwrite: bool = False) -> Path:
    """Train an encoder; where the same training was cut off it goes on, where it is done nothing happens.

    Under torchrun all processes train together, and the first writes.

    Args:
        resume: go on from the last checkpoint even if the settings differ (such as more epochs).

    Returns:
        The model's folder.

    Raises:
        EmptyError: there are no windows to train on.
        UsageError: there is nothing to resume, or the checkpoint does not fit the settings.
    """
    from gaitreid.reid.train import group, wait_for_group

    folder = work.model(name)
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    description = _description(work, config, sequences)

    def fits(state: dict[str, Any]) -> None:
        check_fit(lambda: _build(description), state["encoder"])
        check_epochs(state, "train.epochs", config.train.epochs)

    with group(device(config.device)):
        training = start(folder, WEIGHTS, description, resume=resume, overwrite=overwrite, fits=fits)
        wait_for_group()  # all have looked at the folder before it is changed
        if training is None:
            console.say(f"train: '{name}' is up to date")
        else:
            _run(training, config, sequences, name, console)
    return folder


def load(folder: Path) -> tuple[Any, Moments, dict[str, Any]]:
    """A trained encoder, the moments of its training windows' vectors, and its description.

    Raises:
        FormatError: the folder does not hold a whole model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    description, _ = describe(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
        moments = Moments(
            **{key.removeprefix(MOMENTS): tensors.pop(key).float().numpy() for key in list(tensors) if key.startswith(MOMENTS)}
        )
        check_moments(moments)
        check_fit(lambda: _build(description), tensors)
        encoder = _build(description)
        encoder.load_state_dict(tensors)
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, SafetensorError, UsageError) as error:
        raise FormatError(f"{folder}: not a whole model ({error}): train it again") from error
    return encoder, moments, description


def check_fit(make: Callable[[], Any], tensors: dict[str, Any]) -> None:
    """Plan the encoder without taking memory: a description can ask for one of any size.

    Raises:
        ValueError: the weights are not its weights.
    """
    import torch

    with torch.device("meta"):
        planned = {name: tuple(value.shape) for name, value in make().state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(planned.keys() | found.keys()):
        if planned.get(name) != found.get(name):
            raise ValueError(f"{name} has shape {found.get(name)}, expected {planned.get(name)}")


def describe(folder: Path) -> tuple[dict[str, Any], Skeleton]:
    """What a model was trained on (config.yaml), and the skeleton that it takes.

    Raises:
        FormatError: the folder holds no model.
        UsageError: the model takes whole walks, or is a lifter or its like.
    """
    description = read_description(folder)
    if not description:
        raise FormatError(f"{folder}: has no {DESCRIPTION}: train the model again")
    _check_kind(folder, description)
    if description.get("takes") == "walks":
        raise UsageError(f"{folder}: takes whole walks, which `encode` and `match` know: this needs a model of windows")
    try:
        skeleton = skeleton_of(description)
        for key, kind in TAKES.items():
            if not isinstance(description[key], kind):
                raise ValueError(f"{key} is {str(description[key])[:40]!r}")
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{folder / DESCRIPTION}: not a model's description ({error}): train it again") from error
    count = len(skeleton.joints)
    if len(set(skeleton.joints)) < count or any(not 0 <= k < count for edge in skeleton.edges for k in edge):
        raise FormatError(f"{folder / DESCRIPTION}: joints that are there twice, or edges without a joint: train the model again")
    return description, skeleton


def _check_kind(folder: Path, description: dict[str, Any]) -> None:
    if "model" in description and not {"length", "takes"} & description.keys():
        raise UsageError(
            f"{folder}: holds a model '{str(description['model'])[:40]}', which is no encoder: choose another --name"
        )


def device(name: str) -> Any:
    """A torch device; auto is CUDA where there is one.

    Raises:
        UsageError: there is no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # under torchrun every process has a GPU of its own
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        result = torch.device(name)
        torch.empty(1, device=result)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
    return result


def _run(training: Training, config: Config, sequences: Sequences, name: str, console: Console) -> None:
    import torch

    from gaitreid.reid.encode import encode
    from gaitreid.reid.train import is_first, set_precision
    from gaitreid.reid.train import train as epochs
    from gaitreid.reid.whiten import moments

    torch.manual_seed(config.seed)
    description, state = training.description, training.state
    encoder = _build(description)
    where = device(config.device)
    chosen = _chosen_windows(sequences, config)
    going_on = f", going on after epoch {state['epoch']}" if state else ""
    console.say(f"train: '{name}' on {counted(chosen.sum(), 'windows')}, {config.train.epochs} epochs, {where}{going_on}")
    began = time.monotonic()
    passes = epochs(
        encoder,
        sequences.xyz,
        sequences.start[chosen],
        sequences.window_track[chosen],
        config.train,
        where,
        config.seed,
        state,
        subject=_classes(sequences, description["subjects"])[chosen],
    )
    loss = training.follow(passes, config.train.epochs, console, writes=is_first())
    if not is_first():
        return
    set_precision(encoder, torch.float32)
    vectors = encode(encoder, sequences.xyz, sequences.start[chosen], sequences.length, "mean", config.encode.batch, where)
    _save_weights(training.folder, encoder, replace(moments(vectors), cohort=_cohort(sequences, chosen, vectors)))
    frames = int(chosen.sum()) * sequences.length * (config.train.epochs - int(state.get("epoch", 0)))
    console.item("train", name, "done", "", time.monotonic() - began, 0, frames)
    console.say(f"train: '{name}' done in {time.monotonic() - began:.0f} s, loss {loss:.4g}")


def _cohort(sequences: Sequences, chosen: BoolArray, vectors: FloatArray) -> FloatArray | None:
    """A track's vector of each known subject (C, D), of COHORT at most: how far apart strangers are (`reid.openset`)."""
    track = sequences.window_track[chosen]
    tracks = np.unique(track)
    known = tracks[sequences.subject[tracks] != ""]
    first = known[np.unique(sequences.subject[known], return_index=True)[1]][:COHORT]
    return np.stack([vectors[track == t].mean(axis=0) for t in first]) if len(first) > 2 else None


def _description(work: Work, config: Config, sequences: Sequences) -> dict[str, Any]:
    """What decides the weights, and what the encoder takes; plain values."""
    facts = store.attributes(work.sequences, "sequences")
    chosen = np.unique(sequences.window_track[_chosen_windows(sequences, config)])
    options = getattr(config, plugins.section(config.train.model), None)
    return {
        "model": config.train.model,
        "options": as_dict(options) if options else {},
        "skeleton": sequences.skeleton.name,
        "joints": list(sequences.skeleton.joints),
        "edges": [list(edge) for edge in sequences.skeleton.edges],
        "length": sequences.length,
        "fps": sequences.fps,
        "normalize": sequences.normalize,
        "train": as_dict(config.train),
        "seed": config.seed,
        "sequences": {"config": facts["config"], "made_from": facts["made_from"]},
        "subjects": sorted(set(sequences.subject[chosen].tolist()) - {""}),
    }


def windows_known_to(description: dict[str, Any], sequences: Sequences, work: Work) -> BoolArray | None:
    """Which windows a model was trained on (N,); None where it learnt from others than these."""
    if description.get("sequences", {}).get("made_from") != store.attributes(work.sequences, "sequences")["made_from"]:
        return None
    learnt = description["train"]
    try:
        train = replace(TrainConfig(), subjects=learnt.get("subjects"), select=learnt.get("select"))
        return _chosen_windows(sequences, replace(Config(), train=train))
    except (EmptyError, UsageError):  # a selector that means nothing among these
        return None


def how_taught(description: dict[str, Any]) -> str:
    """What a model learnt from, in words."""
    if description.get("takes") == "walks":
        return "labelled walks"
    return "labelled windows" if plugins.section(description["model"]) in {"supervised", "lda"} else "unlabelled windows"


def skeleton_of(description: dict[str, Any]) -> Skeleton:
    """The skeleton that a model takes."""
    edges = tuple((int(a), int(b)) for a, b in description.get("edges", ()))
    return Skeleton(str(description["skeleton"]), tuple(map(str, description["joints"])), edges)


def _build(description: dict[str, Any]) -> Any:
    from gaitreid.reid.encode import Input

    factory = plugins.load("encoder", description["model"])
    subjects = tuple(description["subjects"])
    takes = Input(skeleton_of(description), description["length"], description["normalize"], subjects)
    section = getattr(Config(), plugins.section(description["model"]), None)
    if section is None:
        return factory(takes)
    return factory(takes, build(type(section), description["options"], description["model"]))


def _chosen_windows(sequences: Sequences, config: Config) -> BoolArray:
    """Windows to train on, (N,), by `train.subjects` and `train.select`."""
    chosen = _subject_windows(sequences, config.train.subjects)
    if config.train.select:
        chosen &= np.isin(sequences.window_track, select(sequences, config.train.select))
    if not chosen.any():
        raise EmptyError(f"no windows of subjects {config.train.subjects} among '{config.train.select}'")
    return chosen


def _classes(sequences: Sequences, subjects: list[str]) -> IntArray:
    """Place of each window's subject among `subjects` (N,), -1 where it is unknown."""
    place = {subject: k for k, subject in enumerate(subjects)}
    return np.array([place.get(s, -1) for s in sequences.subject.tolist()])[sequences.window_track]


def _subject_windows(sequences: Sequences, subjects: str | None) -> BoolArray:
    """Windows of some subjects: (N,). Subjects are texts or ranges of numbers: `001-074,080`.

    Raises:
        EmptyError: nobody of these is there.
    """
    chosen = np.ones(len(sequences.start), dtype=np.bool_)
    if subjects:
        track = np.array([is_named(s, subjects) for s in sequences.subject.tolist()], dtype=np.bool_)
        chosen = track[sequences.window_track]
    if not chosen.any():
        raise EmptyError(f"no windows of subjects {subjects}: there are {listed(np.unique(sequences.subject))}")
    return chosen


def is_named(subject: str, subjects: str) -> bool:
    """Whether a subject is among `001-074,080`: texts, or ranges of numbers."""
    for part in subjects.split(","):
        low, dash, high = part.strip().partition("-")
        if subject == part.strip():
            return True
        if dash and low.isdecimal() and high.isdecimal() and subject.isdecimal() and int(low) <= int(subject) <= int(high):
            return True
    return False


def _save_weights(folder: Path, encoder: Any, moments: Moments) -> None:
    import torch

    known = {MOMENTS + k: torch.from_numpy(v) for k, v in vars(moments).items() if v is not None}
    save_weights(folder / WEIGHTS, encoder.state_dict() | known)
