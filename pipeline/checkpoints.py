"""The folder of a model in training, `models/NAME/`: what it is, where it stands, and going on from there."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from gaitreid.pipeline import yaml_file
from gaitreid.pipeline.bounds import Allowance
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import replacing, write_text
from gaitreid.pipeline.memory import keep_freed
from gaitreid.pipeline.versions import CODE
from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.pose.rounds import Epoch

CHECKPOINT, DESCRIPTION, LOG = "checkpoint.pt", "config.yaml", "log.jsonl"


def read_description(folder: Path) -> dict[str, Any]:
    """What is trained there; empty where nothing is."""
    try:
        found = yaml_file.read(folder / DESCRIPTION)
    except FormatError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Training:
    """A training that is to begin or to go on.

    Attributes:
        weights: name of the file that is there once it is done.
        state: the snapshot to go on from, empty to begin with.
    """

    folder: Path
    weights: str
    description: dict[str, Any]
    state: dict[str, Any]

    def begin(self) -> None:
        """Make the folder that of this training: what was done of it stays, anything else goes."""
        (self.folder / self.weights).unlink(missing_ok=True)
        if not self.state:
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        write_text(self.folder / DESCRIPTION, yaml_file.text(self.description))

    def follow(self, epochs: Iterable[Epoch], total: int, console: Console, *, writes: bool = True) -> float:
        """Run it to its end, with a checkpoint and a line in the log after every epoch; the last loss.

        The folder is as it was until something is learnt: what cannot be trained, or not on this machine, spoils no other model.
        """
        keep_freed()
        log = _read_log(self.folder, self.state["epoch"]) if self.state else []
        passes = iter(epochs)
        with console.progress("train", total, "epochs") as progress:
            first = next(passes, None)  # none where all epochs are done
            if writes:
                self.begin()
            for epoch, losses, snapshot in chain([first] if first else [], passes):
                log.append(json.dumps({"epoch": epoch, **losses}))
                if writes:
                    # The log first: what goes on from a checkpoint takes as many lines as that has epochs; one too few stays so.
                    write_text(self.folder / LOG, "\n".join(log) + "\n")
                    _save(self.folder / CHECKPOINT, snapshot())
                words = " ".join(f"{key} {value:.4g}" for key, value in losses.items())
                console.detail(f"epoch {epoch}: {words}")
                progress(epoch, words)
        return float(json.loads(log[-1])["loss"])


def start(
    folder: Path,
    weights: str,
    description: dict[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    fits: Callable[[dict[str, Any]], None],
) -> Training | None:
    """What there is to train, and to go on from; nothing is changed.

    Args:
        weights: name of the file that is there once the training is done.
        resume: go on from the last checkpoint even if the description differs.
        fits: raises ValueError or LookupError where a snapshot is not one of the model that is to be trained.

    Returns:
        None where the same training is done.

    Raises:
        UsageError: there is nothing to resume, or the checkpoint does not fit.
    """
    description = {**description, "code_version": CODE["model"]}
    same = {"code_version": 1, **read_description(folder)} == description
    if same and (folder / weights).exists() and not overwrite:
        return None
    if resume:
        check_resumable(folder)
    state = _load(folder / CHECKPOINT) if resume or (same and not overwrite) else {}
    if state:
        _check_fits(folder / CHECKPOINT, state, fits)
    return Training(folder, weights, description, state)


def check_resumable(folder: Path) -> None:
    """Raises: UsageError: there is nothing to resume."""
    if not (folder / CHECKPOINT).exists():
        raise UsageError(f"--resume: there is no checkpoint in {folder}")


def check_epochs(state: dict[str, Any], setting: str, epochs: int) -> None:
    """Raises: UsageError: a snapshot has learnt longer than is asked for."""
    if state["epoch"] > epochs:
        raise UsageError(f"{setting}: {epochs} are asked for, and {state['epoch']} are done: ask for as many or more")


def save_weights(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write the tensors of a trained model, whole or not at all."""
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)


def _read_log(folder: Path, epochs: int) -> list[str]:
    path = folder / LOG
    return path.read_text(encoding="utf-8").splitlines()[:epochs] if path.exists() else []


def _load(path: Path) -> dict[str, Any]:
    import torch

    if not path.exists():
        return {}
    try:
        _check_archive(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if "optimiser" not in state or int(state["epoch"]) < 1:
            raise FormatError("not a snapshot of a training")
    except Exception as error:  # torch raises anything at all on a damaged file
        raise FormatError(f"{path}: cannot be read ({type(error).__name__}); delete it to train from the beginning") from error
    return state


def _check_fits(path: Path, state: dict[str, Any], fits: Callable[[dict[str, Any]], None]) -> None:
    try:
        fits(state)
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # AttributeError, TypeError: of a made-up file
        raise UsageError(
            f"{path}: does not fit these settings ({error}): go on with those that it began with, or train from the beginning "
            "(--overwrite, without --resume)"
        ) from error


def _check_archive(path: Path) -> None:
    """Raises: BadZipFile or FormatError: it is no archive, or one that unfolds to more than there can be."""
    allowance = Allowance(path)
    with ZipFile(path) as archive:
        for member in archive.infolist():
            allowance.take(f"{path}: {member.filename}", member.file_size)


def _save(path: Path, state: dict[str, Any]) -> None:
    import torch

    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)  # given a path, it would write the temporary name into the file
