"""Videos to vectors of the people in them, outside the stages: for a gallery, and for those who are to be named.

Poses are kept below the work folder, in `clips/`, under the video's name and content, so that a video is posed once, and in
`pose2d/` where `gaitreid extract` has put them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gaitreid.pipeline import shipped, store
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.encode import in_joints, whitening
from gaitreid.pipeline.extract import Job, check, decides, extract_one, find_videos, hashed, known, lost
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.jobs import Failure, Summary, each
from gaitreid.pipeline.labels import FIELDS, Labels
from gaitreid.pipeline.lift import lifter_of
from gaitreid.pipeline.train import WEIGHTS, device, load, skeleton_of
from gaitreid.pipeline.walks import walk
from gaitreid.pipeline.work import Work, is_current
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.lift import lift
from gaitreid.pose.records import Silhouettes, Track2D
from gaitreid.reid.whiten import whiten
from gaitreid.reid.windows import SplitConfig, split_track

if TYPE_CHECKING:
    from gaitreid.reid.beside import Beside


@dataclass(frozen=True, eq=False)
class Seen:
    """Somebody in a video.

    Attributes:
        vector: (D,), the mean over their windows.
        windows: how many.
    """

    number: int
    track: Track2D
    vector: FloatArray
    windows: int


@dataclass(frozen=True, eq=False)
class Clip:
    """A video and those in it who walk long enough; `source` is its SHA-256."""

    path: Path
    source: str
    people: list[Seen]


class Recogniser:
    """A trained encoder, ready to turn tracks into vectors; the one that ships also beside images of silhouettes.

    Attributes:
        name: of the model, and `weights` the SHA-256 of its weights.
        split: how tracks are cut: as those were that it was trained on.
        cohort: vectors of people that it was trained on, one each (C, D); none where the model has none, or form is sc.
        parts, context: as of `Embeddings`.
        pose, lifter: what poses and lifts, as of `Gallery`.
        beside: what joins a vector with images of the same walk; none where skeletons count alone.
    """

    def __init__(self, folder: Path, name: str, config: Config) -> None:
        self.name, self.config = name, config
        self.encoder, self.moments, description = load(folder)
        self.weights = sha256(folder / WEIGHTS)
        self.pose, self.lifter = _without_folders(config.extract.pose), _without_folders(config.lift.lifter)
        self.skeleton = skeleton_of(description)
        facts = {key: description[key] for key in ("length", "normalize")}
        self.split: SplitConfig = replace(config.split, **facts, fps=description["fps"] or None)
        self.form = config.encode.form
        self.power = whitening(config.encode, self.encoder)
        if config.match.learns:
            raise UsageError(
                f"a gallery that people join has no use for match.metric {config.match.metric}, which `match` learns"
            )
        self.metric = config.match.plain
        cohort = self.moments.cohort
        if cohort is None or self.form != "mean":
            cohort = np.empty((0, len(self.moments.mean)), dtype=np.float32)
        self.cohort = self._whitened(cohort)
        self.parts, self.context = 1, 0
        self.beside: Beside | None = None
        if name == shipped.BOTH:
            self.beside, self.cohort = shipped.beside()
            self.parts, self.context, self.metric = self.beside.parts, self.beside.context, shipped.OPEN
            self.weights = digest([self.weights, sha256(folder / shipped.COHORT)])

    def vector(self, track: Track2D, masks: Silhouettes | None = None, width: float = 0.0) -> tuple[FloatArray, int]:
        """Of a track: the mean over its windows, (D,), and how many there are.

        Args:
            masks, width: its silhouettes, if there are any, and the width of the picture, for images beside it.

        Raises:
            ItemError: the track cannot be lifted, or is too short for a window; `not-finite`: the encoder makes no numbers of it.
        """
        from gaitreid.reid.encode import encode

        make = partial(lifter_of, device=self.config.device, trust_config=self.config.lift.trust_config)
        lifted = lift(track, self.config.lift, make)
        windows = split_track(lifted, self.split)
        frames = in_joints(windows.xyz, lifted.skeleton, self.skeleton)
        where = device(self.config.device)
        vectors = encode(self.encoder, frames, windows.start, self.split.length, self.form, self.config.encode.batch, where)
        vector = np.asarray(self._whitened(vectors).mean(axis=0), dtype=np.float32)
        if not np.isfinite(vector).all():  # a gallery with such a vector could not be read again
            raise ItemError("not-finite", f"the encoder '{self.name}' makes no finite numbers of it: train it again")
        if self.beside:
            vector = self.beside.join(vector, self._images(self.beside, track, masks, width))
        return vector, len(vectors)

    def _images(self, beside: "Beside", track: Track2D, masks: Silhouettes | None, width: float) -> FloatArray | None:
        """None where no frame has a silhouette."""
        import torch

        from gaitreid.reid.walks import Packed

        if masks is None or not len(masks.frame):
            return None
        packed = walk(masks, track, width, self.config.pack)
        return beside.images(Packed(packed, torch.device("cpu")).walk(0)) if packed.outlined[0] else None

    def _whitened(self, vectors: FloatArray) -> FloatArray:
        return whiten(vectors, self.moments, self.power) if self.power else vectors


def _without_folders(name: str) -> str:
    """An estimator or a lifter with its argument, such as `mmpose:FILE,FILE`: files may lie elsewhere on another machine."""
    base, colon, argument = name.partition(":")
    return base + colon + ",".join(Path(part).name for part in argument.split(","))


def clips(
    work: Work, videos: Sequence[Path], recogniser: Recogniser, console: Console, summary: Summary, *, jobs: int = 1
) -> Iterator[Clip]:
    """The people of each video, as the videos are done; those in which nobody walks are named, and noted in `summary`.

    Raises:
        UsageError: a path does not exist.
        EmptyError: there is no video.
    """
    tasks = _jobs(work, videos, recogniser, console, summary)
    every = [job for job, _ in tasks.values()]
    with console.progress("people", len(every), "videos") as progress:
        outcomes = each(extract_one, every, jobs, known=known, lost=lost, limits=recogniser.config.limits)
        for count, outcome in enumerate(outcomes, 1):
            job, source = tasks[outcome.stem]
            people = []
            if outcome.reason:
                summary.failed.append(Failure(str(job.video), outcome.reason, outcome.line))
                console.error(f"{job.video}: {outcome.line}")
            elif people := _people(job, recogniser, console):
                summary.done.append(str(job.video))
            else:
                summary.failed.append(Failure(str(job.video), "no-window", "nobody walks long enough"))
            progress(count)
            yield Clip(job.video, source, people)


def _jobs(
    work: Work, videos: Sequence[Path], recogniser: Recogniser, console: Console, summary: Summary
) -> dict[str, tuple[Job, str]]:
    """The videos by the names of their poses, each with its SHA-256; what cannot be read is named, and noted in `summary`."""
    found: dict[str, tuple[Job, str]] = {}
    compared, limits = decides(recogniser.config.extract), recogniser.config.limits
    config = replace(compared, silhouettes=recogniser.beside is not None)
    for video in dict.fromkeys(p.resolve() for p in find_videos(videos, work.root)):
        try:
            check(video, limits)
            source = hashed(video)
        except ItemError as error:
            summary.failed.append(Failure(str(video), error.reason, str(error)))
            console.error(f"{video}: {error.reason}: {error}")
            continue
        name, place, labels = f"{video.stem}-{source[:12]}", Work(work.root / "clips"), Labels()
        there = [(work.pose2d(video.stem), "pose2d"), (work.silhouettes(video.stem), "silhouettes")][: 1 + config.silhouettes]
        if all(is_current(path, schema, compared, source) for path, schema in there):
            facts = store.attributes(work.pose2d(video.stem), "pose2d")
            name, place, labels = video.stem, work, Labels(**{key: str(facts[key]) for key in FIELDS})
        if name in found:
            console.say(f"{video}: is the same as {found[name][0].video}: left out")
            continue
        found[name] = Job(video, name, place, config, labels, False, recogniser.config.device, limits), source
    return found


def _people(job: Job, recogniser: Recogniser, console: Console) -> list[Seen]:
    """Those of a posed video who walk long enough; who cannot be recognised is named."""
    made, outlines = job.work.pose2d(job.stem), job.work.silhouettes(job.stem)
    width = float(store.attributes(made, "pose2d").get("width", 0))
    masks = store.read_all(outlines, "silhouettes", Silhouettes) if job.config.silhouettes and outlines.exists() else {}
    people = []
    for name, track in store.read_all(made, "pose2d", Track2D).items():
        try:
            people.append(Seen(int(name), track, *recogniser.vector(track, masks.get(name), width)))
        except ItemError as error:
            console.error(f"{job.video} track {int(name)}: {error.reason}: {error}")
    return people
