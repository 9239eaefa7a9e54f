"""Stage: videos to `pose2d/STEM.h5`, and `silhouettes/STEM.h5` when asked."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from gaitreid.pipeline import plugins, store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import sha256
from gaitreid.pipeline.jobs import Failure, Summary, each
from gaitreid.pipeline.labels import FIELDS, Labeller, Labels
from gaitreid.pipeline.work import Work, is_current, provenance
from gaitreid.pose.detect import NETWORKS
from gaitreid.pose.errors import EmptyError, FormatError, ItemError, UsageError
from gaitreid.pose.estimate import Estimators
from gaitreid.pose.extract import ExtractConfig, Extraction
from gaitreid.pose.extract import extract as extract_video

VIDEO_SUFFIXES = frozenset(
    f".{ending}"
    for ending in "3gp avi flv m2ts m4v mjpeg mkv mov mp4 mpeg mpg mts ogv ts webm wmv".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Job:
    """One video to do; travels to a worker process.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
    """

    video: Path
    stem: str
    work: Work
    config: ExtractConfig
    labels: Labels
    overwrite: bool
    device: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        reason: code where no track came out, else empty.
        line: for people.
        tracks: number of tracks in its file.
        skipped: whether its file was up to date.
    """

    stem: str
    reason: str
    line: str
    tracks: int
    skipped: bool


def extract(
    work: Work,
    config: ExtractConfig,
    videos: Sequence[Path],
    labeller: Labeller,
    console: Console,
    *,
    jobs: int = 1,
    device: str = "auto",
    overwrite: bool = False,
    fail_fast: bool = False,
) -> Summary:
    """Find, track and pose the people of every video; what is up to date is left as it is.

    Args:
        device: auto, cpu, cuda or cuda:N, for estimators and detectors that run on torch.

    Raises:
        UsageError: a path does not exist.
        EmptyError: there is no video, or none gave a track.
    """
    named = stems(find_videos(videos))
    tasks = [Job(video, stem, work, config, labeller(video), overwrite, device) for stem, video in named.items()]
    summary, tracks, width = Summary(), 0, max(map(len, named))
    with console.progress("extract", len(tasks), "videos") as progress:
        for count, outcome in enumerate(each(extract_one, tasks, jobs), 1):
            tracks += outcome.tracks
            (summary.skipped if outcome.skipped else summary.done).append(outcome.stem)
            (console.detail if outcome.skipped and not outcome.reason else console.say)(f"{outcome.stem:{width}}  {outcome.line}")
            if outcome.reason:
                summary.failed.append(Failure(outcome.stem, outcome.reason, outcome.line))
                if fail_fast:
                    break
            progress(count)
    console.say(_closing(summary, tracks))
    if not tracks:
        raise EmptyError(f"no track came out of {len(tasks)} videos: the lines above say why")
    return summary


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """Files as named, and every video below the folders, sorted.

    Raises:
        UsageError: a path does not exist.
        EmptyError: nothing was found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
            found += sorted(p for p in inside if not p.name.startswith("."))
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file or folder")
    if not found:
        raise EmptyError(f"no videos in {', '.join(map(str, paths))}: looked for {' '.join(sorted(VIDEO_SUFFIXES))}")
    return list(dict.fromkeys(found))


def stems(videos: Sequence[Path]) -> dict[str, Path]:
    """A name for each video: its stem, with folders before it where two have the same."""
    counts = Counter(video.stem for video in videos)
    result: dict[str, Path] = {}
    for video in videos:
        name, folders = video.stem, list(video.resolve().parts[1:-1])
        if counts[name] > 1:
            name = f"{folders.pop()}-{name}" if folders else name
        while name in result:
            name = f"{folders.pop()}-{name}" if folders else f"{name}{video.suffix}"
        result[name] = video
    return result


def extract_one(job: Job) -> Outcome:
    """Runs in a worker: one video to its file, unless that is up to date."""
    target = job.work.pose2d(job.stem)
    digest = sha256(job.video)
    if not job.overwrite:
        kept = _kept(job, target, digest)
        if kept:
            return kept
    try:
        extraction = extract_video(job.video, job.config, estimators(job.config, job.config.silhouettes, job.device))
    except ItemError as error:
        _write_nothing(job, target, digest, error)
        return Outcome(job.stem, error.reason, f"{error.reason}: {error}", 0, False)
    _write(job, target, digest, extraction)
    reason = "" if extraction.tracks else "no-track"
    return Outcome(job.stem, reason, _line(extraction), len(extraction.tracks), False)


def estimators(config: ExtractConfig, masks: bool, device: str = "auto") -> Estimators:
    """Those of this worker, which stay from video to video.

    Args:
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UsageError: there are none of this name, what they need is not here, or there is no such device.
    """
    embedded = config.pose == "mediapipe"
    if embedded and config.detector.partition(":")[0] not in NETWORKS:
        return _estimators(config.pose, masks, "cpu", False)  # without importing torch, which takes seconds
    from gaitreid.pipeline.train import device as resolve

    made = _estimators(config.pose, masks, str(resolve(device)), config.trust_config)
    if not embedded:
        made.give_back(made.take())  # so that weights which are missing are told of even where nobody is seen
    return made


@cache
def _estimators(name: str, masks: bool, device: str, trust_config: bool) -> Estimators:
    return Estimators(plugins.load("pose", name, device=device, trust_config=trust_config), masks, device)


def _kept(job: Job, target: Path, digest: str) -> Outcome | None:
    """The outcome that an up-to-date file tells of; None where the work is to be done.

    Raises:
        UsageError: the file was made from another video of the same name.
    """
    current = is_current(target, "pose2d", decides(job.config), digest)
    if current and job.config.silhouettes:
        current = is_current(job.work.silhouettes(job.stem), "silhouettes", decides(job.config), digest)
    try:
        found = store.attributes(target, "pose2d") if target.exists() else {}
    except FormatError:
        found = {}
    if not current:
        other = found.get("video_path", "")
        if found and other != str(job.video.resolve()) and found.get("made_from") != digest and Path(str(other)).exists():
            raise UsageError(f"{target} was made from {other}: use another --work for {job.video}, or --overwrite")
        return None
    labels = job.labels.as_dict()
    if any(found.get(name) != labels[name] for name in FIELDS):
        store.relabel(target, "pose2d", labels)
    line = str(found["reason"]) or f"{found['tracks']} tracks"
    return Outcome(job.stem, str(found["reason"]).partition(":")[0], f"{line} (up to date)", int(found["tracks"]), True)


def decides(config: ExtractConfig) -> ExtractConfig:
    """The settings that decide what pose2d holds: the same with and without silhouettes, and whoever trusts what."""
    return replace(config, silhouettes=False, trust_config=False)


def _write(job: Job, target: Path, digest: str, extraction: Extraction) -> None:
    info = extraction.info
    rejected = [{"reason": r.reason, "first": r.first, "last": r.last, "frames": r.frames} for r in extraction.rejected]
    attributes: dict[str, store.Attribute] = {
        **_source(job, digest),
        **{name: getattr(info, name) for name in ("width", "height", "fps", "frames", "rotation", "step")},
        "detector": extraction.detector,
        "detector_why": extraction.why,
        "frames_read": extraction.frames_read,
        "frames_used": extraction.frames_used,
        "tracks": len(extraction.tracks),
        "rejected": json.dumps(rejected),
        "reason": "" if extraction.tracks else f"no-track: {_line(extraction)}",
    }
    numbered = {f"/tracks/{i:06d}": track for i, track in enumerate(extraction.tracks, 1)}
    if job.config.silhouettes:
        masks = {f"/tracks/{i:06d}": mask for i, mask in enumerate(extraction.silhouettes, 1)}
        store.write(job.work.silhouettes(job.stem), "silhouettes", masks, _source(job, digest))
    store.write(target, "pose2d", numbered, attributes)


def _write_nothing(job: Job, target: Path, digest: str, error: ItemError) -> None:
    """A file without tracks that says why, so that the next run need not find out again."""
    attributes = {**_source(job, digest), "tracks": 0, "frames_used": 0, "rejected": "[]", "reason": f"{error.reason}: {error}"}
    store.write(target, "pose2d", {}, attributes)


def _source(job: Job, digest: str) -> dict[str, store.Attribute]:
    return {
        **provenance(decides(job.config), digest),
        **job.labels.as_dict(),
        "video": job.video.name,
        "video_path": str(job.video.resolve()),
    }


def _line(extraction: Extraction) -> str:
    count = len(extraction.tracks)
    dropped = Counter(r.reason for r in extraction.rejected)
    left_out = "".join(f", {n} left out as {reason}" for reason, n in sorted(dropped.items()))
    plural = "track" if count == 1 else "tracks"
    used = f"{extraction.frames_used} of {extraction.frames_read} frames"
    return f"{count} {plural}, {used}{left_out} [{extraction.detector}: {extraction.why}]"


def _closing(summary: Summary, tracks: int) -> str:
    parts = [f"{len(summary.done) + len(summary.skipped)} videos", f"{tracks} tracks"]
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} were up to date")
    if summary.failed:
        reasons = Counter(failure.reason for failure in summary.failed)
        parts.append("without tracks: " + ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())))
    return "extract: " + ", ".join(parts)
