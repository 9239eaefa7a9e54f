import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from commands import run
from galleries import casia, embeddings, euclidean, windows_of_noise

from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.match import LEAK, by_protocol, cme, match
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import UsageError
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.records import Embeddings

WINDOWS = MatchConfig(unit="window", metric="euclidean", exclude="nothing", top=3)


def write(work: Work, model: str = "made-up", noise: float = 1.0) -> Path:
    """Windows of people in nm, bg and cl, and embeddings of them by a model of this name."""
    of = Embeddings(**{**vars(casia(subjects=6, noise=noise, windows=2)), "encoder": model})
    start = 30 * of.window_track + of.window_frame[:, 0]
    made = replace(windows_of_noise(of, 30), start=start, window_track=of.window_track, length=20)
    store.write(work.sequences, "sequences", {"/sequences": made}, {"config": "", "made_from": ""})
    return store.write(work.embeddings(model), "embeddings", {"/embeddings": of}, {"config": "", "made_from": ""})


def compare(work: Work, config: MatchConfig, protocol: str, source: Path, seed: int = 3) -> list[str]:
    """A comparison by another model and by other settings than the defaults; the options that name it."""
    if protocol == "lt":
        by_protocol(work, config, source, protocol, Console(-1), seed=seed, training=2, probe="cl")
        return ["--protocol", "lt", "--probe", "cl", "--gallery", "nm"]
    match(work, config, source, "nm", "cl", Console(-1), seed=seed, protocol=protocol, notes=[LEAK])
    return ["--probe", "nm", "--gallery", "cl", *(["--protocol", protocol] if protocol != "plain" else [])]


def contents(work: Work) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (work.root / "matches").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("config", "protocol", "model"),
    [
        (WINDOWS, "plain", "made-up"),
        (euclidean(rerank=4), "plain", "made-up+other"),
        (euclidean(), "lt", "made-up"),
        (WINDOWS, "cme", "cage-cme"),
    ],
)
def test_a_report_once_more_is_of_the_same_comparison(config: MatchConfig, protocol: str, model: str, tmp_path: Path) -> None:
    work = Work(tmp_path)
    options = compare(work, config, protocol, write(work, model, noise=2.0))
    store.relabel(next(work.root.glob("matches/*/ranking.h5")), "ranking", {"gaitreid_version": "0.0.1"})
    before = contents(work)
    [page] = [path for path in before if path.name == "report.html"]
    metrics = json.loads(before[page.with_name("metrics.json")])
    assert (metrics["model"], metrics["unit"], metrics["exclude"], metrics["seed"]) == (model, config.unit, config.exclude, 3)
    assert (LEAK in metrics["notes"]) == (protocol != "lt")
    assert b"moving skeleton of" in before[page]
    page.write_text("another page")
    run("report", "--work", tmp_path, *options)
    again = re.sub("<[^>]*>", " ", page.read_text())
    assert re.search(r"\b0\.0\.1\b", again)  # by what the figures were made
    assert re.search(r"seed\s+3\b", again)
    assert {**contents(work), page: b""} == {**before, page: b""}
    before = contents(work)
    said = run("report", "--work", tmp_path, *options, "--name", model, "--frames", "--set", "match.unit=track").stdout
    assert contents(work) == before
    assert re.search(r"match: (\d+) of \1 stills are missing: their videos or tracks in 2D are gone", said)


@pytest.mark.parametrize("protocol", ["plain", "cross-view"])
def test_the_seed_is_that_of_the_intervals(protocol: str, tmp_path: Path) -> None:
    found = []
    for k, seed in enumerate((3, 3, 4)):
        work = Work(tmp_path / str(k))
        source, console = write(work, noise=3.0), Console(-1)
        if protocol == "plain":
            report = match(work, euclidean(), source, "cl", "nm", console, seed=seed)
        else:
            report = by_protocol(work, euclidean(), source, protocol, console, seed=seed, training=0)
        found.append(json.loads((report.parent / "metrics.json").read_text()))
    assert found[0] == found[1]
    assert found[0]["map"] == found[2]["map"]
    assert found[0]["ci95"]["map"] != found[2]["ci95"]["map"]


def test_what_is_said_of_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, walks = Work(tmp_path), [("a", "nm", "1", ""), ("b", "nm", "1", ""), ("a", "cl", "1", ""), ("b", "cl", "1", "")]
    nobody, strangers = [("", *walk[1:]) for walk in walks], [*walks[:2], ("", "cl", "1", ""), ("c", "cl", "1", "")]
    made: dict[str, str | int] = {"config": "", "made_from": ""}
    for people, said in (
        (walks, r"Rank-1 50\.0% \(95 %: 0\.0% to 100\.0%\), mAP 75\.0%, 2 probes, 2 in the gallery"),
        (nobody, "2 probes ranked; without labels there is no telling how often rightly"),
        (strangers, "2 probes ranked; where nobody can be right or wrong there is no telling how often rightly"),
        ([*strangers[:3], ("a", "cl", "1", "")], r"Rank-1 0\.0%, mAP 50\.0%, 2 probes, 2 in the gallery"),  # of one person
    ):
        of = embeddings(people, np.array([[0.0], [0.3], [0.1], [0.1]]) if people is walks else np.arange(4.0)[:, None])
        source = store.write(work.embeddings("made-up"), "embeddings", {"/embeddings": of}, made)
        match(work, euclidean(), source, "cl", "nm", Console(), seed=0)
        assert re.match(f"match: cl against nm: {said}\n", capsys.readouterr().out), said


@pytest.mark.parametrize(
    ("config", "gallery", "notes"),
    [
        (euclidean(exclude="nothing"), "cl", []),
        (euclidean(), "", []),
        (euclidean(exclude="overlap"), "", ["share 6 recordings"]),
        (euclidean(exclude="same-window", unit="window"), "all", ["share 6 recordings", "windows of a recording overlap"]),
        (euclidean(exclude="same-view", unit="window"), "all", ["share 6 recordings", "windows of a recording overlap"]),
        (euclidean(exclude="overlap", unit="window"), "all", ["share 6 recordings"]),
    ],
)
def test_a_reader_is_told_what_makes_figures_too_good(
    config: MatchConfig, gallery: str, notes: list[str], tmp_path: Path
) -> None:
    work = Work(tmp_path)
    report = match(work, config, write(work), "bg", gallery, Console(-1), seed=0)
    found = json.loads((report.parent / "metrics.json").read_text())
    assert (found["probe"], found["gallery"]) == ("bg", gallery or "all")
    assert len(found["notes"]) == len(notes)
    assert all(note in one for note, one in zip(notes, found["notes"], strict=True))


class MadeUp(Session):
    """A session whose models are made up; what they would be trained and encoded by is kept."""

    made: ClassVar[list[tuple[str, Config]]] = []

    def split(self) -> Path:
        return self.work.sequences

    def train(self, name: str | None = None, *, resume: bool = False, overwrite: bool = False) -> Path:
        self.made.append((str(name), self.config))
        return self.work.model(str(name))

    def encode(self, name: str | None = None, encoder: Path | None = None) -> Path:
        return write(self.work, str(name))


@pytest.mark.parametrize("as_published", [False, True])
def test_cme_trains_on_half_of_the_people_and_compares_windows_of_the_others(tmp_path: Path, *, as_published: bool) -> None:
    work, config = Work(tmp_path), replace(Config(), seed=5)
    write(work)
    report = cme(MadeUp(work, config, Console(-1)), "lstm", "", "", as_published=as_published)
    assert report == work.match("bg", "nm", "cme") / "report.html"
    model, used = MadeUp.made.pop()
    assert (model, used.train.model, used.encode.form, used.encode.whiten) == ("lstm-cme", "lstm", "sc", 0)
    learnt = set(str(used.train.select).removeprefix("subject=").split("|"))
    assert len(learnt) == 3
    for probe, gallery in (("nm", "nm"), ("bg", "bg"), ("cl", "cl"), ("cl", "nm"), ("bg", "nm")):
        folder = work.match(probe, gallery, "cme")
        metrics = json.loads((folder / "metrics.json").read_text())
        rule = "same-window" if as_published else "same-recording"
        settings = [metrics[key] for key in ("probe", "gallery", "unit", "metric", "exclude", "seed")]
        assert settings == [probe, gallery, "window", "euclidean", rule, 5]
        assert (LEAK in metrics["notes"]) == (as_published and probe == gallery)
        with (folder / "ranking.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["probe_subject"] for row in rows} == {f"{s:03}" for s in range(1, 7)} - learnt
        assert not {row["gallery_subject"] for row in rows} & learnt
    shutil.rmtree(tmp_path / "matches")
    some = replace(config, train=replace(config.train, select="condition=nm|bg"))
    cme(MadeUp(work, some, Console(-1)), None, "cl", "", as_published=as_published)
    assert MadeUp.made[-1][1].train.select == f"{used.train.select},condition=nm|bg"
    assert sorted(path.name for path in (tmp_path / "matches").iterdir()) == ["cme-cl-cl", "cme-cl-nm"]
    assert MadeUp.made.pop()[0] == "cage-cme"
    session = MadeUp(work, config, Console(-1))
    assert cme(session, "mine", "nm", "cl", as_published=as_published).parent.name == "cme-nm-cl"  # a pair of one's own
    model, used = MadeUp.made.pop()
    assert (model, used.train.model) == ("mine-cme", "cage")
    with pytest.raises(UsageError, match="no track has condition 'x'"):
        cme(session, None, "nm", "x", as_published=as_published)
    assert not MadeUp.made  # before anything is trained


def other_embeddings(work: Work) -> None:
    write(work, "a+b", noise=2.0)


def no_embeddings(work: Work) -> None:
    work.embeddings("a+b").unlink()


def no_windows(work: Work) -> None:
    work.sequences.unlink()


def other_figures(work: Work) -> None:
    path = work.match("nm", "cl") / "metrics.json"
    metrics: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**metrics, "eer": metrics["eer"] + 0.01}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (other_embeddings, r"a\+b\.h5 is gone, or is not what .*nm-cl was made from"),
        (no_embeddings, r"a\+b\.h5 is gone"),
        (no_windows, r"sequences\.h5 is gone"),
        (other_figures, "this version makes other figures"),
    ],
)
def test_a_report_that_cannot_be_made_again_is_left(spoil: Any, reason: str, tmp_path: Path) -> None:
    work = Work(tmp_path)
    options = compare(work, WINDOWS, "plain", write(work, "a+b"))
    spoil(work)
    before = contents(work)
    result = run("report", "--work", tmp_path, *options, expect=2)
    command = (
        "`gaitreid match --probe nm --gallery cl --name a --fuse b "
        "--metric euclidean --exclude nothing --unit window --top 3`"
    )  # fmt: skip
    with pytest.raises(UsageError, match=reason) as caught:
        raise result.exception or AssertionError
    assert str(caught.value).endswith(command)
    assert contents(work) == before


@pytest.mark.parametrize(
    ("protocol", "config", "command"),
    [
        ("lt", euclidean(), "`gaitreid match --protocol lt --probe cl --gallery nm --name cage-cme --metric euclidean`, with"),
        ("cme", WINDOWS, "`gaitreid match --protocol cme --probe nm --gallery cl --name cage`"),
        (
            "cme",
            euclidean(exclude="same-window"),
            "`gaitreid match --protocol cme --probe nm --gallery cl --name cage --as-published`",
        ),
    ],
)
def test_the_command_to_give_is_that_of_the_protocol(protocol: str, config: MatchConfig, command: str, tmp_path: Path) -> None:
    work = Work(tmp_path)
    options = compare(work, config, protocol, write(work, "cage-cme"))
    write(work, "cage-cme", noise=2.0)
    assert command in str(run("report", "--work", tmp_path, *options, expect=2).exception)


def test_selectors_that_are_longer_than_names_of_folders(tmp_path: Path) -> None:
    work = Work(tmp_path)
    source, folders = write(work), set()
    for subjects in (range(1, 5), range(1, 6)):
        probe = "|".join([f"00{k}" for k in subjects] * 20)
        page = match(work, euclidean(), source, f"subject={probe}", "nm", Console(-1), seed=0)
        folders.add(page.parent)
        run("report", "--work", tmp_path, "--probe", f"subject={probe}", "--gallery", "nm")
        assert json.loads((page.parent / "metrics.json").read_text())["probe"] == f"subject={probe}"
    assert len(folders) == 2


def test_a_report_of_what_is_not_there(tmp_path: Path) -> None:
    work = Work(tmp_path)
    options = compare(work, WINDOWS, "plain", write(work))
    said = str(run("report", "--work", tmp_path, expect=2).exception)
    assert f"no comparison {tmp_path / 'matches/all-all'} (there: nm-cl)" in said
    said = str(run("report", "--work", tmp_path, *options, "--name", "other", expect=2).exception)
    assert "is by 'made-up', not 'other'" in said
    path = work.match("nm", "cl") / "metrics.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "notes"}))
    before = contents(work)
    assert "an older version made it" in str(run("report", "--work", tmp_path, *options, expect=2).exception)
    assert contents(work) == before


@pytest.mark.parametrize(
    ("protocol", "option", "takers"),
    [
        ("plain", "--as-published", "cme and cve"),
        ("lt", "--as-published", "cme and cve"),
        ("plain", "--training=24", "lt and cross-view"),
        ("cme", "--training=0", "lt and cross-view"),
        ("cme", "--fuse=gei", "plain, lt, cross-view, ou-mvlp, gait3d and grew"),
        ("cme", "--metric=cosine", "plain, lt, cross-view, ou-mvlp, gait3d and grew"),
        ("cve", "--probe=nm", "plain, lt, cross-view, ou-mvlp, gait3d, grew and cme"),
        ("cve", "--frames", "plain, lt, cross-view, ou-mvlp, gait3d, grew and cme"),
        ("lt", "--exclude=same-recording", "plain"),
        ("grew", "--unit=window", "plain, lt, cross-view, ou-mvlp and gait3d"),
    ],
)
def test_options_that_a_protocol_has_no_use_for(protocol: str, option: str, takers: str, tmp_path: Path) -> None:
    said = str(run("match", "--work", tmp_path, "--protocol", protocol, option, expect=2).exception)
    assert said.startswith(f"{option.partition('=')[0]} is for --protocol {takers}, {protocol} has no use")
    assert not (tmp_path / "matches").exists()


@pytest.mark.parametrize(
    ("protocol", "option"),
    [
        *(("cme", option) for option in ("--as-published", "--probe=nm", "--gallery=cl", "--frames", "--top=3")),
        ("lt", "--training=24"),
        ("cross-view", "--training=0"),
    ],
)
def test_options_that_a_protocol_takes(protocol: str, option: str, tmp_path: Path) -> None:
    said = str(run("match", "--work", tmp_path, "--protocol", protocol, option, expect=3).exception)
    assert "no use" not in said  # there are no videos yet
