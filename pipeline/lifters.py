"""Stage: walks in 3D to a lifter in `models/NAME/`: the network of `tcn`, or the library of `matching`.

config.yaml          the settings, and the files of motion capture by SHA-256
checkpoint.pt        state of the training after the last whole epoch; read with weights_only, so it cannot run code
lifter.safetensors   the weights of `tcn`, or library.safetensors, the poses of `matching`
log.jsonl            one line an epoch
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline.checkpoints import Training, check_epochs, save_weights, start
from gaitreid.pipeline.config import Config, as_dict
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import replacing
from gaitreid.pipeline.motions import find, read, sources
from gaitreid.pipeline.train import check_fit, device, is_named
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, UsageError
from gaitreid.pose.lift import LIBRARY, WEIGHTS
from gaitreid.pose.lifters.motions import Motion

LIFTERS = ("lifter", "matching")  # as `gaitreid train --model` has them


def train(work: Work, config: Config, name: str, console: Console, *, resume: bool = False, overwrite: bool = False) -> Path:
    """Train a lifter, or make a library; where the same training was cut off it goes on, where it is done nothing happens.

    Returns:
        The model's folder, for `gaitreid lift --lifter tcn:FOLDER` or `matching:FOLDER`.

    Raises:
        UsageError: a file does not exist, or has no feet; there is nothing to resume, or the checkpoint does not fit.
        EmptyError: the files hold no walk.
        FormatError: a file is no walk in 3D.
    """
    files = find(config.lifter.motions)
    motions = chosen(read(files), config.train.subjects) if files else []
    folder = work.model(name)
    description = {
        "model": config.train.model,
        "options": as_dict(config.lifter) | {"motions": sources(files)},
        "seed": config.seed,
        "subjects": sorted({motion.subject for motion in motions}),
    }
    library = config.train.model == "matching"
    if not library and any(not np.isfinite(motion.xyz).all() for motion in motions):
        raise UsageError(
            "lifter.motions: the lifter learns head and feet too: there are joints missing (a library does without feet)"
        )

    def fits(state: dict[str, Any]) -> None:
        from gaitreid.pose.lifters.tcn import Net

        check_fit(lambda: Net(config.lifter.width), state["net"])
        check_epochs(state, "lifter.epochs", config.lifter.epochs)

    training = start(folder, LIBRARY if library else WEIGHTS, description, resume=resume, overwrite=overwrite, fits=fits)
    if training is None:
        console.say(f"train: '{name}' is up to date")
        return folder
    if library:
        _library(training, motions, config.seed, console)
    else:
        _network(training, motions, config, console)
    console.say(f"train: use it with --lifter {'matching' if library else 'tcn'}:{folder}")
    return folder


def chosen(motions: list[Motion], subjects: str | None) -> list[Motion]:
    """The walks of some subjects, named as `train.subjects` has them.

    Raises:
        EmptyError: nobody of these is there.
    """
    kept = [motion for motion in motions if not subjects or is_named(motion.subject, subjects)]
    if not kept:
        raise EmptyError(f"no walks of subjects {subjects}: there are {', '.join(sorted({m.subject for m in motions}))}")
    return kept


def _library(training: Training, motions: list[Motion], seed: int, console: Console) -> None:
    from safetensors.numpy import save_file

    from gaitreid.pose.lifters.matching import WALKERS, made_up, poses

    found = poses(motions) if motions else made_up(seed)
    training.begin()
    with replacing(training.folder / LIBRARY) as temporary:
        save_file({"poses": np.ascontiguousarray(found)}, temporary)
    people = len({m.subject for m in motions}) or WALKERS
    console.say(f"train: a library of {len(found)} poses of {counted(people, 'people')}")


def _network(training: Training, motions: list[Motion], config: Config, console: Console) -> None:
    import torch

    from gaitreid.pose.lifters.tcn import Net
    from gaitreid.pose.lifters.training import train as epochs

    torch.manual_seed(config.seed)
    net, where, began = Net(config.lifter.width), device(config.device), time.monotonic()
    people = len({motion.subject for motion in motions})
    console.say(
        f"train: a lifter from {counted(len(motions), 'walks')} of {counted(people, 'people')} and rendered walkers, {where}"
    )
    passes = epochs(net, motions, config.lifter, where, config.seed, training.state)
    training.follow(passes, config.lifter.epochs, console)
    save_weights(training.folder / WEIGHTS, net.state_dict())
    console.say(f"train: done in {time.monotonic() - began:.0f} s")
