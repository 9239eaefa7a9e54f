"""Stage: closed sets. A recogniser learns who is who from encoded windows and is tested on others: `recognition/NAME/`.

metrics.json   figures of every fold and their means; confusion.csv  truth by answer; report.html  the same to look at
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid import __version__
from gaitreid.pipeline import store
from gaitreid.pipeline.bounds import file_name
from gaitreid.pipeline.checkpoints import LOG, read_description
from gaitreid.pipeline.config import Config, as_dict
from gaitreid.pipeline.console import Console, counted, few
from gaitreid.pipeline.encode import prepared
from gaitreid.pipeline.figures import Fact, attention_of, render
from gaitreid.pipeline.files import write_csv, write_json, write_text
from gaitreid.pipeline.protocols import Fold, folds, held_out
from gaitreid.pipeline.train import device, how_taught, is_trained, load, train, windows_known_to
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray
from gaitreid.pose.errors import EmptyError, UsageError
from gaitreid.reid.config import RecogniseConfig
from gaitreid.reid.identification import Identification
from gaitreid.reid.records import Sequences
from gaitreid.reid.select import select

LEAKS = "as published: the epoch is chosen on the test set, weights are drawn from N(0, 1), inputs are not scaled, and "
OF_WINDOWS = "figures are of windows"
SHOWN = 5  # names in a note


@dataclass(frozen=True, eq=False)
class Outcome:
    """One fold: windows, and whole tracks (scores of their windows averaged)."""

    fold: Fold
    model: str
    notes: tuple[str, ...]
    windows: Identification
    tracks: Identification
    epoch: int | None
    attention: dict[str, FloatArray]


def recognise(
    work: Work,
    config: Config,
    model: str,
    console: Console,
    *,
    protocol: str,
    train_on: str,
    test_on: str,
    as_published: bool,
    adopted: bool = False,
) -> Path:
    """Teach and test; the path of the report.

    With a protocol each fold's encoder is trained on the fold's training set; else, and where the model is adopted from elsewhere
    (transfer), it is used as it is (and trained on the training selector where there is none).

    Raises:
        UsageError: no training and test set is named, or both a protocol and one of them, or they share windows.
        EmptyError: nobody of the training set is in the test set.
    """
    if protocol and (train_on or test_on):
        raise UsageError(
            f"recognise: --protocol {protocol} says what is learnt from and tested on: leave --train and --test away"
        )
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    if protocol:
        parts = folds(protocol, sequences, config.recognise, config.seed)
    elif train_on and test_on:
        parts = [Fold("", train_on, test_on)]
    else:
        raise UsageError("recognise: name --protocol, or both --train and --test")
    if as_published:
        config = replace(config, recognise=replace(config.recognise, select="oracle-test"))
    outcomes = []
    for part in parts:
        name = model if adopted else "-".join(filter(None, (model, protocol, file_name(part.name))))
        fitted = replace(config, train=replace(config.train, select=part.train))
        if not adopted and (protocol or not is_trained(work, name)):
            train(work, fitted, name, console)
        outcomes.append(_one(work, config, name, part, as_published))
        right = outcomes[-1].tracks.rank == 1
        console.say(f"recognise: {part.name or 'all'}: Rank-1 {right.mean():.1%} of {counted(len(right), 'tracks')}")
    return _write(work, config, model, protocol, outcomes, as_published, console)


def _one(work: Work, config: Config, name: str, part: Fold, as_published: bool) -> Outcome:
    from gaitreid.reid.encode import encode
    from gaitreid.reid.recognise import Network, fit, pool_scores, recogniser, score

    encoder, _, sequences = prepared(work, name)
    train_windows, test_windows = (_windows(sequences, selector) for selector in (part.train, part.test))
    if (train_windows & test_windows).any():
        raise UsageError(f"recognise: '{part.train}' and '{part.test}' share windows: what is tested must not be learnt")
    subjects = np.unique(sequences.subject[sequences.window_track[train_windows]])
    if len(subjects) < 2:
        raise UsageError(f"recognise: '{part.train}' has {len(subjects)} known people, and it takes two to tell one from another")
    label = np.searchsorted(subjects, sequences.subject).clip(max=len(subjects) - 1)
    of_test = sequences.subject[sequences.window_track[test_windows]]
    strangers = sorted(set(of_test.tolist()) - set(subjects.tolist()))
    test_windows &= np.isin(sequences.subject, subjects)[sequences.window_track]
    if not test_windows.any():
        raise EmptyError(f"recognise: nobody of '{part.train}' is in '{part.test}'")
    settings, manner = config.recognise, config.recognise.manner
    chosen = np.flatnonzero(train_windows | test_windows)
    starts, where = sequences.start[chosen], device(config.device)
    found = encode(encoder, sequences.xyz, starts, sequences.length, "frames", config.encode.batch, where)
    features = np.zeros((len(sequences.start), *found.shape[1:]), dtype=np.float32)
    features[chosen] = found
    of_window = label[sequences.window_track]
    one = recogniser(settings, len(subjects), seed=config.seed, published=as_published)
    learn = train_windows
    epoch = None
    if isinstance(one, Network) and settings.select != "last":
        judged = test_windows
        if settings.select == "val":
            taught = np.unique(sequences.window_track[train_windows])
            out = np.isin(sequences.window_track, taught[held_out(sequences.recording[taught].tolist(), label[taught])])
            learn, judged = train_windows & ~out, train_windows & out
            if not judged.any():
                raise EmptyError("--select val: nobody has two recordings in the training set: take last")
        epoch, scores = _best_epoch(one, features, of_window, learn, judged, test_windows, manner)
    else:
        fit(one, features[learn], of_window[learn], manner)
        scores = score(one, features[test_windows], manner)
    track = sequences.window_track[test_windows]
    pooled, tracks = pool_scores(scores, track)
    return Outcome(
        part,
        name,
        (_note(work, name, sequences, test_windows), _left_out(part, strangers)),
        Identification(scores, of_window[test_windows], subjects),
        Identification(pooled, label[tracks], subjects),
        epoch,
        _attentions(work, name, encoder, sequences),
    )


def _attentions(work: Work, name: str, encoder: Any, sequences: Sequences) -> dict[str, FloatArray]:
    """What the model looks at, and beside it models of the folder that differ in the kind of attention alone, as BAS and LAS."""
    found = attention_of(encoder, sequences)
    own = _but_for_attention(work.model(name))
    for folder in sorted(work.model(name).parent.iterdir()) if found and own else ():
        if folder.name != name and is_trained(work, folder.name) and _but_for_attention(folder) == own:
            for kind, attention in attention_of(load(folder)[0], sequences).items():
                found.setdefault(kind, attention)
    return found


def _but_for_attention(folder: Path) -> dict[str, Any]:
    """What a model was trained on and how; empty where it has no attention, or is not of windows."""
    described = read_description(folder)
    options = described.get("options")
    if not isinstance(options, dict) or "attention" not in options or "sequences" not in described:
        return {}
    return described | {"options": {key: value for key, value in options.items() if key != "attention"}}


def _best_epoch(
    one: Any, features: FloatArray, label: IntArray, learn: BoolArray, judged: BoolArray, test: BoolArray, manner: Any
) -> tuple[int, FloatArray]:
    """The epoch at which most of the judged windows are right, the first of equals, and its scores of the test windows."""
    from gaitreid.reid.recognise import rows, score

    repeat = features.shape[1] if manner == "ap" else 1
    best: tuple[float, int, FloatArray] = (-1.0, 0, np.empty(0))
    for epoch in one.epochs(rows(features[learn], manner), np.repeat(label[learn], repeat)):
        right = float((score(one, features[judged], manner).argmax(axis=1) == label[judged]).mean())
        if right > best[0]:
            best = (right, epoch, score(one, features[test], manner))
    return best[1], best[2]


def _note(work: Work, name: str, sequences: Sequences, tested: BoolArray) -> str:
    """What a reader must know of an encoder that was there before: whether it has seen what is tested."""
    description = read_description(work.model(name))
    learnt = windows_known_to(description, sequences, work)
    if learnt is None:
        people = set(sequences.subject[sequences.window_track[tested]].tolist())
        shared = people & set(description.get("subjects", []))
        called = f"people who are called like {len(shared)} of the {len(people)} that are tested"
        seen = f"{called}: if they are the same," if shared else ""
    else:
        tracks = np.unique(sequences.window_track[tested])
        count = int(np.isin(tracks, sequences.window_track[learnt]).sum())
        seen = f"{count} of the {counted(len(tracks), 'tracks')} that are tested:" if count else ""
    return f"the encoder was trained on {how_taught(description)} of {seen} figures are too good" if seen else ""


def _left_out(part: Fold, strangers: list[str]) -> str:
    """What a reader must know of people who are only in the test set, of whom a closed set has no name."""
    if not strangers:
        return ""
    of = f" ({part.name})" if part.name else ""
    return f"people of the test set{of} who are not in the training set are left out ({len(strangers)}): {few(strangers, SHOWN)}"


def _windows(sequences: Sequences, selector: str) -> BoolArray:
    """Windows of known subjects that a selector means (N,)."""
    chosen = np.isin(sequences.window_track, select(sequences, selector))
    return np.asarray(chosen & (sequences.subject != "")[sequences.window_track], dtype=np.bool_)


def _write(
    work: Work, config: Config, model: str, protocol: str, outcomes: list[Outcome], as_published: bool, console: Console
) -> Path:
    settings, folder = config.recognise, work.recognition(model)
    unit = "window" if as_published else "track"
    found = [(o, o.windows if as_published else o.tracks) for o in outcomes]
    each = {
        o.fold.name or "all": {
            "train": o.fold.train,
            "test": o.fold.test,
            "epoch": o.epoch,
            **of.figures(config.seed),
            "windows": o.windows.figures(config.seed),
        }
        for o, of in found
    }
    notes = _notes(outcomes, settings, as_published)
    means = {key: float(np.mean([fold[key] for fold in each.values()])) for key in ("rank1", "rank5", "rank10", "nauc_cmc")}
    metrics = {
        "protocol": protocol or "plain",
        "model": model,
        "recogniser": settings.recogniser,
        "manner": settings.manner,
        "select": settings.select,
        "as_published": as_published,
        "unit": unit,
        **means,
        "notes": notes,
        "folds": each,
    }
    write_json(folder / "metrics.json", metrics)
    write_csv(folder / "confusion.csv", ("fold", "truth", "answer", "count"), _confusions(found))
    pages = [
        Fact(
            name=o.fold.name or "all",
            figures=each[o.fold.name or "all"],
            found=of,
            losses=_losses(work.model(o.model) / LOG),
            attention=o.attention,
        )
        for o, of in found
    ]
    facts = {"gaitreid": __version__, "model": model, "recogniser": json.dumps(as_dict(settings)), "seed": str(config.seed)}
    report = write_text(folder / "report.html", render(metrics, pages, notes=notes, provenance=facts))
    console.say(f"recognise: Rank-1 {means['rank1']:.1%}, nAUC {means['nauc_cmc']:.1%} ({unit}s, mean of {len(each)} folds)")
    for note in notes:
        console.say(f"recognise: note: {note}")
    console.say(f"recognise: {report}")
    return report


def _notes(outcomes: list[Outcome], settings: RecogniseConfig, as_published: bool) -> list[str]:
    """What a reader must know to trust the figures."""
    notes = sorted({note for o in outcomes for note in (o.fold.note, *o.notes) if note})
    network = settings.recogniser == "rn"  # the others know no epochs
    if as_published:
        notes.append(LEAKS + OF_WINDOWS if network else f"as published: {OF_WINDOWS}")
    elif network and settings.select == "oracle-test":
        notes.append("official protocol: the epoch was chosen on the test set, so the figures are too good")
    return notes


def _confusions(found: list[tuple[Outcome, Identification]]) -> Iterator[tuple[object, ...]]:
    """Rows of confusion.csv: who was taken for whom, and how often."""
    for o, of in found:
        for row, column in zip(*np.nonzero(of.confusion), strict=True):
            yield o.fold.name, of.subjects[row], of.subjects[column], of.confusion[row, column]


def _losses(path: Path) -> dict[str, list[float]]:
    """Loss curves by name."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: [line[name] for line in lines] for name in lines[0] if name != "epoch"} if lines else {}
