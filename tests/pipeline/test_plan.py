"""What --dry-run foresees, and that it writes nothing; failures that are tried again only when asked."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tracked import tracked, video
from typer.testing import CliRunner, Result

from gaitreid.cli import app
from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config, build
from gaitreid.pipeline.plan import Asked, duration, plan
from gaitreid.pipeline.rates import SECONDS, Rates
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, UsageError

WALKS = ("001-nm-01-090", "001-cl-01-090")


def here(*words: object) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, [*map(str, words), "--jobs", "1"])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two videos with tracks, and a third without; work is done in this process."""
    monkeypatch.setenv("GAITREID_IN_PROCESS", "1")
    for stem in WALKS:
        tracked(Work(tmp_path / "work"), video(tmp_path / "videos", stem), 1)
    video(tmp_path / "videos", "002-nm-01-090", "no video " * 1000)
    return tmp_path


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_dry_run_says_what_and_why_and_writes_nothing(project: Path) -> None:
    before = files(project)
    out = here("run", project / "videos", "--work", project / "work", "--dry-run").output
    assert "extract  1 of 3 (1 missing): 002-nm-01-090; about" in out
    assert "lift     3 of 3 (3 missing): 001-cl-01-090, 001-nm-01-090, 002-nm-01-090; about" in out
    assert "split    (missing): sequences.h5" in out
    assert "encode   (missing): embeddings/shipped.h5" in out
    assert "a guess" in out
    assert "free in" in out
    assert files(project) == before
    fresh = here("run", project / "videos", "--work", project / "none", "--dry-run").output
    plain, masks = (
        here("extract", project / "videos", "--work", project / "none", "--dry-run", *options).output
        for options in ([], ["--silhouettes"])
    )
    written = [out.splitlines()[0].rpartition(", ")[2] for out in (fresh, masks, plain)]
    assert written[0] == written[1] != written[2]  # silhouettes, too, where nothing was posed without them
    out = here("run", project / "videos", "--work", project / "none", "--dry-run", "--train").output
    assert "train    (missing): cage" in out
    assert not (project / "none").exists()


def test_only_what_depends_on_a_change_is_done_again(project: Path) -> None:
    work = ["--work", project / "work"]
    here("split", *work)
    assert "everything is up to date" in here("split", *work, "--dry-run").output
    out = here("split", *work, "--dry-run", "--length", 30).output
    assert "split  (settings): sequences.h5" in out
    assert "lift" not in out
    out = here("lift", *work, "--dry-run", "--skeleton", "casia14").output
    assert "lift  2 of 2 (2 settings)" in out
    out = here("extract", project / "videos", *work, "--dry-run", "--pattern", r"(?P<subject>\d)").output
    assert "extract  3 of 3 (2 labels, 1 missing)" in out
    out = here("extract", project / "videos", *work, "--dry-run", "--overwrite").output
    assert "extract  3 of 3 (3 overwrite)" in out
    out = here("extract", project / "videos", *work, "--dry-run", "--silhouettes").output
    assert "extract  3 of 3 (1 missing, 2 silhouettes)" in out


def test_failures_are_kept_and_tried_again_when_asked(project: Path) -> None:
    words = ["extract", project / "videos", "--work", project / "work"]
    first = here(*words)
    assert first.exit_code == 1
    assert "were not tried again" not in first.output
    path = Work(project / "work").pose2d("002-nm-01-090")
    reason = store.attributes(path, "pose2d")["reason"]
    assert str(reason).startswith("unreadable")
    made = path.stat().st_mtime_ns
    again = here(*words)
    assert again.exit_code == 1
    assert "without tracks: 1 unreadable; 1 of them failed before and were not tried again: --retry-failed does" in again.output
    assert path.stat().st_mtime_ns == made
    assert "everything is up to date" in here(*words, "--dry-run").output
    assert "1 of 3 (1 unreadable): 002-nm-01-090" in here(*words, "--dry-run", "--retry-failed").output
    assert path.stat().st_mtime_ns == made
    assert "were not tried again" not in here(*words, "--retry-failed").output
    assert path.stat().st_mtime_ns > made


def test_estimates_rest_on_earlier_runs(project: Path) -> None:
    work = Work(project / "work")
    assert Rates(work).seconds("extract", 100) == 100 * SECONDS["extract"]
    line = {"stage": "extract", "item": "a", "state": "done", "seconds": 30.0, "frames": 100, "bytes": 50_000}
    lines = [
        line,
        {**line, "state": "failed", "seconds": 1e9},
        {**line, "seconds": "many"},
        {"stage": 3},
        line,
        {**line, "frames": 10**400},
    ]
    (work.root / "logs").mkdir()
    (work.root / "logs/run.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"stage": "extr')  # cut off
    (work.root / "logs/run.1.jsonl").write_bytes(json.dumps({**line, "seconds": 60.0}).encode() + b"\n\xff\xfe")
    rates = Rates(work)
    assert rates.measured("extract") == 3
    assert rates.seconds("extract", 100) == pytest.approx(40)
    assert rates.frames(5000) == pytest.approx(10)
    size = sum(work.pose2d(stem).stat().st_size for stem in WALKS) / len(WALKS)
    assert rates.bytes("extract", 100) == pytest.approx(size)
    [step] = plan(work, Config(), Asked("extract", [project / "videos"]))
    assert step.measured == 3
    assert step.seconds == pytest.approx(0.4 * 9000 / 500)
    assert "as long as in earlier runs here" in here("extract", project / "videos", "--work", work.root, "--dry-run").output


def test_models_of_whole_walks_are_not_foreseen(project: Path) -> None:
    folder = Work(project / "work").model("gaitgl")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("takes: walks\n")
    with pytest.raises(UsageError, match="whole walks"):
        plan(Work(project / "work"), Config(), Asked("encode", name="gaitgl"))


def test_the_encoder_that_ships_is_foreseen_where_it_takes_the_windows(project: Path) -> None:
    words = ["encode", "--work", project / "work"]
    others = [*words, "--set", "split.length=10", "--set", "train.epochs=1"]
    assert "train" not in here(*words, "--dry-run").output
    foreseen = here(*others, "--dry-run").output
    assert "train   (missing): cage" in foreseen
    assert "encode  (missing): embeddings/cage.h5" in foreseen
    here("split", *others[1:])
    assert "train   (missing): cage" in here(*others, "--dry-run").output  # by the windows that are there


@pytest.mark.parametrize("model", ["lifter", "matching", "silhouette-rcnn"])
def test_trainings_without_windows_are_not_foreseen(project: Path, model: str) -> None:
    result = here("train", "--model", model, "--dry-run", "--work", project / "work")
    assert isinstance(result.exception, UsageError)
    assert f"'{model}' takes no windows" in str(result.exception)


@pytest.mark.parametrize(
    ("command", "setting", "message"),
    [
        ("train", {"train": {"model": "cagee"}}, "did you mean 'cage'"),
        ("encode", {"train": {"model": "cagee"}}, "did you mean 'cage'"),
        ("lift", {"lift": {"lifter": "nonsense"}}, "unknown lifter 'nonsense'"),
        ("extract", {"extract": {"pose": "mediapip"}}, "did you mean 'mediapipe'"),
    ],
)
def test_what_does_not_exist_is_not_planned(
    project: Path, command: str, setting: dict[str, dict[str, str]], message: str
) -> None:
    videos = [project / "videos"] if command == "extract" else []
    with pytest.raises(UsageError, match=message):
        plan(Work(project / "work"), build(Config, setting, ""), Asked(command, videos))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("match --protocol lt --exclude overlap", "--exclude is for --protocol plain, lt has no use for it"),
        ("match --protocol lt --set match.exclude=overlap", "--set match.exclude is for --protocol plain, lt has no use"),
        ("match --protocol cme --set encode.whiten=0.1", "--set encode.whiten is for .* cme has no use for it"),
        ("match --training 24", "--training is for --protocol lt and cross-view"),
        ("match --probe colour=red", "unknown key 'colour'"),
        ("run VIDEOS --gallery colour=red", "unknown key 'colour'"),
        ("match --encoder nowhere", "--encoder nowhere: holds no encoder.safetensors"),
        ("train --resume", "--resume: there is no checkpoint in .*models/cage"),
    ],
)
def test_what_the_command_refuses_a_dry_run_refuses(project: Path, words: str, message: str) -> None:
    before = files(project)
    command = [project / "videos" if word == "VIDEOS" else word for word in words.split()]
    for dry in (["--dry-run"], []):
        refused = here(*command, "--work", project / "work", *dry).exception
        assert isinstance(refused, UsageError)
        assert re.search(message, str(refused))
        if dry or command[0] == "run":  # nothing is extracted before
            assert files(project).keys() - before.keys() <= {project / "work/.lock"}


@pytest.mark.parametrize(("options", "what"), [(["--protocol", "cme"], "--protocol cme trains"), (["--fuse", "gei"], "fused in")])
def test_what_trains_models_beside_is_not_foreseen(project: Path, options: list[str], what: str) -> None:
    refused = here("match", *options, "--work", project / "work", "--dry-run").exception
    assert isinstance(refused, UsageError)
    assert re.search(f"{what}.* is not foreseen", str(refused))


@pytest.mark.parametrize("command", ["lift", "split", "train", "encode", "match"])
def test_where_nothing_is_there_is_nothing_to_foresee(tmp_path: Path, command: str) -> None:
    for dry in (["--dry-run"], []):
        refused = here(command, "--work", tmp_path / "work", *dry).exception
        assert isinstance(refused, EmptyError)
        assert "run `gaitreid extract VIDEOS...` first" in str(refused)


def test_plug_ins_with_arguments_are_planned(project: Path) -> None:
    for command, setting in (
        ("lift", {"lift": {"lifter": "tcn:models/mine"}}),
        ("encode", {"train": {"model": "lifter"}}),
    ):
        assert plan(Work(project / "work"), build(Config, setting, ""), Asked(command))


def test_labels_of_other_videos_are_not_planned(project: Path) -> None:
    table = project / "labels.csv"
    table.write_text("video,subject\n002-nm-01-090,anna\n")
    asked = Asked("extract", [project / "videos"], labels=table)
    parts = [plan(Work(project / "work"), Config(), replace(asked, shard=f"{n}/3")) for n in (1, 2, 3)]
    assert any(parts)  # the table is one of these videos, whichever shard they are in
    table.write_text("video,subject\nother,anna\n")
    with pytest.raises(UsageError, match="names none of the 3 videos"):
        plan(Work(project / "work"), Config(), asked)


@pytest.mark.parametrize(("seconds", "words"), [(0.01, "1 s"), (119, "119 s"), (600, "10 min"), (36_000, "10.0 h")])
def test_times_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_model_that_is_trained_is_the_one_whose_name_it_bears(project: Path) -> None:
    command = ("run", project / "videos", "--train", "--name", "joints", "--work", project / "work")
    assert "train" in here(*command, "--dry-run").output
    assert here(*command).exit_code == 1  # the third video is none
    assert yaml.safe_load((project / "work/models/joints/config.yaml").read_text())["model"] == "joints"
    assert "train " not in here(*command, "--dry-run").output
