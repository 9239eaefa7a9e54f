"""Which recordings are learnt from and which are tested on, by the protocols of the papers (CAGE, section 4.1)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from gaitreid.pose.arrays import BoolArray, IntArray
from gaitreid.pose.errors import UsageError
from gaitreid.reid.config import RecogniseConfig
from gaitreid.reid.records import Tracks
from gaitreid.reid.select import any_of, select


@dataclass(frozen=True)
class Fold:
    """One training and one test set, as selectors.

    Attributes:
        name: short, for files; empty where there is but one fold.
        note: what a reader must know of it.
    """

    name: str
    train: str
    test: str
    note: str = ""


def folds(protocol: str, tracks: Tracks, config: RecogniseConfig, seed: int) -> list[Fold]:
    """The folds of a protocol on the tracks that are there.

    Raises:
        UsageError: the protocol is unknown, or the tracks lack what it splits by.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{protocol}': there are {', '.join(PROTOCOLS)}")
    found = list(PROTOCOLS[protocol](tracks, config, seed))
    for fold in found:
        select(tracks, fold.train)
        select(tracks, fold.test)
    return found


def halves(tracks: Tracks, seed: int, published: int = 62) -> tuple[list[str], list[str]]:
    """CME: people drawn for training and the others, half and half (62 of CASIA-B's 124)."""
    people = sorted(set(tracks.subject.tolist()) - {""})
    if len(people) < 4:
        raise UsageError(f"cme: {len(people)} people are there, it takes 4 or more: half of them train the encoder")
    drawn = np.random.default_rng(seed).permutation(len(people))
    count = min(published, len(people) // 2)
    return sorted(people[k] for k in drawn[:count]), sorted(people[k] for k in drawn[count:])


def _biwi(tracks: Tracks, config: RecogniseConfig, seed: int) -> Iterator[Fold]:
    shared = _in_both(tracks, "training", "walking")
    yield Fold("", f"condition=training,{shared}", f"condition=walking,{shared}")


def _ias(tracks: Tracks, config: RecogniseConfig, seed: int) -> Iterator[Fold]:
    for letter in "ab":
        yield Fold(f"ias-{letter}", "condition=training", f"condition=testing-{letter}")


def _kgbd(tracks: Tracks, config: RecogniseConfig, seed: int) -> Iterator[Fold]:
    rng = np.random.default_rng(seed)
    test = [rng.choice(videos) for videos in _groups(tracks, tracks.subject.tolist()).values() if len(videos) > 1]
    yield _by_video(tracks, test, "one recording of each person, drawn by the seed, is tested on")


def _ks20_random(tracks: Tracks, config: RecogniseConfig, seed: int) -> Iterator[Fold]:
    rng = np.random.default_rng(seed)
    groups = _groups(tracks, list(zip(tracks.subject.tolist(), tracks.view.tolist(), strict=True)))
    test = [rng.choice(videos) for videos in groups.values() if len(videos) > 1]
    yield _by_video(tracks, test, "of each person and view one recording, drawn by the seed, is tested on")


def _ks20_views(tracks: Tracks, config: RecogniseConfig, seed: int) -> Iterator[Fold]:
    views = _views(tracks)
    for view in views:
        yield Fold(view, any_of("view", (v for v in views if v != view)), any_of("view", [view]))


def _cve(tracks: Tracks, config: RecogniseConfig, seed: int) -> Iterator[Fold]:
    views = _views(tracks)
    angles = all(view.isdecimal() for view in views)
    views.sort(key=lambda view: int(view) if angles else 0)  # names stay in their order
    for place, view in enumerate(views):
        near = [
            views[k] for k in range(place - config.adjacent, place + config.adjacent + 1) if k != place and 0 <= k < len(views)
        ]
        note = "the paper says only that adjacent views are trained on: here those on both sides, one at the ends"
        if not angles:
            note += "; views are not called by angles: they count as adjacent in the order of their names"
        yield Fold(view, any_of("view", near), any_of("view", [view]), note)


PROTOCOLS: dict[str, Callable[[Tracks, RecogniseConfig, int], Iterator[Fold]]] = {
    "biwi": _biwi,
    "ias": _ias,
    "kgbd": _kgbd,
    "ks20-rs": _ks20_random,
    "ks20-cvs": _ks20_views,
    "cve": _cve,
}


def _views(tracks: Tracks) -> list[str]:
    views = sorted(set(tracks.view.tolist()) - {""})
    if len(views) < 2:
        raise UsageError(f"this protocol compares views; the tracks have {', '.join(views) or 'none'}")
    return views


def _groups(tracks: Tracks, keys: list[str] | list[tuple[str, str]]) -> dict[object, list[str]]:
    """Videos by key, known subjects only, in order."""
    result: dict[object, list[str]] = {}
    for key, subject, video in zip(keys, tracks.subject.tolist(), tracks.video.tolist(), strict=True):
        if subject and video not in result.setdefault(key, []):
            result[key].append(video)
    return dict(sorted(result.items(), key=lambda item: str(item[0])))


def _by_video(tracks: Tracks, test: list[str], note: str) -> Fold:
    if not test:
        raise UsageError("nobody has two recordings: there is nothing to leave out")
    rest = sorted(set(tracks.video[tracks.subject != ""].tolist()) - set(test))
    return Fold("", any_of("video", rest), any_of("video", sorted(test)), note)


def _in_both(tracks: Tracks, one: str, other: str) -> str:
    """Selector of the subjects that two conditions share: 28 of BIWI's 50 were recorded again."""
    subjects = [set(tracks.subject[select(tracks, f"condition={c}")].tolist()) - {""} for c in (one, other)]
    shared = sorted(subjects[0] & subjects[1])
    if not shared:
        raise UsageError(f"no subject has both conditions, {one} and {other}")
    return any_of("subject", shared)


def held_out(recording: list[str], subject: IntArray) -> BoolArray:
    """For `--select val`: whether each track is held out, the last recording of everybody who has two or more (K,)."""
    result = np.zeros(len(recording), dtype=np.bool_)
    names = np.array(recording)
    for who in np.unique(subject):
        own = np.unique(names[subject == who])
        if len(own) > 1:
            result[(subject == who) & (names == own[-1])] = True
    return result
