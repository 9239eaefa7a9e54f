"""Stage: all of `pose3d/` to windows in `sequences.h5`."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import digest
from gaitreid.pipeline.index import Index
from gaitreid.pipeline.labels import FIELDS, Labels
from gaitreid.pipeline.work import Work, is_current, provenance
from gaitreid.pose.errors import EmptyError, ItemError, UsageError
from gaitreid.pose.records import Silhouettes, Track2D, Track3D
from gaitreid.pose.skeleton import Skeleton
from gaitreid.reid.records import Sequences
from gaitreid.reid.windows import SplitConfig, Windows, join, split_track


def split(work: Work, config: SplitConfig, console: Console) -> Path:
    """Cut every lifted track into normalised windows.

    Raises:
        EmptyError: no track gave a window.
        UsageError: the lifted files hold different skeletons.
    """
    stems = work.stems("pose3d")
    if not stems and work.sequences.exists() and "imported" in store.attributes(work.sequences, "sequences"):
        return work.sequences  # windows that came as windows
    index = Index(work)
    made_from = made_of(work, index, stems)
    index.save()
    if is_current(work.sequences, "sequences", config, made_from):
        return work.sequences
    began, read = time.monotonic(), sum(work.pose3d(stem).stat().st_size for stem in stems)
    windows: list[Windows] = []
    rows: list[dict[str, str | int]] = []
    left_out: Counter[str] = Counter()
    skeletons: set[Skeleton] = set()
    for stem in stems:
        tracks = {int(name): track for name, track in store.read_all(work.pose3d(stem), "pose3d", Track3D).items()}
        attributes = store.attributes(work.pose3d(stem), "pose3d")
        of_video = Labels(**{name: str(attributes[name]) for name in FIELDS})
        labels = labels_of(tracks, of_video)
        for number, track in tracks.items():
            try:
                windows.append(split_track(track, config))
            except ItemError as error:
                left_out[error.reason] += 1
                console.detail(f"split: {stem} track {number}: {error.reason}: {error}")
                continue
            skeletons.add(track.skeleton)
            rows.append({"video": stem, "track": number, "recording": of_video.recording(stem), **labels[number].as_dict()})
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    if not windows:
        raise EmptyError(
            f"no window of {config.length} frames came out of {counted(len(stems), 'videos')} ({reasons or 'no tracks'})"
        )
    if len(skeletons) > 1:
        raise UsageError(f"pose3d/ holds several skeletons ({', '.join(s.name for s in skeletons)}): run `gaitreid lift` again")
    sequences = _sequences(windows, rows, config, skeletons.pop())
    store.write(
        work.sequences,
        "sequences",
        {"/sequences": sequences},
        {**provenance(config, made_from), "left_out": json.dumps(left_out)},
    )
    console.item("split", work.sequences.name, "done", "", time.monotonic() - began, read, len(sequences.xyz))
    note = f", left out: {reasons}" if reasons else ""
    console.say(
        f"split: {counted(len(sequences.start), 'windows')} of {config.length} frames from {counted(len(rows), 'tracks')}{note}"
    )
    return work.sequences


def made_of(work: Work, index: Index, stems: Sequence[str]) -> str:
    """SHA-256 of what windows are made from: all lifted files, by name.

    Raises:
        FormatError: one of them cannot be read.
    """
    return digest(f"{stem} {index.known(work.pose3d(stem), 'pose3d').sha256}" for stem in stems)


def labels_of(tracks: Mapping[int, Track3D | Track2D | Silhouettes], labels: Labels) -> dict[int, Labels]:
    """Labels of a video's tracks.

    A video's name says who walks in it, and two people at once are not the same person: so the label goes to the longest
    track and to those that do not overlap in time with one that has it; the others stay unnamed.
    """
    result: dict[int, Labels] = {}
    named: list[Track3D | Track2D | Silhouettes] = []
    for number, track in sorted(tracks.items(), key=lambda item: (-len(item[1].frame), item[0])):
        at_once = any(track.frame[0] <= other.frame[-1] and other.frame[0] <= track.frame[-1] for other in named)
        result[number] = Labels(condition=labels.condition, view=labels.view) if at_once else labels
        if not at_once:
            named.append(track)
    return result


def _sequences(windows: list[Windows], rows: list[dict[str, str | int]], config: SplitConfig, skeleton: Skeleton) -> Sequences:
    columns: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Sequences(
        **join(windows), **columns, length=config.length, fps=config.fps or 0.0, normalize=config.normalize, skeleton=skeleton
    )
