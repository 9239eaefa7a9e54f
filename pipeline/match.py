"""Stage: vectors to `matches/PROBE-GALLERY/`: metrics.json, ranking.csv, ranking.h5 and report.html."""

import csv
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from gaitreid import __version__
from gaitreid.pipeline import store
from gaitreid.pipeline.checkpoints import DESCRIPTION
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.evidence import Frames, evidence
from gaitreid.pipeline.files import replacing, sha256, write_json, write_text
from gaitreid.pipeline.protocols import halves
from gaitreid.pipeline.report import render
from gaitreid.pipeline.searches import PROTOCOLS, SUBMITTED, Search, headline, searches, submission
from gaitreid.pipeline.train import how_taught
from gaitreid.pipeline.work import Work, provenance
from gaitreid.pose.errors import UsageError
from gaitreid.reid.compare import item_tracks
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import CSV_COLUMNS, Matches, rank, ranking_rows
from gaitreid.reid.metrics import evaluate
from gaitreid.reid.records import Embeddings, Sequences
from gaitreid.reid.select import select

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
        rank1 = json.loads((report.parent / "metrics.json").read_text(encoding="utf-8"))["rank1"]
        lines.append(f"{search.probe} {rank1:.1%}" if rank1 is not None else f"{search.probe} -")
    console.say(f"{protocol}: Rank-1 by probes: {', '.join(lines)}")
    return report


@dataclass(frozen=True, eq=False)
class _Run:
    """What the searches of one run share; `made_from` is the SHA-256 of the embeddings' file."""

    work: Work
    embeddings: Embeddings
    sequences: Sequences | None
    made_from: str
    console: Console
    seed: int
    protocol: str
    frames: Frames | None

    @classmethod
    def on(cls, work: Work, source: Path, console: Console, seed: int, protocol: str, frames: Frames | None) -> "_Run":
        """Read the embeddings, and the windows that they are of, where these are there."""
        embeddings = store.read(source, "embeddings", Embeddings, "/embeddings")
        sequences = None
        if work.sequences.exists():
            sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
        return cls(work, embeddings, sequences, sha256(source), console, seed, protocol, frames)

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
            metrics = {**metrics, **own, "ci95": {**metrics["ci95"], **own.get("ci95", {})}, "pooled": pooled}
        folder = work.match(search.probe, search.gallery, "" if protocol == "plain" else protocol)
        store.write(folder / "ranking.h5", "ranking", {"/ranking": matches.ranking}, provenance(config, self.made_from))
        with replacing(folder / "ranking.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(CSV_COLUMNS)
            rows.writerows(ranking_rows(matches.ranking, embeddings))
        if protocol == "grew":
            console.say(f"match: {submission(folder / 'submission.csv', matches, embeddings)}")
        write_json(folder / "metrics.json", metrics)
        facts = {
            "gaitreid": __version__,
            "model": f"{embeddings.encoder}, SHA-256 {embeddings.weights[:16]}",
            "embeddings": f"SHA-256 {self.made_from[:16]}",
            "seed": str(self.seed),
        }
        notes = [*search.notes, *_notes(work, embeddings, matches)]
        if search.holes:
            notes.append(f"{search.holes} recordings that the protocol has are not there: cells are shares of those that are")
        pairs = evidence(work, embeddings, matches, self.sequences, frames=self.frames) if self.sequences else []
        page = render(metrics, matches, embeddings, notes=notes, provenance=facts, evidence=pairs)
        report = write_text(folder / "report.html", page)
        frames = int((embeddings.window_frame[:, 1] - embeddings.window_frame[:, 0] + 1).sum()) // 2  # each is in two windows
        console.item("match", folder.name, "done", "", time.monotonic() - began, 0, frames)
        console.say(f"match: {names['probe']} against {names['gallery']}: {_line(metrics)}")
        for note in notes:
            console.say(f"match: note: {note}")
        console.say(f"match: {report}")
        return report


CME = (("nm", "nm"), ("bg", "bg"), ("cl", "cl"), ("cl", "nm"), ("bg", "nm"))  # probe, gallery
LEAK = (
    "as published: where probe and gallery are one condition the second nearest window counts, "
    "which may well overlap the probe; figures are too good"
)


def cme(session: "Session", name: str | None, *, as_published: bool) -> Path:
    """Condition-based matching (CAGE, section 4.1): half of the people train the encoder.

    The others are matched, window by window: frames concatenated, compared by Euclidean distance as they are. A probe is not
    compared with its own recording; as published only not with itself, so that windows that overlap it win.

    Returns:
        The path of the last report.
    """
    config, work = session.to_train(name or session.config.train.model), session.work
    session.split()
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    learnt, tested = halves(sequences, config.seed)
    selected = replace(config.train, select=f"subject={'|'.join(learnt)}")
    encoding = replace(config.encode, form="sc", whiten=0.0)
    rule: Any = "same-window" if as_published else "same-recording"
    matching = replace(config.match, unit="window", metric="euclidean", exclude=rule)
    other = replace(session, config=replace(config, train=selected, encode=encoding, match=matching))
    model = f"{name or config.train.model}-cme"
    other.train(model)
    embeddings = other.encode(model)
    pairs = [pair for pair in CME if set(pair) <= set(sequences.condition.tolist())]
    if not pairs:
        raise UsageError(
            f"cme compares the conditions nm, bg and cl; there are {', '.join(sorted(set(sequences.condition.tolist())))}"
        )
    report, lines = Path(), []
    for probe, gallery in pairs:
        among, notes = f"subject={'|'.join(tested)}", [LEAK] if as_published and probe == gallery else []
        report = match(
            work, matching, embeddings, probe, gallery, session.console,
            seed=config.seed, protocol="cme", among=among, notes=notes,
        )  # fmt: skip
        rank1 = json.loads((report.parent / "metrics.json").read_text(encoding="utf-8"))["rank1"]
        lines.append(f"{probe}-{gallery} {rank1:.1%}" if rank1 is not None else f"{probe}-{gallery} -")
    session.console.say(f"cme: Rank-1, probe-gallery, {len(tested)} people: {', '.join(lines)}")
    return report


def _line(metrics: dict[str, object]) -> str:
    interval = metrics["ci95"]["rank1"] if isinstance(metrics["ci95"], dict) else None
    if not isinstance(metrics["rank1"], float):
        why = "without labels" if metrics["probes_unlabelled"] == metrics["probes"] else "where nobody can be right or wrong"
        return f"{metrics['probes']} probes ranked; {why} there is no telling how often rightly"
    spread = f" (95 %: {interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    sizes = f"{metrics['probes']} probes, {metrics['gallery_items']} in the gallery"
    precision = f"{metrics['map']:.1%}" if isinstance(metrics["map"], float) else "-"
    return f"Rank-1 {metrics['rank1']:.1%}{spread}, mAP {precision}, {sizes}"


def _notes(work: Work, embeddings: Embeddings, matches: Matches) -> Iterator[str]:
    """What a reader must know to trust the figures."""
    probes = set(matches.subject.tolist()) - {""}
    encoders = [embeddings.encoder] if work.model(embeddings.encoder).exists() else embeddings.encoder.split("+")  # fused ones
    for name in encoders:
        description = _description(work, name)
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
            yield f"probe and gallery share {both} recordings (--exclude {config.exclude}): figures are too good"
            if config.unit == "window" and config.exclude in {"same-window", "nothing", "same-view"}:
                yield "windows of a recording overlap: the nearest may well hold frames of the probe itself"


def _description(work: Work, encoder: str) -> dict[str, Any]:
    path = work.model(encoder) / DESCRIPTION
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}) or {}
