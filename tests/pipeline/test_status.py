"""What status says of work folders whose videos, settings, code and files change."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tracked import LONG_AGO, tracked, video
from typer.testing import CliRunner, Result

from gaitreid.cli import app
from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.index import Index
from gaitreid.pipeline.lift import lift
from gaitreid.pipeline.logs import RunLog
from gaitreid.pipeline.split import split
from gaitreid.pipeline.status import Status, show, survey
from gaitreid.pipeline.versions import CODE
from gaitreid.pipeline.walks import pack
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import GaitReidError
from gaitreid.pose.lift import LiftConfig

WALKS = ("001-nm-01-090", "001-cl-01-090", "002-nm-01-090", "002-cl-01-090")


def here(*words: object, expect: int = 0) -> Result:
    """The command, in this process."""
    result = CliRunner().invoke(app, list(map(str, words)))
    code = 0 if result.exception is None else getattr(result.exception, "code", 1)
    assert isinstance(result.exception, GaitReidError) or code == expect, result.output
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos, matched; in a fifth nobody was found."""
    root = tmp_path_factory.mktemp("status")
    work = Work(root / "work")
    for stem in WALKS:
        tracked(work, video(root / "videos", stem), int(stem[:3]))
    tracked(work, video(root / "videos", "003-nm-01-090"), 3, reason="no-person: nobody in 60 frames")
    here("match", "--work", work.root, "--jobs", 1)
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it, in which videos and files have the times that they had."""
    return Path(shutil.copytree(made, tmp_path / "p"))


def looked(project: Path, config: Config | None = None, **options: Any) -> Status:
    return survey(Work(project / "work"), config or Config(), [project / "videos"], **options)


def states(found: Status, stage: str) -> dict[str, str]:
    """State and reason of each item of a stage."""
    return {item.name: f"{item.state} {item.reason}".strip() for item in found.of(stage)}


def test_all_is_done_and_the_failure_is_named(project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted((project / "work").rglob("*"))}
    found = looked(project)
    assert states(found, "pose2d") == dict.fromkeys(sorted(WALKS), "done") | {"003-nm-01-090": "failed no-person"}
    for stage in ("pose3d", "sequences", "embeddings/shipped"):
        assert states(found, stage) == dict.fromkeys(sorted(WALKS), "done")
    assert states(found, "files") == {"sequences.h5": "done", "embeddings/shipped.h5": "done"}
    assert states(found, "models") == {"shipped": "done"}
    assert states(found, "matches") == {"all-all": "done"}
    assert {path: path.stat().st_mtime_ns for path in sorted((project / "work").rglob("*"))} == before  # it only looks


def test_a_changed_video_is_stale_and_so_is_what_is_behind_it_alone(project: Path) -> None:
    video(project / "videos", WALKS[0], "another walk", LONG_AGO + 9)
    found = looked(project)
    assert states(found, "pose2d")[WALKS[0]] == "stale source"
    assert states(found, "pose3d") == dict.fromkeys(sorted(WALKS), "done") | {WALKS[0]: "stale behind"}
    assert set(states(found, "files").values()) == {"stale behind"}
    assert states(found, "matches") == {"all-all": "stale behind"}
    assert states(looked(project, extracting=False), "pose3d")[WALKS[0]] == "done"


def test_the_same_size_and_time_is_the_same_video_unless_it_is_verified(project: Path) -> None:
    work = Work(project / "work")
    store.relabel(work.pose2d(WALKS[0]), "pose2d", {"video_path": str(project / f"videos/{WALKS[0]}.avi")})
    Index(work).refresh(work)
    changed = WALKS[0].replace("1", "7", 1)
    video(project / "videos", WALKS[0], changed)
    assert states(looked(project), "pose2d")[WALKS[0]] == "done"
    assert states(looked(project, verify=True), "pose2d")[WALKS[0]] == "stale source"


def test_a_touched_video_is_looked_into(project: Path) -> None:
    os.utime(project / f"videos/{WALKS[0]}.avi")
    assert states(looked(project), "pose2d")[WALKS[0]] == "done"


def test_settings_that_differ_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(Config(), lift=LiftConfig(skeleton="casia14"))
    found = looked(project, config)
    assert set(states(found, "pose2d").values()) == {"done", "failed no-person"}
    assert set(states(found, "pose3d").values()) == {"stale settings"}
    show(found, Console())
    out = capsys.readouterr().out
    assert '4 stale, settings: 001-cl-01-090, 001-nm-01-090, 002-cl-01-090, 002-nm-01-090 (skeleton "h36m17" -> "casia14")' in out
    assert "1 failed, no-person: 003-nm-01-090 (nobody in 60 frames)" in out
    assert "--retry-failed" in out


@pytest.mark.parametrize("stage", ["pose3d", "sequences", "embeddings"])
def test_newer_code_makes_a_stage_stale_and_a_run_makes_it_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setitem(CODE, stage, CODE[stage] + 1)
    found = looked(project)
    first = {"pose3d": "pose3d", "sequences": "files", "embeddings": "files"}[stage]
    assert "stale code" in states(found, first).values()
    assert set(states(found, "pose2d").values()) == {"done", "failed no-person"}
    if stage == "embeddings":
        assert states(found, "files")["sequences.h5"] == "done"
        return
    work = Work(project / "work")
    lift(work, LiftConfig(), Console(-1))
    path = split(work, Config().split, Console(-1))
    assert store.attributes(path, "sequences")["code_version"] == CODE["sequences"]
    assert set(states(looked(project), "sequences").values()) == {"done"}


def test_new_labels_come_through_and_poses_stay(project: Path) -> None:
    work = Work(project / "work")
    poses = store.attributes(work.pose2d(WALKS[0]), "pose2d")["made_from"]
    store.relabel(work.pose2d(WALKS[0]), "pose2d", {"subject": "Ann"})
    assert states(looked(project), "pose3d")[WALKS[0]] == "stale source"
    here("match", "--work", work.root, "--jobs", 1)
    found = looked(project)
    assert set(states(found, "pose3d").values()) == {"done"}
    assert store.attributes(work.pose2d(WALKS[0]), "pose2d")["made_from"] == poses
    assert "Ann" in (work.match("", "").parent / "all-all/ranking.csv").read_text()


def test_tracks_that_are_gone_leave_nothing_behind(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(project / "work")
    for stem in (*WALKS, "003-nm-01-090"):
        work.pose2d(stem).unlink()
    found = survey(work, Config())
    assert states(found, "pose3d")[WALKS[0]] == "stale orphan"
    with pytest.raises(GaitReidError, match="extract VIDEOS"):
        lift(work, LiftConfig(), Console())
    assert "5 files removed" in capsys.readouterr().out
    assert work.stems("pose3d") == []


def test_what_is_not_there_yet_is_missing(project: Path) -> None:
    video(project / "videos", "004-nm-01-090")
    found = looked(project)
    for stage in ("pose2d", "pose3d", "sequences", "embeddings/shipped"):
        assert states(found, stage)["004-nm-01-090"] == "missing"
    asked = replace(Config(), extract=replace(Config().extract, silhouettes=True))
    assert set(states(looked(project, asked), "silhouettes").values()) == {"missing"}


def test_damaged_files_and_a_video_that_has_gone(project: Path) -> None:
    work = Work(project / "work")
    work.pose2d(WALKS[0]).write_bytes(b"no HDF5")
    store.relabel(work.pose2d(WALKS[1]), "pose2d", {"video_path": str(project / "moved.avi")})
    (project / "work/.index.json").write_text('{"format": 1, "files": [')  # nor is this any help
    found = survey(work, Config())
    assert states(found, "pose2d")[WALKS[0]] == "stale damaged"
    assert states(found, "pose2d")[WALKS[1]] == "done no-video"
    work.pose2d(WALKS[2]).unlink()
    work.pose3d(WALKS[2]).write_bytes(b"no HDF5")
    assert states(survey(work, Config()), "pose3d")[WALKS[2]] == "stale damaged"


def test_a_damaged_file_does_not_keep_others_from_being_lifted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(project / "work")
    before = work.pose3d(WALKS[0]).read_bytes()
    work.pose2d(WALKS[0]).write_bytes(b"no HDF5")
    with h5py.File(work.pose2d(WALKS[1]), "r+") as file:  # one that a look at its attributes does not find out
        file["/tracks/000001/time"][3] = np.nan
    work.pose3d(WALKS[2]).unlink()
    found = lift(work, LiftConfig(), Console(0, RunLog(work.root)))
    assert [(failure.item, failure.reason) for failure in found.failed] == [(stem, "damaged") for stem in sorted(WALKS[:2])]
    assert "time must be finite" in capsys.readouterr().err
    assert work.pose3d(WALKS[2]).exists()
    assert work.pose3d(WALKS[0]).read_bytes() == before
    lines = [json.loads(line) for line in (work.root / "logs/run.jsonl").read_text().splitlines()[-3:]]
    assert {line["item"]: line["state"] for line in lines} == dict(zip(WALKS, ("failed", "failed", "done"), strict=False))


def test_a_model_is_stale_when_its_windows_have_changed(project: Path) -> None:
    work = Work(project / "work")
    facts = store.attributes(work.sequences, "sequences")
    made_of = {key: facts[key] for key in ("config", "made_from")}
    description = {"model": "cage", "sequences": made_of, "code_version": CODE["model"]}
    for name, files in {"cage": ("checkpoint.pt", "encoder.safetensors"), "cut": ("checkpoint.pt",)}.items():
        work.model(name).mkdir()
        (work.model(name) / "config.yaml").write_text(json.dumps(description))  # which is YAML too
        for file in files:
            (work.model(name) / file).touch()
    assert states(looked(project), "models") == {"cage": "done", "cut": "missing cut-off", "shipped": "done"}
    config = replace(Config(), split=replace(Config().split, trim=5))
    assert states(looked(project, config), "models")["cage"] == "stale behind"
    split(work, config.split, Console(-1))
    assert states(looked(project, config), "models") == {"cage": "stale source", "cut": "missing cut-off", "shipped": "done"}


def test_whole_walks_follow_their_tracks(project: Path) -> None:
    work = Work(project / "work")
    pack(work, Config().pack, Console(-1))
    assert states(looked(project), "files")["walks.h5"] == "done"
    config = replace(Config(), pack=replace(Config().pack, min_frames=Config().pack.min_frames + 1))
    assert states(looked(project, config), "files")["walks.h5"] == "stale settings"
    store.relabel(work.pose2d(WALKS[0]), "pose2d", {"subject": "Ann"})
    assert states(looked(project), "files")["walks.h5"] == "stale source"
    video(project / "videos", WALKS[0], "another walk", LONG_AGO + 9)
    assert states(looked(project), "files")["walks.h5"] == "stale behind"


def test_json_has_all_items_and_an_empty_folder_says_so(project: Path, tmp_path: Path) -> None:
    found = json.loads(here("status", "--work", project / "work", "--json").stdout)
    assert found["counts"]["pose2d"] == {"done": 4, "stale": 0, "failed": 1, "missing": 0}
    assert {"stage": "pose3d", "name": WALKS[0], "state": "done", "reason": "", "why": ""} in found["items"]
    assert found["writing"] == []
    assert "nothing here yet" in here("status", "--work", tmp_path / "none").output
    assert not (tmp_path / "none").exists()
    assert "001-nm-01-090: done" in here("status", "-v", "--work", project / "work").output
