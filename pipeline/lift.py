"""Stage: `pose2d/STEM.h5` to `pose3d/STEM.h5`."""

import time
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from gaitreid.pipeline import plugins, store
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.disk import DiskConfig, watch
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.index import Index
from gaitreid.pipeline.jobs import Failure, Lost, Summary, each
from gaitreid.pipeline.labels import FIELDS
from gaitreid.pipeline.work import Work, provenance, why_stale
from gaitreid.pose.errors import EmptyError, FormatError, ItemError
from gaitreid.pose.lift import LiftConfig, Lifter, shipped
from gaitreid.pose.lift import lift as lift_track
from gaitreid.pose.records import Track2D, Track3D


@dataclass(frozen=True)
class Job:
    """One file to do; travels to a worker process.

    Attributes:
        weights: SHA-256 of the files that the lifter reads, empty where there are none.
    """

    stem: str
    work: Work
    config: LiftConfig
    device: str
    weights: str


@dataclass(frozen=True)
class Outcome:
    """What became of it: tracks lifted, and those that were not.

    Attributes:
        seconds: that it took; bytes of its file in 2D, and frames of all its tracks.
    """

    stem: str
    tracks: int
    failed: tuple[Failure, ...]
    seconds: float
    bytes: int
    frames: int


def lift(
    work: Work,
    config: LiftConfig,
    console: Console,
    *,
    device: str = "cpu",
    jobs: int = 1,
    scheduler: str | None = None,
    room: DiskConfig = DiskConfig(),  # noqa: B008
) -> Summary:
    """Lift every track to 3D and clean it; what is up to date is left as it is.

    Args:
        scheduler: address of a Dask cluster that does the work.
        room: that stays free on the disk.

    Raises:
        FullError: there is less room than that.
        EmptyError: there is nothing to lift, or nothing could be lifted, now or before.
        UsageError: there is no such lifter, or what it needs is not here.
    """
    stems = work.stems("pose2d")
    index = Index(work)
    _remove_orphans(work, set(stems), index, console)
    if not stems:
        check_tracked(work)
        return Summary()
    weights = weights_of(config.lifter)
    todo = [stem for stem in stems if why_not_lifted(work, index, config, stem, weights)]
    summary, tracks = Summary(skipped=sorted(set(stems) - set(todo))), 0
    place = Work(work.root.absolute()) if scheduler else work
    tasks = [Job(stem, place, config, device, weights) for stem in todo]
    with console.progress("lift", len(tasks), "videos") as progress:
        for count, outcome in enumerate(each(_lift_one, tasks, jobs, lost=_lost, scheduler=scheduler), 1):
            summary.done.append(outcome.stem)
            summary.failed += outcome.failed
            tracks += outcome.tracks
            for failure in outcome.failed:
                console.error(f"lift: {failure.item}: {failure.reason}: {failure.message}")
            whole = next((failure.reason for failure in outcome.failed if failure.item == outcome.stem), "")
            state = "failed" if whole else "done"
            console.item("lift", outcome.stem, state, whole, outcome.seconds, outcome.bytes, outcome.frames)
            progress(count)
            watch(work.root, room)
    index.refresh(work)
    if summary.done:
        console.say(
            f"lift: {len(summary.done)} of {counted(len(stems), 'videos')}, {counted(tracks, 'tracks')} "
            f"({config.lifter}, {config.skeleton})"
        )
    if not tracks and not any(store.read_all(work.pose3d(stem), "pose3d", Track3D) for stem in work.stems("pose3d")):
        raise EmptyError(
            f"no track of {counted(len(stems), 'videos')} was lifted by '{config.lifter}': choose another --lifter, "
            "or see `gaitreid status`"
        )
    return summary


def check_tracked(work: Work) -> None:
    """Raises: EmptyError: there are no tracks, in 2D or imported in 3D."""
    if not work.stems("pose2d") and not work.stems("pose3d"):
        raise EmptyError(f"no tracks in {work.root}: run `gaitreid extract VIDEOS...` first")


def why_not_lifted(work: Work, index: Index, config: LiftConfig, stem: str, weights: str) -> str:
    """Why a video is to be lifted (again), as `why_stale` has it; empty where it need not be.

    Args:
        weights: of the lifter, as of `weights_of`.
    """
    if not work.pose3d(stem).exists():
        return "missing: not lifted yet"
    try:
        found = index.known(work.pose3d(stem), "pose3d").facts
        source = index.known(work.pose2d(stem), "pose2d").sha256
    except FormatError as error:
        return f"damaged: {error}"
    return why_stale(found, "pose3d", decides(config), _made_from(source, weights))


def _made_from(source: str, weights: str) -> str:
    return digest([source, weights]) if weights else source


def _lift_one(job: Job) -> Outcome:
    """Runs in a worker: one file to 3D; where it cannot be read, what was made of it before stays."""
    began, frames = time.monotonic(), 0
    source, target = job.work.pose2d(job.stem), job.work.pose3d(job.stem)
    made_from = _made_from(sha256(source), job.weights)
    make = partial(lifter_of, device=job.device, trust_config=job.config.trust_config, weights=job.weights)
    try:
        tracks, facts = store.read_all(source, "pose2d", Track2D), store.attributes(source, "pose2d")
    except FormatError as error:
        return _lost(job, Lost("damaged", f"{error}; delete it, and `gaitreid extract` makes it anew from its video"))
    lifted: dict[str, Track3D] = {}
    failed = []
    for name, track in tracks.items():
        frames += len(track.frame)
        try:
            lifted[f"/tracks/{name}"] = lift_track(track, job.config, make)
        except ItemError as error:
            failed.append(Failure(f"{job.stem} track {int(name)}", error.reason, str(error)))
    labels = {name: value for name, value in facts.items() if name in FIELDS}
    store.write(target, "pose3d", lifted, {**labels, **provenance(decides(job.config), made_from)})
    return Outcome(job.stem, len(lifted), tuple(failed), time.monotonic() - began, source.stat().st_size, frames)


def _lost(job: Job, how: Lost) -> Outcome:
    """Of a file that cannot be read, or whose worker died, twice."""
    return Outcome(job.stem, 0, (Failure(job.stem, how.reason, how.message),), 0.0, 0, 0)


@cache
def lifter_of(name: str, *, device: str, trust_config: bool, weights: str = "") -> Lifter:
    """That of this worker, which stays from file to file as long as its weights are the same.

    Raises:
        UsageError: there is no such lifter, or what it needs is not here.
    """
    made: Lifter = plugins.load("lifter", name, device=device, trust_config=trust_config)()
    return made


def weights_of(lifter: str) -> str:
    """SHA-256 of what a lifter reads: the files that its name tells of, or those that come with the package."""
    base, _, argument = lifter.partition(":")
    if base in {"world", "matching"} and not argument:
        return ""
    places = [Path(part) for part in argument.split(",") if part] or [shipped()]
    files = [file for place in places for file in (sorted(place.glob("*.safetensors")) if place.is_dir() else [place])]
    return digest(sha256(file) for file in files if file.is_file())


def decides(config: LiftConfig) -> LiftConfig:
    """The settings that decide what pose3d holds: whoever trusts what."""
    return replace(config, trust_config=False)


def orphans(work: Work, stems: set[str], index: Index) -> list[str]:
    """Lifted files of videos that are not among these any more, sorted; what came from a data set needs no video."""
    gone = sorted(set(work.stems("pose3d")) - stems)
    return [stem for stem in gone if "imported" not in index.known(work.pose3d(stem), "pose3d").facts]


def _remove_orphans(work: Work, stems: set[str], index: Index, console: Console) -> None:
    """They would still be split and matched."""
    if gone := orphans(work, stems, index):
        for stem in gone:
            work.pose3d(stem).unlink()
        console.say(
            f"lift: {counted(len(gone), 'files')} removed from {work.pose3d('').parent}: their tracks in 2D are there no longer"
        )
