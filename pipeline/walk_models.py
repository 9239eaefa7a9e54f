"""Stages of models of whole walks (GaitGL, GaitTAKE): walks to a model in `models/NAME/`, and to `embeddings/NAME.h5`.

The folder holds what `gaitreid.pipeline.train` says of an encoder's, without the moments; a round is `walks.every` steps.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import plugins, store, yaml_file
from gaitreid.pipeline.checkpoints import Training, read_description, save_weights, start
from gaitreid.pipeline.config import Config, as_dict, build
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.train import WEIGHTS, check_fit, device, is_named
from gaitreid.pipeline.work import Work, changed_settings, is_current, provenance
from gaitreid.pose.arrays import IntArray, specs
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.rounds import rounds, steps_done
from gaitreid.reid.config import PackConfig, TrainConfig
from gaitreid.reid.records import Embeddings, Tracks, Walks
from gaitreid.reid.select import select

TAKES = "walks"  # what the description of such a model says that it takes


def is_of_walks(work: Work, name: str | None, model: str, folder: Path | None = None) -> bool:
    """Whether the model in force takes whole walks: that of a folder or a name if it is there, else the one to be trained.

    Args:
        model: what is trained where the name is no model's.
    """
    description = read_description(folder or work.model(name or model))
    if description:
        return bool(description.get("takes") == TAKES)
    known = name is not None and (name in plugins.names("encoder") or name in plugins.names("walk"))
    return (name if known else model) in plugins.names("walk")


def train(work: Work, config: Config, name: str, console: Console, *, resume: bool = False, overwrite: bool = False) -> Path:
    """Train a model of whole walks; where the same training was cut off it goes on, where it is done nothing happens.

    Under torchrun all processes train together, and the first writes.

    Args:
        resume: go on from the last checkpoint even if the settings differ (such as more steps).

    Returns:
        The model's folder.

    Raises:
        EmptyError: there are no walks to train on.
        UsageError: there is nothing to resume, or the checkpoint does not fit the settings.
    """
    from gaitreid.reid.train import group, wait_for_group

    if config.train.epochs != TrainConfig().epochs:
        raise UsageError(f"'{config.train.model}' counts steps, not epochs: set walks.iterations (--iterations) instead")
    folder = work.model(name)
    walks = store.read(work.walks, "walks", Walks, "/walks")
    rows = _chosen(walks, config)
    description = _description(work, config, walks, rows)

    def fits(state: dict[str, Any]) -> None:
        check_fit(lambda: _build(description), state["encoder"])
        steps_done(state, config.walks)

    with group(device(config.device)):
        training = start(folder, WEIGHTS, description, resume=resume, overwrite=overwrite, fits=fits)
        wait_for_group()  # all have looked at the folder before it is changed
        if training is None:
            console.say(f"train: '{name}' is up to date")
        else:
            _run(training, config, walks, rows, name, console)
    return folder


def encode(work: Work, config: Config, name: str, console: Console) -> Path:
    """One vector a walk, from all its frames, by a trained model; a walk is its only window.

    Raises:
        EmptyError: no walk has what the model takes.
        UsageError: the keypoints are not from where those were that the model learnt from.
    """
    target = work.embeddings(name)
    made_from = made_of(work.model(name), sha256(work.walks))
    if is_current(target, "embeddings", config.encode, made_from):
        return target
    from gaitreid.reid.walks import Packed
    from gaitreid.reid.walks import encode as vectors

    encoder = load(work.model(name))
    walks = store.read(work.walks, "walks", Walks, "/walks")
    if "keypoints" in encoder.needs and encoder.state_dict():  # else it has learnt from none
        _check_source(work.model(name), walks, name)
    rows = _usable(walks, encoder.needs, name)
    where = device(config.device)
    packed = Packed(walks, where)
    vector = vectors(encoder, packed, rows, where)
    ends = walks.start[rows, None] + np.stack([np.zeros_like(rows), packed.seen[rows] - 1], axis=1)
    embeddings = Embeddings(
        **{field: getattr(walks, field)[rows] for field, _ in specs(Tracks)},
        window=vector,
        window_track=np.arange(len(rows)),
        window_frame=walks.frame[ends],
        vector=vector,
        encoder=name,
        weights=sha256(work.model(name) / WEIGHTS),
        form="walk",
        parts=encoder.parts,
        context=getattr(encoder, "context", 0),
    )
    store.write(target, "embeddings", {"/embeddings": embeddings}, provenance(config.encode, made_from))
    lack = len(walks.video) - len(rows)
    without = f", {lack} left out that lack {' or '.join(encoder.needs)}" if lack else ""
    size = f"{encoder.parts} x {vector.shape[1] // encoder.parts}"
    console.say(f"encode: {counted(len(rows), 'walks')}, {size} numbers each, by '{name}'{without}")
    return target


def made_of(folder: Path, walks: str) -> str:
    """SHA-256 of what vectors are made from: a model, by its weights and by options that these need not show, and walks.

    Args:
        walks: the SHA-256 of their file.
    """
    description = read_description(folder)
    options = yaml_file.text({key: description.get(key) for key in ("model", "options")})
    return digest([sha256(folder / WEIGHTS), walks, options])


def changed_options(work: Work, config: Config, name: str) -> str:
    """How the options in force differ from those of a model without weights that bears its kind's name; empty for all others.

    Such a model is its options and nothing else. What has learnt keeps its options, and so does a name of one's own.

    Raises:
        FormatError: the folder does not hold a whole model.
    """
    description = read_description(work.model(name))
    options = getattr(config, plugins.section(name), None)
    if description.get("model") != name or options is None:
        return ""
    changes = changed_settings(json.dumps(description.get("options"), default=str), options)
    return changes if changes and not load(work.model(name)).state_dict() else ""


def load(folder: Path) -> Any:
    """A trained model.

    Raises:
        FormatError: the folder does not hold a whole model of whole walks.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    description = read_description(folder)
    if description.get("takes") != TAKES:
        raise FormatError(f"{folder}: holds no model of whole walks: train it again")
    try:
        tensors = load_file(folder / WEIGHTS)
        check_fit(lambda: _build(description), tensors)
        encoder = _build(description)
        encoder.load_state_dict(tensors)
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, SafetensorError, UsageError) as error:
        raise FormatError(f"{folder}: not a whole model ({error}): train it again") from error
    return encoder


def _run(training: Training, config: Config, walks: Walks, rows: IntArray, name: str, console: Console) -> None:
    import torch

    from gaitreid.reid.train import is_first
    from gaitreid.reid.walk_training import train as steps
    from gaitreid.reid.walks import Packed

    torch.manual_seed(config.seed)
    description, state = training.description, training.state
    encoder = _build(description)
    where = device(config.device)
    place = {subject: k for k, subject in enumerate(description["subjects"])}
    subject = np.array([place.get(s, -1) for s in walks.subject[rows].tolist()])
    done = f", going on after step {steps_done(state, config.walks)}" if state else ""
    steps_are = f"{config.walks.iterations} steps of {min(config.walks.people, len(place))} people x {config.walks.walks} walks"
    how = steps_are if any(True for _ in encoder.parameters()) else "in one go"
    whose = f" of {counted(len(place), 'people')}" if encoder.supervised else ""
    console.say(f"train: '{name}' on {counted(len(rows), 'walks')}{whose}, {how}, {where}{done}")
    began = time.monotonic()
    passes = steps(encoder, Packed(walks, where), rows, subject, config.walks, where, config.seed, state)
    loss = training.follow(passes, rounds(config.walks, state), console, writes=is_first())
    if is_first():
        save_weights(training.folder / WEIGHTS, encoder.state_dict())
        console.say(f"train: '{name}' done in {time.monotonic() - began:.0f} s, loss {loss:.4g}")


def _chosen(walks: Walks, config: Config) -> IntArray:
    """Walks to train on, by `train.subjects` and `train.select`, that have what the model takes; labels too if it needs them."""
    options = getattr(config, plugins.section(config.train.model), None)
    model = _made(config.train.model, ("1", "2"), options)
    rows = _usable(walks, model.needs, config.train.model)
    subjects = config.train.subjects
    named = np.array(
        [is_named(s, subjects) if subjects else s != "" or not model.supervised for s in walks.subject.tolist()], dtype=np.bool_
    )
    rows = np.intersect1d(rows[named[rows]], select(walks, config.train.select or ""))
    if not len(rows):
        there = ", ".join(sorted(set(walks.subject.tolist()) - {""})) or "nobody: give them labels (--labels, --pattern)"
        raise EmptyError(f"no walks of subjects {config.train.subjects} among '{config.train.select}': there are {there}")
    return rows


def _usable(walks: Walks, needs: tuple[str, ...], name: str) -> IntArray:
    from gaitreid.reid.walks import usable

    rows = np.flatnonzero(usable(walks, needs))
    if not len(rows):
        raise EmptyError(
            f"'{name}' needs {' and '.join(needs)} of the same frames, and none of {counted(len(walks.video), 'walks')} has "
            "that: run `gaitreid extract VIDEOS... --silhouettes`"
        )
    return rows


def _check_source(folder: Path, walks: Walks, name: str) -> None:
    """Raises: FormatError or UsageError: the keypoints are not from where those were that the model learnt from."""
    try:
        learnt = json.loads(read_description(folder)["packed"]["config"]).get("keypoints", PackConfig().keypoints)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"{folder}: does not say by which keypoints it was trained ({error}): train it again") from error
    if learnt != walks.source:
        raise UsageError(
            f"'{name}' was trained with pack.keypoints = {learnt}, the walks have {walks.source}: "
            f"take --set pack.keypoints={learnt}, or train it again"
        )


def _description(work: Work, config: Config, walks: Walks, rows: IntArray) -> dict[str, Any]:
    """What decides the weights; plain values."""
    facts = store.attributes(work.walks, "walks")
    options = getattr(config, plugins.section(config.train.model), None)
    learns = _made(config.train.model, ("1", "2"), options).supervised
    return {
        "model": config.train.model,
        "takes": TAKES,
        "options": as_dict(options) if options else {},
        "walks": as_dict(config.walks),
        "train": {"subjects": config.train.subjects, "select": config.train.select},
        "seed": config.seed,
        "packed": {"config": facts["config"], "made_from": facts["made_from"]},
        "subjects": sorted(set(walks.subject[rows].tolist())) if learns else [],
    }


def _build(description: dict[str, Any]) -> Any:
    section = getattr(Config(), plugins.section(description["model"]), None)
    options = None if section is None else build(type(section), description["options"], description["model"])
    return _made(description["model"], tuple(description["subjects"]), options)


def _made(model: str, subjects: tuple[str, ...], options: Any) -> Any:
    factory = plugins.load("walk", model)
    return factory(subjects) if options is None else factory(subjects, options)
