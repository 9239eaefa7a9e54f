"""Protocols of matching: who is searched for among whom, and what the headline figures are means of.

The rules are those of OpenGait's evaluation, GREW's server and the papers; `docs/protocols.md` says them in words.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline.bounds import read_text
from gaitreid.pipeline.files import write_csv
from gaitreid.pose.arrays import BoolArray, IntArray, TextArray
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.reid.compare import ranking_tracks
from gaitreid.reid.config import Exclude
from gaitreid.reid.match import Matches
from gaitreid.reid.metrics import ViewCells, average_precision, bootstrap, first_hits, view_cells
from gaitreid.reid.records import Embeddings, Tracks

TRAINING = 74  # people of CASIA-B that train in `lt`; 24 and 62 are the other splits in use
TRAINED = ("lt", "cross-view")  # protocols in which so many people are not tested
SUBMITTED = 20  # ranks of GREW's file


@dataclass(frozen=True, eq=False)
class Search:
    """One set of probes and one gallery.

    Attributes:
        probe, gallery: short, for files and headings.
        probes, items: rows of tracks.
        exclude: gallery items that a probe is not compared with, as in `MatchConfig`.
        views: what the headline figures are means of: nothing (all probes alike), others (the other gallery views one by one,
            then probe views), or probes (probe views).
        holes: recordings that the protocol has and the data lack.
        notes: what a reader must know.
    """

    probe: str
    gallery: str
    probes: IntArray
    items: IntArray
    exclude: Exclude = "same-recording"
    views: str = ""
    holes: int = 0
    notes: tuple[str, ...] = ()


def searches(protocol: str, tracks: Tracks, training: int, probe: str, gallery: str) -> list[Search]:
    """The searches of a protocol on the tracks that are there.

    Args:
        training: people of CASIA-B, from the first, that are not tested (lt, cross-view).
        probe, gallery: those of the protocol to keep, such as the condition of lt's probes; empty is everything. Of gait3d
            `probe` is a list of probes.

    Raises:
        UsageError: the protocol does not exist, or the tracks lack what it goes by.
    """
    kept = "" if protocol == "gait3d" else probe
    made = PROTOCOLS[protocol](tracks, training, probe)
    named = [search for search in made if kept in ("", search.probe) and gallery in ("", search.gallery)]
    found = [search for search in named if len(search.probes)]
    if not found:
        asked = f" of {probe}" * bool(probe) + f" for the gallery {gallery}" * bool(gallery)
        raise UsageError(f"--protocol {protocol}: no probe is there{asked}; {_labels(tracks)}")
    if empty := [s for s in found if not len(s.items)]:
        raise EmptyError(f"--protocol {protocol}: the gallery {empty[0].gallery} is empty; {_labels(tracks)}")
    return found


def headline(search: Search, matches: Matches, seed: int) -> dict[str, Any]:
    """The figures in place of the plain ones, ready for JSON; empty where the plain ones are meant."""
    cells = view_cells(matches)
    if not search.views:
        return {"holes": search.holes}
    if cells is None:
        raise UsageError("this protocol compares views: the tracks have none (--labels, --pattern)")
    if search.views == "probes":
        return {"holes": search.holes, **_by_probe_view(matches, seed)}
    return {"holes": search.holes, **_across(cells, seed)}


def _across(cells: ViewCells, seed: int) -> dict[str, Any]:
    """Both readings: a probe whose person is not in the gallery view is wrong (OpenGait's), or is dropped."""
    count = cells.counts(dropped=False), cells.counts(dropped=True)
    return {
        **{f"rank{k}": cells.across(k, dropped=False) for k in (1, 5, 10)},
        "rank1_dropped": cells.across(1, dropped=True),
        "by_view": cells.table(dropped=False),
        "by_view_probes": {
            str(p): {str(g): [int(count[0][i, j]), int(count[1][i, j])] for j, g in enumerate(cells.gallery_views)}
            for i, p in enumerate(cells.probe_views)
        },
        "ci95": {
            **{f"rank{k}": cells.interval(k, dropped=False, seed=seed) for k in (1, 5, 10)},
            "rank1_dropped": cells.interval(1, dropped=True, seed=seed),
        },
    }


def _by_probe_view(matches: Matches, seed: int) -> dict[str, Any]:
    """Rank-k and mAP of each probe view, and the means of these."""
    first = first_hits(matches.hit_probe, matches.hit_rank, len(matches.subject))
    values = {f"rank{k}": (first <= k).astype(float) for k in (1, 5, 10)}
    values["map"] = average_precision(matches.hit_probe, matches.hit_rank, len(first))
    counted = (first > 0) & (matches.view != "")
    subject, view = matches.subject[counted], matches.view[counted]
    views = np.unique(view).tolist()
    table = {v: {name: float(x[counted][view == v].mean()) for name, x in values.items()} for v in views}
    if not views:  # nobody has anybody to be found by
        return {**dict.fromkeys(values), "by_probe_view": {}, "ci95": dict.fromkeys(values)}
    return {
        **{name: float(np.mean([row[name] for row in table.values()])) for name in values},
        "by_probe_view": table,
        "ci95": {name: bootstrap(x[counted], subject, groups=view, seed=seed) for name, x in values.items()},
    }


def submission(path: Path, matches: Matches, embeddings: Embeddings) -> Path:
    """GREW's file: videoId, rank1 ... rank20, the ids of the 20 nearest sequences, which may repeat."""
    probes, found = ranking_tracks(matches.ranking, embeddings)
    columns = ("videoId", *(f"rank{k}" for k in range(1, SUBMITTED + 1)))
    nearest = (embeddings.subject[items[items >= 0][:SUBMITTED]] for items in found)
    return write_csv(path, columns, ((embeddings.video[probe], *who) for probe, who in zip(probes, nearest, strict=True)))


def _lt(tracks: Tracks, training: int, probe: str) -> Iterator[Search]:
    """CASIA-B: gallery nm-01 to 04; probes nm-05 and 06, bg and cl."""
    tested, notes = _tested(tracks, training)
    number = _numbers(tracks)
    gallery = tested & (tracks.condition == "nm") & (number >= 1) & (number <= 4)
    for name, low, high in (("nm", 5, 6), ("bg", 1, 2), ("cl", 1, 2)):
        rows = tested & (tracks.condition == name) & (number >= low) & (number <= high)
        if rows.any():
            holes = _holes(tracks, rows, high - low + 1) + _holes(tracks, gallery, 4)
            yield Search(name, "nm", np.flatnonzero(rows), np.flatnonzero(gallery), views="others", holes=holes, notes=notes)


def _cross_view(tracks: Tracks, training: int, probe: str) -> Iterator[Search]:
    """CASIA-B: probes nm-01, bg-01 and cl-01; the gallery are nm-02, bg-02 and cl-02 of all views but the probe's own."""
    tested, notes = _tested(tracks, training)
    number = _numbers(tracks)
    gallery = tested & (number == 2)
    for name in ("nm", "bg", "cl"):
        rows = tested & (tracks.condition == name) & (number == 1)
        if rows.any():
            holes = _holes(tracks, rows, 1) + _holes(tracks, gallery, 3)
            yield Search(
                name, "all", np.flatnonzero(rows), np.flatnonzero(gallery),
                exclude="same-view", views="probes", holes=holes, notes=notes,
            )  # fmt: skip


def _ou_mvlp(tracks: Tracks, training: int, probe: str) -> Iterator[Search]:
    """OU-MVLP: test subjects are the even ones and 10307; probe sequence 00, gallery 01."""
    even = np.array([s.isdecimal() and (int(s) % 2 == 0 or int(s) == 10307) for s in tracks.subject.tolist()], dtype=np.bool_)
    notes: tuple[str, ...] = ()
    if not even.any():
        even, notes = np.asarray(tracks.subject != ""), ("no subject is one of OU-MVLP's test set: everybody is tested",)
    number = _numbers(tracks)
    rows, gallery = even & (number == 0), even & (number == 1)
    if rows.any():
        holes = _holes(tracks, rows, 1) + _holes(tracks, gallery, 1)
        yield Search("00", "01", np.flatnonzero(rows), np.flatnonzero(gallery), views="others", holes=holes, notes=notes)


def _gait3d(tracks: Tracks, training: int, probe: str) -> Iterator[Search]:
    """Gait3D: the probes are listed, the rest of the test set is the gallery; one search, no camera left out."""
    if not probe:
        raise UsageError("--protocol gait3d: --probe FILE names its list of probes (Gait3D.json, or lines id-camera-sequence)")
    listed, people = _probe_list(Path(probe))
    keys = ["-".join(key) for key in zip(tracks.subject.tolist(), tracks.view.tolist(), tracks.number.tolist(), strict=True)]
    pairs = zip(keys, tracks.video.tolist(), strict=True)
    rows = np.array([bool({key, video} & listed) for key, video in pairs], dtype=np.bool_)
    tested = np.isin(tracks.subject, sorted(people)) if people else np.asarray(tracks.subject != "")
    holes = len(listed - set(keys) - set(tracks.video.tolist()))
    yield Search("listed", "rest", np.flatnonzero(rows), np.flatnonzero(tested & ~rows), exclude="same-window", holes=holes)


def _grew(tracks: Tracks, training: int, probe: str) -> Iterator[Search]:
    """GREW: the gallery are sequences 01 and 02 of known people, the probes have no labels; where all have, 02 searches 01."""
    number, known = _numbers(tracks), np.asarray(tracks.subject != "")
    if (~known).any():
        gallery = known & ((number == 1) | (number == 2))
        yield Search("unlabelled", "gallery", np.flatnonzero(~known), np.flatnonzero(gallery), exclude="same-window")
    else:
        note = "all sequences are labelled: a check of one's own, sequences 02 among 01; GREW's server has the probes' names"
        yield Search("02", "01", np.flatnonzero(number == 2), np.flatnonzero(number == 1), exclude="same-window", notes=(note,))


PROTOCOLS: dict[str, Callable[[Tracks, int, str], Iterator[Search]]] = {
    "lt": _lt,
    "cross-view": _cross_view,
    "ou-mvlp": _ou_mvlp,
    "gait3d": _gait3d,
    "grew": _grew,
}

# Options of `match` that not every protocol takes, and those that do.
_ALL = ("plain", *PROTOCOLS)
TAKERS: dict[str, tuple[str, ...]] = {
    "--probe": (*_ALL, "cme"),
    "--gallery": (*_ALL, "cme"),
    "--encoder": _ALL,
    "--training": TRAINED,
    "--as-published": ("cme", "cve"),
    "--metric": _ALL,
    "--exclude": ("plain",),
    "--unit": tuple(protocol for protocol in _ALL if protocol != "grew"),
    "--top": (*_ALL, "cme"),
    "--form": _ALL,
    "--rerank": (*_ALL, "cme"),
    "--fuse": _ALL,
    "--frames": (*_ALL, "cme"),
}
# Settings that are named on the command line are taken at their word as well; those of a file are for many commands.
TAKERS |= {f"--set match.{name}": TAKERS[f"--{name}"] for name in ("metric", "exclude", "unit", "top", "rerank")}
TAKERS |= {f"--set {name}": _ALL for name in ("encode.form", "encode.whiten")}


def check_options(protocol: str, options: Iterable[str]) -> None:
    """Raises: UsageError: the protocol has no use for one of these options of `match`, or settings (`--set match.metric`)."""
    for option in options:
        takers = TAKERS.get(option, (protocol,))
        if protocol not in takers:
            names = " and ".join(filter(None, (", ".join(takers[:-1]), takers[-1])))
            raise UsageError(f"{option} is for --protocol {names}, {protocol} has no use for it: leave it away")


def _tested(tracks: Tracks, training: int) -> tuple[BoolArray, tuple[str, ...]]:
    """Whether each track is of a test subject: those numbered above `training`, or everybody where there are none."""
    after = np.array([s.isdecimal() and int(s) > training for s in tracks.subject.tolist()], dtype=np.bool_)
    if after.any():
        return after, ()
    return np.asarray(tracks.subject != ""), (f"no subject is numbered above {training}: everybody is tested",)


def _numbers(tracks: Tracks) -> IntArray:
    """Number of each sequence, -1 where there is none."""
    return np.array([int(n) if n.isdecimal() else -1 for n in tracks.number.tolist()], dtype=np.int64)


def _holes(tracks: Tracks, rows: BoolArray, sequences: int) -> int:
    """Of `sequences` recordings of every subject in every view, how many are not there."""
    subjects, views = (np.unique(column[rows]) for column in (tracks.subject, tracks.view))
    columns = (tracks.subject, tracks.condition, tracks.number, tracks.view)
    there: TextArray = np.unique(np.stack([column[rows] for column in columns]), axis=1)
    return max(len(subjects) * len(views) * sequences - int(there.shape[1]), 0)


def _probe_list(path: Path) -> tuple[set[str], set[str]]:
    """Names of probes, and test subjects where the list says them, from OpenGait's JSON or a line each."""
    try:
        text = read_text(path)
        if path.suffix != ".json":
            return {line.strip() for line in text.splitlines() if line.strip()}, set()
        facts = json.loads(text)
        return {str(name) for name in facts["PROBE_SET"]}, {str(name) for name in facts.get("TEST_SET", [])}
    except (FormatError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--probe {path}: is no list of probes ({error})") from error


def _labels(tracks: Tracks) -> str:
    conditions, numbers = (", ".join(repr(v) for v in np.unique(c).tolist()[:12]) for c in (tracks.condition, tracks.number))
    return f"the tracks have the conditions {conditions} and the numbers {numbers}"
