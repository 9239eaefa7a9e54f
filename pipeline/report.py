"""The report of one matching: a single HTML page that needs no network, and a script only to move its skeletons."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar

import jinja2
import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.reid.compare import ranking_tracks
from gaitreid.reid.match import Matches
from gaitreid.reid.metrics import chance_cmc, cmc, first_hits, roc
from gaitreid.reid.records import Embeddings

if TYPE_CHECKING:
    from gaitreid.pipeline.evidence import Pair

RANKS = 20  # of the curve
SHOWN = 10  # candidates a probe
PAGE, PAGES = 50, 20  # probes a table, and tables
CONFUSIONS = 10
OPEN = 2  # pairs of the evidence that are shown at once, of each kind
ROC_POINTS = 200


def render(
    metrics: Mapping[str, Any],
    matches: Matches,
    embeddings: Embeddings,
    *,
    notes: Iterable[str] = (),
    provenance: Mapping[str, str] | None = None,
    evidence: "Sequence[Pair]" = (),
) -> str:
    """The whole page.

    Args:
        metrics: what goes into metrics.json: `reid.metrics.evaluate`, and the names `protocol, probe, gallery, model`; where
            figures of it are means over views, `pooled` has those of the one search that the page draws.
        notes: what a reader must know to trust the figures, a sentence each.
        provenance: name -> value, shown at the end: version, seed, hashes.
        evidence: pairs to be looked at, as `pipeline.evidence.evidence` picks them.
    """
    probes = list(_probes(matches, embeddings))
    searched = metrics["pooled"] if metrics.get("pooled") else metrics  # headlines may be means over views, the rest is not
    return page("report.html.j2").render(
        m=metrics,
        searched=searched,
        mated=sum(p.first > 0 for p in probes),
        right=sum(p.first == 1 for p in probes),
        curve=_curve(matches, searched["ci95"]["rank1"]),
        pages=[probes[k : k + PAGE] for k in range(0, min(len(probes), PAGE * PAGES), PAGE)],
        more=max(len(probes) - PAGE * PAGES, 0),
        page_size=PAGE,
        columns=max(len(probe.candidates) for probe in probes),
        confusions=_confusions(probes),
        gallery_views=sorted({view for row in (metrics["by_view"] or {}).values() for view in row}),
        notes=[*notes, *_own_notes(metrics)],
        provenance=provenance or {},
        roc=_roc(matches, metrics["eer"]),
        evidence=[(kind, [(k, p) for k, p in enumerate(evidence) if p.kind == kind]) for kind in ("miss", "hit", "pair")],
        payload=_payload(evidence),
        open=OPEN,
    )


def page(template: str) -> jinja2.Template:
    """A template of this package; names from files are escaped."""
    folder = resources.files("gaitreid.pipeline")
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader
    )
    environment.filters |= {"percent": _percent, "figure": _figure}
    return environment.get_template(template)


@dataclass(frozen=True)
class Item:
    """A track (or a window of it) as the page names it."""

    video: str
    track: int
    subject: str
    distance: float = 0.0
    hit: bool = False

    @property
    def name(self) -> str:
        """Its subject, or where it is unknown, its place."""
        return self.subject or self.place

    @property
    def place(self) -> str:
        """Video and number of the track."""
        return f"{self.video} #{self.track}"


@dataclass(frozen=True)
class Probe:
    """One row of the table of ranks; `first` is the rank of the first match, 0 where there is none to be found."""

    item: Item
    first: int
    candidates: list[Item]


@dataclass(frozen=True)
class Curve:
    """A CMC in the coordinates of the drawing (480 x 300).

    Attributes:
        ranks: (rank, x, y, share, chance) of each rank.
        chance: points of the chance line.
        ticks: ranks that the axis names.
        interval: of rank 1, where it has one.
    """

    ranks: list[tuple[int, float, float, float, float]]
    chance: list[tuple[float, float]]
    ticks: list[tuple[int, float]]
    interval: tuple[float, float] | None

    LEFT: ClassVar = 52
    RIGHT: ClassVar = 468
    TOP: ClassVar = 12
    BOTTOM: ClassVar = 252

    @property
    def grid(self) -> list[tuple[int, float]]:
        """Per cent and height of the horizontal lines."""
        return grid_lines()


@dataclass(frozen=True)
class Roc:
    """An ROC in the coordinates of the drawing (480 x 300), the false accept rate on a logarithmic axis.

    Attributes:
        points: at most ROC_POINTS of its corners.
        chance: points of the line of those who toss a coin.
        ticks: rates that the axis names.
        equal: where the two errors are equal.
        genuine, impostors: pairs that it is counted over.
    """

    points: list[tuple[float, float]]
    chance: list[tuple[float, float]]
    ticks: list[tuple[str, float]]
    equal: tuple[float, float]
    genuine: int
    impostors: int

    LOWEST: ClassVar = 1e-3

    @property
    def grid(self) -> list[tuple[int, float]]:
        """Per cent and height of the horizontal lines."""
        return grid_lines()


def grid_lines() -> list[tuple[int, float]]:
    """Per cent and height of the horizontal lines of a drawing of shares."""
    return [(p, height(p / 100)) for p in range(0, 101, 20)]


def _probes(matches: Matches, embeddings: Embeddings) -> Iterator[Probe]:
    probe_tracks, found = ranking_tracks(matches.ranking, embeddings)
    firsts = first_hits(matches.hit_probe, matches.hit_rank, len(probe_tracks))
    for track, items, distances, first in zip(probe_tracks, found, matches.ranking.distance, firsts, strict=True):
        probe = item(embeddings, track)
        pairs = zip(items[:SHOWN], distances[:SHOWN], strict=True)
        candidates = [item(embeddings, row, float(distance), probe.subject) for row, distance in pairs if row >= 0]
        yield Probe(probe, int(first), candidates)


def item(embeddings: Embeddings, row: int, distance: float = 0.0, wanted: str = "") -> Item:
    """A track by its row; it is a hit where its subject is the one wanted."""
    subject = str(embeddings.subject[row])
    return Item(str(embeddings.video[row]), int(embeddings.track[row]), subject, distance, bool(wanted) and subject == wanted)


def _confusions(probes: list[Probe]) -> list[tuple[str, str, int, int, Probe]]:
    """Most frequent (subject, taken for, how often, of how many probes, an example) among wrong first ranks."""
    mated = [p for p in probes if p.first]
    total = Counter(p.item.subject for p in mated)
    wrong = [p for p in mated if p.first > 1 and p.candidates[0].subject]
    count = Counter((p.item.subject, p.candidates[0].subject) for p in wrong)
    example = {(p.item.subject, p.candidates[0].subject): p for p in reversed(wrong)}
    ordered = sorted(count.items(), key=lambda entry: (-entry[1], entry[0]))[:CONFUSIONS]
    return [(own, other, n, total[own], example[own, other]) for (own, other), n in ordered]


def _curve(matches: Matches, interval: list[float] | None) -> Curve | None:
    """The CMC and chance's, None where there are no two ranks to join."""
    first = first_hits(matches.hit_probe, matches.hit_rank, len(matches.subject))
    mated = first > 0
    ranks = min(RANKS, int(matches.compared.max(initial=0)))
    if not mated.any() or ranks < 2:
        return None
    hits = np.bincount(matches.hit_probe, minlength=len(first))
    shares, chances = cmc(first, ranks), chance_cmc(matches.compared[mated], hits[mated], ranks)
    x = np.linspace(Curve.LEFT, Curve.RIGHT, ranks)
    ranked = zip(range(1, ranks + 1), x.tolist(), map(height, shares.tolist()), shares.tolist(), chances.tolist(), strict=True)
    ticks = [k for k in range(1, ranks + 1) if k in (1, ranks) or k % 5 == 0]
    return Curve(
        ranks=list(ranked),
        chance=list(zip(x.tolist(), map(height, chances.tolist()), strict=True)),
        ticks=[(k, float(x[k - 1])) for k in ticks],
        interval=(height(interval[0]), height(interval[1])) if interval else None,
    )


def height(share: float) -> float:
    """Where a share is drawn, from the top."""
    return Curve.BOTTOM - share * (Curve.BOTTOM - Curve.TOP)


def _across(rate: FloatArray) -> FloatArray:
    """Where a false accept rate is drawn, from the left; those below the axis at its end."""
    share = 1 - np.log10(np.maximum(rate, Roc.LOWEST)) / np.log10(Roc.LOWEST)
    return np.asarray(Curve.LEFT + share * (Curve.RIGHT - Curve.LEFT))


def _roc(matches: Matches, equal: float | None) -> Roc | None:
    """The ROC over pairs, None where it is not defined."""
    far, tar = roc(matches.verification)
    if not len(far) or equal is None:
        return None
    first = max(int(np.searchsorted(far, Roc.LOWEST, "right")) - 1, 0)  # the last corner at or left of the axis
    x, y = _across(far[first:]), Curve.BOTTOM - tar[first:] * (Curve.BOTTOM - Curve.TOP)
    if len(x) > ROC_POINTS:  # evenly along the line, so that no bend is lost
        way = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], ROC_POINTS)))
        x, y = x[kept], y[kept]
    rates = np.logspace(np.log10(Roc.LOWEST), 0, 40)
    marks = np.array([0.001, 0.01, 0.1, 1])
    return Roc(
        points=list(zip(x.tolist(), y.tolist(), strict=True)),
        chance=list(zip(_across(rates).tolist(), map(height, rates.tolist()), strict=True)),
        ticks=[(f"{100 * mark:g} %", place) for mark, place in zip(marks.tolist(), _across(marks).tolist(), strict=True)],
        equal=(float(_across(np.array(equal))), height(1 - equal)),
        genuine=int(matches.verification.genuine[-1]),
        impostors=matches.verification.impostors,
    )


def _payload(evidence: "Sequence[Pair]") -> dict[str, Any] | None:
    """What the page's script draws from; it holds no name."""
    if not evidence:
        return None
    stage = evidence[0].stage
    return {
        "joints": stage.joints,
        "edges": stage.edges,
        "head": stage.head,
        "fps": stage.fps,
        "ahead": stage.ahead,
        "unit": stage.unit,
        "pairs": [[figure.xyz for figure in pair.figures] for pair in evidence],
    }


def _own_notes(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What the figures themselves show."""
    unit = metrics["unit"]
    if n := metrics["probes_unlabelled"]:
        yield f"The subject of {n} of {metrics['probes']} probe {unit}s is not known: they are ranked, and count in no figure."
    if n := metrics["probes_without_match"]:
        counts = "across views they count as wrong, else" if "rank1_dropped" in metrics else "they count"
        counts += " only as strangers"
        yield f"{n} of {metrics['probes']} probe {unit}s have no {unit} of their subject to find: {counts}."


def _percent(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _figure(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"
