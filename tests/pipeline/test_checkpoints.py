"""What stands in a model's folder is left alone until it is known that the training can begin."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run as here
from galleries import casia, windows_of_noise

from gaitreid.pipeline import store
from gaitreid.pipeline.checkpoints import start
from gaitreid.pipeline.config import Config, load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.train import train
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import UsageError
from gaitreid.pose.rounds import Epoch


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir()}


def windows(work: Work, frames: int = 8) -> None:
    """A window of noise of each of three people, three times."""
    made = windows_of_noise(casia(subjects=3), frames)
    store.write(work.sequences, "sequences", {"/sequences": made}, {"config": "", "made_from": ""})


def test_a_model_of_windows_that_does_not_fit_is_not_resumed(tmp_path: Path) -> None:
    work, folder = Work(tmp_path), tmp_path / "models/lstm"
    windows(work)

    def settings(*words: str) -> Config:
        return load(overrides=["train.model=lstm", "train.epochs=1", "device=cpu", "supervised.hidden=4", *words])

    train(work, settings(), "lstm", Console(-1))
    before = contents(folder)
    assert "encoder.safetensors" in {path.name for path in before}
    with pytest.raises(UsageError, match=r"lstm/checkpoint\.pt: does not fit these settings .* has shape"):
        train(work, settings("supervised.hidden=8"), "lstm", Console(-1), resume=True)
    assert contents(folder) == before
    train(work, settings("train.epochs=2"), "lstm", Console(-1), resume=True)
    assert len((folder / "log.jsonl").read_text().splitlines()) == 2
    before = contents(folder)
    with pytest.raises(UsageError, match=r"train\.epochs: 1 are asked for, and 2 are done"):
        train(work, settings(), "lstm", Console(-1), resume=True)
    assert contents(folder) == before


def test_a_lifter_that_does_not_fit_is_not_resumed(tmp_path: Path) -> None:
    few = ["lifter.width=8", "lifter.epochs=1", "lifter.examples=4", "lifter.batch=4", "lifter.frames=16"]
    command = ["train", "--work", tmp_path, "--model", "lifter", *(word for value in few for word in ("--set", value))]
    here(*command)
    before = contents(tmp_path / "models/lifter")
    refused = here(*command, "--resume", "--set", "lifter.width=16", expect=2)
    assert "does not fit these settings" in str(refused.exception)
    here(*command, "--resume", "--set", "lifter.epochs=2")
    before = contents(tmp_path / "models/lifter")
    refused = here(*command, "--resume", expect=2)
    assert "lifter.epochs: 1 are asked for, and 2 are done" in str(refused.exception)
    assert contents(tmp_path / "models/lifter") == before


@pytest.mark.parametrize("error", [ValueError("it is another"), KeyError("net"), AttributeError("no shape")])
def test_a_checkpoint_that_does_not_fit_says_what_to_do(tmp_path: Path, error: Exception) -> None:
    import torch

    def fits(state: dict[str, object]) -> None:
        assert state["epoch"] == 3
        raise error

    (tmp_path / "config.yaml").write_text("model: other")
    torch.save({"epoch": 3, "optimiser": {}}, tmp_path / "checkpoint.pt")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"does not fit .*--overwrite, without --resume"):
        start(tmp_path, "weights", {"model": "one"}, resume=True, overwrite=False, fits=fits)
    training = start(tmp_path, "weights", {"model": "one"}, resume=False, overwrite=False, fits=fits)
    assert training is not None
    assert training.state == {}  # from the beginning
    assert contents(tmp_path) == before
    training.begin()
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("writes", [True, False])
def test_the_folder_is_as_it_was_until_something_is_learnt(tmp_path: Path, writes: bool) -> None:
    (tmp_path / "config.yaml").write_text("model: other")
    (tmp_path / "weights").write_text("of the other")
    before = contents(tmp_path)
    training = start(tmp_path, "weights", {"model": "one"}, resume=False, overwrite=False, fits=lambda state: None)
    assert training

    def epochs(learns: int) -> Iterator[Epoch]:
        for epoch in range(1, learns + 1):
            assert (contents(tmp_path) == before) is (epoch == 1 or not writes)
            yield epoch, {"loss": 1.0 / epoch}, lambda: {"optimiser": {}, "epoch": 1}
        raise MemoryError

    with pytest.raises(MemoryError):
        training.follow(epochs(0), 3, Console(-1), writes=writes)
    assert contents(tmp_path) == before
    with pytest.raises(MemoryError):
        training.follow(epochs(2), 3, Console(-1), writes=writes)
    assert {path.name for path in tmp_path.iterdir()} == (
        {"config.yaml", "checkpoint.pt", "log.jsonl"} if writes else {"config.yaml", "weights"}
    )


def test_a_model_of_windows_that_cannot_be_trained_spoils_none(tmp_path: Path) -> None:
    """No window is followed by the frames that are to be predicted."""
    work = Work(tmp_path)
    windows(work)
    small = ["train.epochs=1", "device=cpu", "cage.hidden=4"]
    train(work, load(overrides=small), "cage", Console(-1))
    before = contents(tmp_path / "models/cage")
    with pytest.raises(UsageError, match="prediction: after no window"):
        train(work, load(overrides=[*small, "cage.pretext=prediction"]), "cage", Console(-1))
    assert contents(tmp_path / "models/cage") == before
