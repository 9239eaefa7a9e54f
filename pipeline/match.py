"""Stage: vectors to `matches/PROBE-GALLERY/`: metrics.json, ranking.csv, ranking.h5 and report.html."""

import csv
from collections.abc import Iterator
from pathlib import Path

import yaml

from gaitreid import __version__
from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import replacing, sha256, write_json, write_text
from gaitreid.pipeline.report import render
from gaitreid.pipeline.train import DESCRIPTION
from gaitreid.pipeline.work import Work, provenance
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import CSV_COLUMNS, rank, ranking_rows
from gaitreid.reid.metrics import evaluate
from gaitreid.reid.records import Embeddings
from gaitreid.reid.select import select


def match(work: Work, config: MatchConfig, source: Path, probe: str, gallery: str, console: Console, *, seed: int) -> Path:
    """Rank the gallery for every probe and say how often it is right; the path of the report."""
    embeddings = store.read(source, "embeddings", Embeddings, "/embeddings")
    matches = rank(embeddings, select(embeddings, probe), select(embeddings, gallery), config)
    names = {"protocol": "plain", "probe": probe or "all", "gallery": gallery or "all", "model": embeddings.encoder}
    metrics = {**names, **evaluate(matches, seed=seed)}
    folder = work.match(probe, gallery)
    store.write(folder / "ranking.h5", "ranking", {"/ranking": matches.ranking}, provenance(config, sha256(source)))
    with replacing(folder / "ranking.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(CSV_COLUMNS)
        rows.writerows(ranking_rows(matches.ranking, embeddings))
    write_json(folder / "metrics.json", metrics)
    facts = {
        "gaitreid": __version__,
        "model": f"{embeddings.encoder}, SHA-256 {embeddings.weights[:16]}",
        "embeddings": f"SHA-256 {sha256(source)[:16]}",
        "seed": str(seed),
    }
    notes = list(_notes(work, embeddings, matches.subject.tolist()))
    report = write_text(folder / "report.html", render(metrics, matches, embeddings, notes=notes, provenance=facts))
    console.say(f"match: {names['probe']} against {names['gallery']}: {_line(metrics)}")
    for note in notes:
        console.say(f"match: note: {note}")
    console.say(f"match: {report}")
    return report


def _line(metrics: dict[str, object]) -> str:
    interval = metrics["ci95"]["rank1"] if isinstance(metrics["ci95"], dict) else None
    if not isinstance(metrics["rank1"], float):
        return f"{metrics['probes']} probes ranked; without labels there is no telling how often rightly"
    spread = f" (95 %: {interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    sizes = f"{metrics['probes']} probes, {metrics['gallery_items']} in the gallery"
    return f"Rank-1 {metrics['rank1']:.1%}{spread}, mAP {metrics['map']:.1%}, {sizes}"


def _notes(work: Work, embeddings: Embeddings, probes: list[str]) -> Iterator[str]:
    """What a reader must know to trust the figures."""
    path = work.model(embeddings.encoder) / DESCRIPTION
    trained = yaml.safe_load(path.read_text(encoding="utf-8")).get("subjects", []) if path.exists() else []
    shared = sorted({s for s in probes if s} & set(trained))
    if shared:
        share = f"{len(shared)} of the {len({s for s in probes if s})} probe subjects"
        yield f"the encoder was trained on unlabelled windows of {share}: for people it has never seen figures may be lower"
