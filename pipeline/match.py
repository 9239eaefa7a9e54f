"""Stage: vectors to `matches/PROBE-GALLERY/`: metrics.json, ranking.csv, ranking.h5 and report.html."""

import json
import math
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gaitreid import __version__
from gaitreid.pipeline import store
from gaitreid.pipeline.checkpoints import read_description
from gaitreid.pipeline.config import build
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.evidence import Frames, evidence
from gaitreid.pipeline.files import sha256, write_csv, write_json, write_text
from gaitreid.pipeline.protocols import halves
from gaitreid.pipeline.report import render
from gaitreid.pipeline.searches import PROTOCOLS, SUBMITTED, TRAINED, Search, headline, searches, submission
from gaitreid.pipeline.train import how_taught
from gaitreid.pipeline.work import Work, provenance
from gaitreid.pose.errors import UsageError
from gaitreid.reid.compare import item_tracks
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import CSV_COLUMNS, Matches, rank, ranking_rows
from gaitreid.reid.metrics import evaluate
from gaitreid.reid.records import Embeddings, Ranking, Sequences
from gaitreid.reid.select import all_of, any_of, listed, select

if TYPE_CHECKING:
    from gaitreid.pipeline.session import Session


def match(
    work: Work,
    config: MatchConfig,
    source: Path,
    probe: str,
    gallery: str,
    console: Console,
    *,
    seed: int,
    protocol: str = "plain",
    among: str = "",
    notes: Sequence[str] = (),
    frames: Frames | None = None,
) -> Path:
    """Rank the gallery for every probe and say how often it is right; the path of the report.

    Args:
        protocol: its name, in the figures and before the folder's name.
        among: a selector that both sides are cut down to.
        notes: what a reader must know beside what the data show.
        frames: whether the report has stills of the videos, and whether heads in them are blurred.
    """
    run = _Run.on(work, source, console, seed, protocol, frames)
    probes, items = (np.intersect1d(select(run.embeddings, side), select(run.embeddings, among)) for side in (probe, gallery))
    return run.search(Search(probe, gallery, probes, items, exclude=config.exclude, notes=tuple(notes)), config)


def by_protocol(
    work: Work,
    config: MatchConfig,
    source: Path,
    protocol: str,
    console: Console,
    *,
    seed: int,
    training: int,
    probe: str = "",
    gallery: str = "",
    frames: Frames | None = None,
) -> Path:
    """Every search of a data set's protocol; the path of the last report.

    Args:
        training, probe, gallery: as of `gaitreid.pipeline.searches.searches`.
    """
    run = _Run.on(work, source, console, seed, protocol, frames)
    report, lines = Path(), []
    if protocol == "grew":
        config = replace(config, top=max(config.top, SUBMITTED))
    for search in searches(protocol, run.embeddings, training, probe, gallery):
        report = run.search(search, config)
        lines.append(f"{search.probe} {_rank1(report)}")
    console.say(f"{protocol}: Rank-1 by probes: {', '.join(lines)}")
    return report


def again(
    work: Work,
    probe: str,
    gallery: str,
    console: Console,
    *,
    protocol: str,
    name: str | None,
    frames: Frames | None,
) -> Path:
    """The report of a comparison made anew, of the same figures and by what they were made by; the path of the report.

    Args:
        probe, gallery, protocol: what the folder of the comparison is named by.
        name: of the model that it must be by; None is any.
        frames: whether the report has stills of the videos, and whether heads in them are blurred.

    Raises:
        UsageError: there is no such comparison, or what it was made from is no more what it was; nothing is written.
    """
    folder = work.match(probe, gallery, protocol)
    if not (folder / "ranking.h5").exists():
        there = ", ".join(sorted(path.parent.name for path in folder.parent.glob("*/ranking.h5"))) or "none"
        raise UsageError(
            f"report: there is no comparison {folder} (there: {there}): --probe, --gallery and --protocol say which is meant, "
            "`gaitreid match` with the same makes it"
        )
    made = store.attributes(folder / "ranking.h5", "ranking")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        config = build(MatchConfig, json.loads(str(made["config"])), "match")
        model, seed, _ = (metrics[key] for key in ("model", "seed", "notes"))
        sources = made["made_from"], made["sequences"]
        command = _command(metrics, _encoders(work, model), config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"report: {folder} does not say what it was made by (an older version made it, or a run was cut off: {error!r}): "
            "give the `gaitreid match` that made it once more"
        ) from error
    if name not in (None, model):
        raise UsageError(f"report: {folder} is by '{model}', not '{name}': leave --name away, or `gaitreid match` by that")
    source, ranking = work.embeddings(model), store.read(folder / "ranking.h5", "ranking", Ranking, "/ranking")
    run = _Run.on(work, source, console, seed, protocol, frames) if source.exists() else None
    if run is None or (run.made_from, run.sequences_hash) != sources:
        changed = source if run is None or run.made_from != sources[0] else work.sequences
        raise UsageError(f"report: {changed} is gone, or is not what {folder} was made from: compare once more: {command}")
    track = item_tracks(run.embeddings, config.unit)
    matches = rank(run.embeddings, track[ranking.probe], track[ranking.gallery], config)
    if not _same(evaluate(matches, draws=1), {**metrics, **metrics.get("pooled", {})}):
        raise UsageError(f"report: this version makes other figures than those in {folder}: compare once more: {command}")
    return run.report(folder, metrics, matches, str(made["gaitreid_version"]))


@dataclass(frozen=True, eq=False)
class _Run:
    """What the searches of one run share.

    Attributes:
        sequences: windows that the report shows.
        made_from, sequences_hash: SHA-256 of the files of the embeddings and of the windows; empty where there are none.
    """

    work: Work
    embeddings: Embeddings
    sequences: Sequences | None
    made_from: str
    sequences_hash: str
    console: Console
    seed: int
    protocol: str
    frames: Frames | None

    @classmethod
    def on(cls, work: Work, source: Path, console: Console, seed: int, protocol: str, frames: Frames | None) -> "_Run":
        """Read the embeddings, and the windows that they are of, where these are there."""
        embeddings = store.read(source, "embeddings", Embeddings, "/embeddings")
        sequences, hashed = None, ""
        if work.sequences.exists():
            sequences, hashed = store.read(work.sequences, "sequences", Sequences, "/sequences"), sha256(work.sequences)
        return cls(work, embeddings, sequences, sha256(source), hashed, console, seed, protocol, frames)

    def search(self, search: Search, config: MatchConfig) -> Path:
        """One search to its folder; the path of the report."""
        work, embeddings, protocol, console = self.work, self.embeddings, self.protocol, self.console
        began = time.monotonic()
        config = replace(config, exclude=search.exclude)
        matches = rank(embeddings, search.probes, search.items, config)
        names = {
            "protocol": protocol,
            "probe": search.probe or "all",
            "gallery": search.gallery or "all",
            "model": embeddings.encoder,
        }
        metrics = {**names, **evaluate(matches, seed=self.seed)}
        if protocol in PROTOCOLS:
            own = headline(search, matches, self.seed)
            pooled = {name: metrics[name] for name in own if name in metrics and name.startswith(("rank", "map"))}
            if pooled:
                pooled["ci95"] = {name: metrics["ci95"][name] for name in pooled}
            metrics = {**metrics, **own, "ci95": {**metrics["ci95"], **own.get("ci95", {})}, "pooled": pooled}
        folder = work.match(search.probe, search.gallery, protocol)
        notes = [*search.notes, *_notes(work, embeddings, matches)]
        if search.holes:
            notes.append(f"{search.holes} recordings that the protocol has are not there: cells are shares of those that are")
        metrics |= {"notes": notes, "seed": self.seed}
        made = {**provenance(config, self.made_from), "sequences": self.sequences_hash}
        store.write(folder / "ranking.h5", "ranking", {"/ranking": matches.ranking}, made)
        write_csv(folder / "ranking.csv", CSV_COLUMNS, ranking_rows(matches.ranking, embeddings))
        if protocol == "grew":
            console.say(f"match: {submission(folder / 'submission.csv', matches, embeddings)}")
        write_json(folder / "metrics.json", metrics)
        frames = int((embeddings.window_frame[:, 1] - embeddings.window_frame[:, 0] + 1).sum()) // 2  # each is in two windows
        console.item("match", folder.name, "done", "", time.monotonic() - began, 0, frames)
        console.say(f"match: {names['probe']} against {names['gallery']}: {_line(metrics)}")
        for note in notes:
            console.say(f"match: note: {note}")
        return self.report(folder, metrics, matches, __version__)

    def report(self, folder: Path, metrics: dict[str, Any], matches: Matches, version: str) -> Path:
        """The page of one search to its folder; its path."""
        embeddings = self.embeddings
        facts = {
            "gaitreid": version,
            "model": f"{embeddings.encoder}, SHA-256 {embeddings.weights[:16]}",
            "embeddings": f"SHA-256 {self.made_from[:16]}",
            "seed": str(metrics["seed"]),
        }
        pairs = evidence(self.work, embeddings, matches, self.sequences, frames=self.frames) if self.sequences else []
        figures = [figure for pair in pairs for figure in pair.figures]
        if self.frames and not figures:
            self.console.say("match: no stills: they stand beside moving skeletons, and the windows have none of these tracks")
        elif self.frames and (lack := sum(not figure.still for figure in figures)):
            self.console.say(
                f"match: {lack} of {len(figures)} stills are missing: their videos or tracks in 2D are gone, or cannot be read"
            )
        page = render(metrics, matches, embeddings, notes=metrics["notes"], provenance=facts, evidence=pairs)
        path = write_text(folder / "report.html", page)
        self.console.say(f"match: {path}")
        return path


CME = (("nm", "nm"), ("bg", "bg"), ("cl", "cl"), ("cl", "nm"), ("bg", "nm"))  # probe, gallery
LEAK = (
    "as published: where probe and gallery are one condition the second nearest window counts, "
    "which may well overlap the probe; figures are too good"
)


def cme(
    session: "Session", name: str | None, probe: str, gallery: str, *, as_published: bool, frames: Frames | None = None
) -> Path:
    """Condition-based matching (CAGE, section 4.1): half of the people train the encoder, where `train.select` has them, too.

    The others are matched, window by window: frames concatenated, compared by Euclidean distance as they are. A probe is not
    compared with its own recording; as published only not with itself, so that windows that overlap it win.

    Args:
        probe, gallery: both are this pair, be it the paper's or not; one is the paper's pairs with it; none is all of these.
        frames: whether the report has stills of the videos, and whether heads in them are blurred.

    Returns:
        The path of the last report.
    """
    config, work = session.to_train(name or session.config.train.model), session.work
    session.split()
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    pairs = _pairs(sequences, probe, gallery)
    learnt, tested = halves(sequences, config.seed)
    drawn = any_of("subject", learnt)
    selected = replace(config.train, select=all_of(drawn, config.train.select or ""))
    encoding = replace(config.encode, form="sc", whiten=0.0)
    rule: Any = "same-window" if as_published else "same-recording"
    matching = replace(config.match, unit="window", metric="euclidean", exclude=rule)
    other = replace(session, config=replace(config, train=selected, encode=encoding, match=matching))
    model = f"{name or config.train.model}-cme"
    other.train(model)
    embeddings = other.encode(model)
    report, lines = Path(), []
    for probe, gallery in pairs:
        among, notes = any_of("subject", tested), [LEAK] if as_published and probe == gallery else []
        report = match(
            work, matching, embeddings, probe, gallery, session.console,
            seed=config.seed, protocol="cme", among=among, notes=notes, frames=frames,
        )  # fmt: skip
        lines.append(f"{probe}-{gallery} {_rank1(report)}")
    session.console.say(f"cme: Rank-1, probe-gallery, {len(tested)} people: {', '.join(lines)}")
    return report


def _pairs(sequences: Sequences, probe: str, gallery: str) -> list[tuple[str, str]]:
    """The pairs of `cme` that are asked for and there; arguments as there."""
    if probe and gallery:
        select(sequences, probe)
        select(sequences, gallery)
        return [(probe, gallery)]
    there = np.unique(sequences.condition)
    pairs = [pair for pair in CME if set(pair) <= set(there.tolist()) and probe in ("", pair[0]) and gallery in ("", pair[1])]
    if not pairs:
        asked = "".join(f", --{side} {value}" for side, value in (("probe", probe), ("gallery", gallery)) if value)
        raise UsageError(
            f"cme compares the conditions {', '.join('-'.join(pair) for pair in CME)}; there are {listed(there)}{asked}: "
            "--probe and --gallery together name any other pair"
        )
    return pairs


def _rank1(report: Path) -> str:
    """Of the figures beside a report, in words."""
    rank1 = json.loads((report.parent / "metrics.json").read_text(encoding="utf-8"))["rank1"]
    return "-" if rank1 is None else f"{rank1:.1%}"


def _line(metrics: dict[str, object]) -> str:
    interval = metrics["ci95"]["rank1"] if isinstance(metrics["ci95"], dict) else None
    if not isinstance(metrics["rank1"], float):
        why = "without labels" if metrics["probes_unlabelled"] == metrics["probes"] else "where nobody can be right or wrong"
        return f"{metrics['probes']} probes ranked; {why} there is no telling how often rightly"
    spread = f" (95 %: {interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    probes = counted(cast("int", metrics["probes"]), "probes")
    precision = f"{metrics['map']:.1%}" if isinstance(metrics["map"], float) else "-"
    return f"Rank-1 {metrics['rank1']:.1%}{spread}, mAP {precision}, {probes}, {metrics['gallery_items']} in the gallery"


def _notes(work: Work, embeddings: Embeddings, matches: Matches) -> Iterator[str]:
    """What a reader must know to trust the figures."""
    probes = set(matches.subject.tolist()) - {""}
    encoders = _encoders(work, embeddings.encoder)
    for name in encoders:
        description = read_description(work.model(name))
        shared = sorted(probes & set(description.get("subjects", [])))
        if shared:
            which = f"encoder '{name}'" if len(encoders) > 1 else "encoder"
            yield (
                f"the {which} was trained on {how_taught(description)} of {len(shared)} of the {len(probes)} probe subjects: "
                "for people it has never seen figures may be lower"
            )
    config, ranking = matches.config, matches.ranking
    if config.exclude != "same-recording":
        track = item_tracks(embeddings, config.unit)
        recordings = [set(embeddings.recording[track[side]].tolist()) for side in (ranking.probe, ranking.gallery)]
        if both := len(recordings[0] & recordings[1]):
            yield f"probe and gallery share {counted(both, 'recordings')} (--exclude {config.exclude}): figures are too good"
            if config.unit == "window" and config.exclude in {"same-window", "nothing", "same-view"}:
                yield "windows of a recording overlap: the nearest may well hold frames of the probe itself"


def _encoders(work: Work, model: str) -> list[str]:
    """The model of this name, or those that are fused in it."""
    return [model] if work.model(model).exists() else model.split("+")


def _same(found: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether single figures are those that were stored, but for how a processor rounds."""

    def same(one: Any, other: Any) -> bool:
        both = isinstance(one, float) and isinstance(other, float)
        return math.isclose(one, other, abs_tol=1e-6) if both else one == other

    return all(same(value, stored.get(name)) for name, value in found.items() if not isinstance(value, dict))


def _command(metrics: dict[str, Any], models: Sequence[str], config: MatchConfig) -> str:
    """What to type to make a comparison once more."""
    protocol, usual = metrics["protocol"], MatchConfig()
    if protocol == "cme":  # it goes by settings of its own
        sides = shlex.join(["--probe", metrics["probe"], "--gallery", metrics["gallery"]])
        published = " --as-published" * (config.exclude == "same-window")
        return f"`gaitreid match --protocol cme {sides} --name {shlex.quote(models[0].removesuffix('-cme'))}{published}`"
    options = [
        ("protocol", protocol, "plain"),
        ("probe", "FILE" if protocol == "gait3d" else metrics["probe"], "all"),
        ("gallery", metrics["gallery"], "all"),
        ("name", models[0], ""),
        *(("fuse", model, "") for model in models[1:]),
        *((key, getattr(config, key), getattr(usual, key)) for key in ("metric", "exclude", "unit", "top", "rerank")),
    ]
    words = [word for key, value, default in options if value != default for word in (f"--{key}", str(value))]
    return f"`gaitreid match {shlex.join(words)}`" + ", with the --training that it had" * (protocol in TRAINED)
