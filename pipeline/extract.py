"""Stage: videos to `pose2d/STEM.h5`, and `silhouettes/STEM.h5` when asked."""

import errno
import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from gaitreid.pipeline import plugins, store
from gaitreid.pipeline.console import Console, counted, few
from gaitreid.pipeline.disk import DiskConfig, watch
from gaitreid.pipeline.index import Index, stamp_of
from gaitreid.pipeline.jobs import Failure, Lost, Summary, beat, each
from gaitreid.pipeline.labels import FIELDS, Labeller, Labels
from gaitreid.pipeline.limits import LimitsConfig
from gaitreid.pipeline.work import Work, provenance, why_stale
from gaitreid.pose.arrays import Record
from gaitreid.pose.detect import NETWORKS
from gaitreid.pose.errors import EmptyError, FormatError, FullError, GaitReidError, ItemError, UsageError
from gaitreid.pose.estimate import Estimators
from gaitreid.pose.extract import ExtractConfig, Extraction, Rejected
from gaitreid.pose.extract import extract as extract_video
from gaitreid.pose.records import Silhouettes
from gaitreid.pose.video import size_of

VIDEO_SUFFIXES = frozenset(
    f".{ending}"
    for ending in "3gp avi flv m2ts m4v mjpeg mkv mov mp4 mpeg mpg mts ogv ts webm wmv".split()  # noqa: SIM905
)
R = TypeVar("R", bound=Record)
Look = Callable[[Path, str], Mapping[str, store.Attribute]]
BLOCK = 2**22  # bytes that are hashed between two signs of life
# What says nothing lasting about the video: it is not written down, and the next run tries again.
PASSING = frozenset(["changed", "error", "bad-name"])
LONGEST = 220  # bytes of a stem: file systems allow names of 255, and ours have more to them
SHOWN = 3  # names in a message
MISSING = 0.05, 5  # frames that a container may promise too many, as its count is often an estimate: this share, and so many


@dataclass(frozen=True)
class Job:
    """One video to do; travels to a worker process.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
        retry: whether a video that failed before is tried again.
        remote: whether this is done on another machine, which may not see the same files.
    """

    video: Path
    stem: str
    work: Work
    config: ExtractConfig
    labels: Labels
    overwrite: bool
    device: str = "auto"
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    retry: bool = False
    remote: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        reason: code where no track came out, else empty.
        line: for people.
        tracks: number of tracks in its file.
        skipped: whether its file was up to date.
        seconds: that it took; bytes of the video, and frames that were looked at.
    """

    stem: str
    reason: str
    line: str
    tracks: int
    skipped: bool
    seconds: float = 0.0
    bytes: int = 0
    frames: int = 0


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
    limits: LimitsConfig | None = None,
    scheduler: str | None = None,
    shard: str | None = None,
    retry_failed: bool = False,
    room: DiskConfig = DiskConfig(),  # noqa: B008
) -> Summary:
    """Find, track and pose the people of every video; what is up to date is left as it is.

    Args:
        device: auto, cpu, cuda or cuda:N, for estimators and detectors that run on torch.
        limits: of one video; what they cut off has failed, and the others go on. None: the default ones.
        scheduler: address of a Dask cluster that does the work.
        shard: `i/n`, only the i-th of n parts of the videos.
        retry_failed: whether videos that failed before are tried again.
        room: that stays free on the disk.

    Raises:
        FullError: there is less room than that.
        UsageError: a path does not exist, the labels are of none of the videos, there is no such shard, or no cluster answers.
        EmptyError: there is no video, or none gave a track.
    """
    limits, named = limits or LimitsConfig(), by_stem(work, videos)
    if left_out := unseen(videos):
        console.error(f"extract: videos in {len(left_out)} folders are left out, unless they are named: {few(left_out, SHOWN)}")
    labeller.check(named.values(), console)
    mine = {stem: video for stem, video in named.items() if not shard or in_shard(stem, shard)}
    if shard:
        console.say(f"extract: {len(mine)} of {counted(len(named), 'videos')} are in shard {shard}")
    tasks: list[Job] = []
    for stem, video in mine.items():
        job = Job(video, stem, work, config, labeller(video), overwrite, device, limits, retry_failed)
        tasks.append(_remote(job) if scheduler else job)
    if not tasks:
        return Summary()
    summary, tracks, width = Summary(), 0, max(map(len, mine))
    index = Index(tasks[0].work)
    with console.progress("extract", len(tasks), "videos") as progress:
        done = partial(known, index=index)
        every = each(extract_one, tasks, jobs, known=done, lost=lost, limits=limits, scheduler=scheduler)
        for count, outcome in enumerate(every, 1):
            tracks += outcome.tracks
            (summary.skipped if outcome.skipped else summary.done).append(outcome.stem)
            tell = console.problem if outcome.reason else console.detail if outcome.skipped else console.say
            tell(f"{outcome.stem:{width}}  {outcome.line}")
            if outcome.reason:
                summary.failed.append(Failure(outcome.stem, outcome.reason, outcome.line))
            state = "skipped" if outcome.skipped else "failed" if outcome.reason else "done"
            console.item("extract", outcome.stem, state, outcome.reason, outcome.seconds, outcome.bytes, outcome.frames)
            progress(count, skipped=len(summary.skipped), failed=len(summary.failed))
            watch(work.root, room)
            if outcome.reason and fail_fast:
                break
    if not shard:  # others write there at the same time
        index.refresh(work)
    console.say(_closing(summary, tracks))
    if not tracks:
        raise EmptyError(f"no track came out of {counted(len(tasks), 'videos')}: the lines above say why")
    return summary


def in_shard(stem: str, shard: str) -> bool:
    """Whether a video is in the i-th of n parts, `i/n`: by a hash of its stem, so that it stays where others come and go.

    Raises:
        UsageError: that is no shard.
    """
    part, slash, parts = shard.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard {shard}: expected i/n, such as 1/4, 2/4, 3/4 and 4/4")
    name = stem.encode(errors="surrogateescape")  # not all names of files are text
    return int.from_bytes(hashlib.sha256(name).digest()[:8]) % int(parts) == int(part) - 1


def _remote(job: Job) -> Job:
    """The same with paths that hold on other machines."""
    job.work.root.mkdir(parents=True, exist_ok=True)
    return replace(job, video=job.video.absolute(), work=Work(job.work.root.absolute()), remote=True)


def by_stem(work: Work, paths: Sequence[Path]) -> dict[str, Path]:
    """The videos that `find_videos` finds, each by the stem of its files.

    That is what `stems` says, but for a video that was posed under another one, since other videos were named beside it then: it
    keeps that, or it would be in the work folder twice, and nearest to itself.

    Raises:
        UsageError, EmptyError: as of `find_videos`.
    """
    fresh, there = stems(find_videos(paths, work.root)), set(work.stems("pose2d"))
    ends: dict[str, list[str]] = {}
    for stem in sorted(there - fresh.keys()):
        for place in (0, *(k for k, letter in enumerate(stem, 1) if letter == "-")):
            ends.setdefault(stem[place:], []).append(stem)
    result = {}
    for stem, video in fresh.items():
        kept, path = stem, str(video.resolve())
        if stem not in there:
            old = (s for s in ends.get(video.stem, ()) if posed_from(work.pose2d(s)) == path)
            kept = next(old, stem)
        result[kept] = video
    return result


def posed_from(path: Path) -> str:
    """Path of the video, or of the keypoints, that a file of tracks in 2D was made from; empty where that is not known."""
    return str(_facts(path, "pose2d", store.attributes).get("video_path", ""))


def find_videos(paths: Sequence[Path], work: Path | None = None) -> list[Path]:
    """Files as named, and every video below the folders, sorted.

    Args:
        work: a folder whose videos are left out, being ours, unless it is named itself or one below it.

    Raises:
        UsageError: a path does not exist.
        EmptyError: nothing was found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            own = below(path, work)
            inside = (p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
            found += sorted(p for p in inside if not p.name.startswith(".") and not (own and p.is_relative_to(own)))
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file or folder")
    if not found:
        raise EmptyError(f"no videos in {', '.join(map(str, paths))}: looked for {' '.join(sorted(VIDEO_SUFFIXES))}")
    return list(dict.fromkeys(found))


def unseen(paths: Sequence[Path]) -> list[str]:
    """Folders below these in which no videos are found: links, which could lead round in a circle, and what may not be read."""
    found: list[str] = []

    def closed(error: OSError) -> None:
        found.append(f"{error.filename} ({error.strerror})")

    for path in paths:
        for folder, names, _ in os.walk(path, onerror=closed) if path.is_dir() else ():
            places = (Path(folder, name) for name in sorted(names))
            found += [f"{place} (a link)" for place in places if place.is_symlink()]
    return found


def below(folder: Path, inner: Path | None) -> Path | None:
    """A folder that is somewhere below another one, by a path that begins with that one's; None where it is not."""
    outer, inner = folder.resolve(), inner.resolve() if inner else folder.resolve()
    return folder / inner.relative_to(outer) if inner != outer and inner.is_relative_to(outer) else None


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


def known(job: Job, index: Index | None = None) -> Outcome | None:
    """Of a video whose file is up to date; None where there is work to do.

    Args:
        index: of the work folder, by which files that are as they were need not be opened. Videos are hashed in any case.
    """
    look: Look = (lambda path, schema: index.known(path, schema).facts) if index else store.attributes
    try:
        _check_name(job)
        if job.overwrite or not _facts(job.work.pose2d(job.stem), "pose2d", look):
            return None
        check(job.video, job.limits)
        before, digest = stamp_of(job.video), hashed(job.video)
        kept = _kept(job, digest, look)
        if kept and index and before:
            index.seen(job.video.resolve(), before, digest)
        return kept
    except ItemError:
        return None  # whoever does the work says so


def extract_one(job: Job) -> Outcome:
    """Runs in a worker: one video to its file, unless that is up to date."""
    began, size = time.monotonic(), 0
    if job.remote:
        _check_paths(job)
    try:
        _check_name(job)
        size = check(job.video, job.limits)
        outcome = _extracted(job)
    except ItemError as error:
        outcome = _failed(job, error)
    return replace(outcome, seconds=0.0 if outcome.skipped else time.monotonic() - began, bytes=size)


def _extracted(job: Job) -> Outcome:
    """Raises: ItemError: the video cannot be read, or changed meanwhile."""
    before, digest = _stamp(job.video), hashed(job.video)
    kept = None if job.overwrite else _kept(job, digest, store.attributes)
    if kept:
        return kept
    try:
        lent = estimators(job.config, job.config.silhouettes, job.device)
        extraction = _guarded(job, lent)
    except ItemError as error:
        _check_unchanged(job.video, before, digest)
        return _failed(job, error, digest)
    _check_unchanged(job.video, before, digest)
    _write(job, digest, extraction)
    reason = "" if extraction.tracks else "no-track"
    return Outcome(job.stem, reason, _line(extraction), len(extraction.tracks), False, frames=extraction.frames_read)


def _guarded(job: Job, lent: Estimators) -> Extraction:
    """What decoders, detectors and estimators of others raise ends their video, not the run."""
    try:
        return extract_video(job.video, job.config, lent, bounds=job.limits.bounds, seen=beat)
    except GaitReidError:
        raise
    except MemoryError as error:
        raise ItemError("out-of-memory", "there is not enough memory for this video") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # tracks of long videos wait in a temporary file
            raise FullError(f"the disk of temporary files is full ({error}): make room, or set TMPDIR") from error
        raise ItemError("error", f"{type(error).__name__}: {error}") from error
    except Exception as error:
        raise ItemError("error", f"{type(error).__name__}: {error}") from error


def _failed(job: Job, error: ItemError, digest: str = "") -> Outcome:
    """Of a video that gave nothing; where its content is known, the next run need not find out again.

    Where it is not, since the disk or the network is gone, say, what came of it before stays.
    """
    if error.reason not in PASSING and (digest or not _tracks_before(job)):
        _write_nothing(job, digest, error)
    return Outcome(job.stem, error.reason, f"{error.reason}: {error}", 0, False)


def _tracks_before(job: Job) -> bool:
    return bool(_facts(job.work.pose2d(job.stem), "pose2d", store.attributes).get("tracks"))


def lost(job: Job, how: Lost) -> Outcome:
    """Of a video whose worker had to be ended."""
    error, size, digest = ItemError(how.reason, how.message), 0, ""
    with suppress(ItemError):
        size, digest = check(job.video, job.limits), hashed(job.video)
    return replace(_failed(job, error, digest), bytes=size)


def _check_name(job: Job) -> None:
    """Raises: ItemError: `bad-name`: no file can be called after this video."""
    try:
        too_long = len(job.stem.encode()) > LONGEST
        str(job.video.resolve()).encode()
    except UnicodeEncodeError as error:
        raise ItemError("bad-name", "its path is no UTF-8 text: rename it") from error
    if too_long:
        raise ItemError("bad-name", f"its name is longer than {LONGEST} bytes: rename it")


def check(video: Path, limits: LimitsConfig) -> int:
    """Bytes of a video.

    Raises:
        ItemError: `unreadable`, `not-a-file`, or `too-large`.
    """
    size = size_of(video)
    if size > limits.gigabytes * 1e9:
        most = f"{limits.gigabytes:g} are allowed (limits.gigabytes)"
        raise ItemError("too-large", f"{size / 1e9:.1f} GB, {most}: cut it")
    return size


def _check_paths(job: Job) -> None:
    """See that this machine has the same files.

    Raises:
        UsageError: it has not.
    """
    for path, there in ((job.video, job.video.exists()), (job.work.root, job.work.root.is_dir())):
        if not there:
            raise UsageError(f"{path}: not there on {socket.gethostname()}: every worker must see the same paths")


def _stamp(video: Path) -> tuple[int, int, int, int]:
    """By which a change of a file shows: device, inode, size, time of change."""
    facts = video.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _check_unchanged(video: Path, before: tuple[int, int, int, int], digest: str) -> None:
    """Raises: ItemError: `changed`: other bytes are there than those that were hashed."""
    try:
        same = _stamp(video) == before or hashed(video) == digest
    except (OSError, ItemError):
        same = False
    if not same:
        raise ItemError("changed", "the file changed while it was read: run again when it is whole")


def hashed(video: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        ItemError: `unreadable`.
    """
    result = hashlib.sha256()
    try:
        with video.open("rb") as file:
            while block := file.read(BLOCK):
                result.update(block)
                beat(None)
    except OSError as error:
        raise ItemError("unreadable", f"cannot be read: {error.strerror}") from error
    return result.hexdigest()


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


def _kept(job: Job, digest: str, look: Look) -> Outcome | None:
    """The outcome that an up-to-date file tells of; None where the work is to be done.

    Args:
        digest: SHA-256 of the video.
        look: gives the root attributes of a file.

    Raises:
        UsageError: the file was made from another video of the same name.
    """
    target = job.work.pose2d(job.stem)
    found, config = _facts(target, "pose2d", look), decides(job.config)
    current = bool(found) and not why_stale(found, "pose2d", config, digest)
    if current and job.config.silhouettes:
        masks = _facts(job.work.silhouettes(job.stem), "silhouettes", look)
        current = bool(masks) and not why_stale(masks, "silhouettes", config, digest)
    if not current:
        other = found.get("video_path", "")
        if found and other != str(job.video.resolve()) and found.get("made_from") != digest and Path(str(other)).exists():
            raise UsageError(f"{target} was made from {other}: use another --work for {job.video}, or --overwrite")
        return None
    if job.retry and found["reason"]:
        return None
    labels = job.labels.as_dict()
    for path, schema in ((job.work.silhouettes(job.stem), "silhouettes"), (target, "pose2d")):
        facts = _facts(path, schema, look)
        if facts and facts.get("made_from") == digest and any(facts.get(name) != labels[name] for name in FIELDS):
            store.relabel(path, schema, labels)
    line = str(found["reason"]) or counted(int(found["tracks"]), "tracks")
    return Outcome(job.stem, str(found["reason"]).partition(":")[0], f"{line} (up to date)", int(found["tracks"]), True)


def _facts(path: Path, schema: str, look: Look) -> Mapping[str, store.Attribute]:
    """Root attributes; none where the file is missing, damaged or of another version: it is made again."""
    try:
        return look(path, schema) if path.exists() else {}
    except FormatError:
        return {}


def decides(config: ExtractConfig) -> ExtractConfig:
    """The settings that decide what pose2d holds: the same with and without silhouettes, and whoever trusts what."""
    return replace(config, silhouettes=False, trust_config=False)


def _write(job: Job, digest: str, extraction: Extraction) -> None:
    info = extraction.info
    attributes: dict[str, store.Attribute] = {
        **_source(job, digest),
        **{name: getattr(info, name) for name in ("width", "height", "fps", "frames", "rotation", "step")},
        "detector": extraction.detector,
        "detector_why": extraction.why,
        "frames_read": extraction.frames_read,
        "frames_used": extraction.frames_used,
        "truncated": is_truncated(extraction),
        **outcome_of(extraction.tracks, extraction.rejected, _line(extraction)),
    }
    _write_silhouettes(job, digest, Numbered(extraction.silhouettes))
    store.write(job.work.pose2d(job.stem), "pose2d", Numbered(extraction.tracks), attributes)


def _write_silhouettes(job: Job, digest: str, silhouettes: Mapping[str, Silhouettes]) -> None:
    """If they are asked for; else those that are there go, being of other tracks, unless they were imported."""
    path = job.work.silhouettes(job.stem)
    if job.config.silhouettes:
        store.write(path, "silhouettes", silhouettes, _source(job, digest))
    elif "imported" not in _facts(path, "silhouettes", store.attributes):
        path.unlink(missing_ok=True)


class Numbered(Mapping[str, R]):
    """Records as the groups `/tracks/000001` and so on, each of which is there only while it is written."""

    def __init__(self, records: Sequence[R]) -> None:
        self._records = records

    def __getitem__(self, name: str) -> R:
        return self._records[int(name.rpartition("/")[2]) - 1]

    def __iter__(self) -> Iterator[str]:
        return (f"/tracks/{number:06d}" for number in range(1, len(self._records) + 1))

    def __len__(self) -> int:
        return len(self._records)


def is_truncated(extraction: Extraction) -> bool:
    """Whether clearly fewer frames could be decoded than the container promises: a copy that was cut short, perhaps."""
    share, least = MISSING
    promised = extraction.info.frames
    return promised - extraction.frames_read * extraction.info.step > max(share * promised, least)


def _write_nothing(job: Job, digest: str, error: ItemError) -> None:
    """A file without tracks that says why, so that the next run need not find out again."""
    attributes = {**_source(job, digest), "tracks": 0, "frames_used": 0, "rejected": "[]", "reason": f"{error.reason}: {error}"}
    _write_silhouettes(job, digest, {})
    store.write(job.work.pose2d(job.stem), "pose2d", {}, attributes)


def _source(job: Job, digest: str) -> dict[str, store.Attribute]:
    return {
        **provenance(decides(job.config), digest),
        **job.labels.as_dict(),
        "video": job.video.name,
        "video_path": str(job.video.resolve()),
    }


def _line(extraction: Extraction) -> str:
    used = f"{extraction.frames_used} of {extraction.frames_read} frames"
    cut = f" (truncated: {extraction.info.frames} promised)" if is_truncated(extraction) else ""
    return f"{in_words(extraction.tracks, used + cut, extraction.rejected)} [{extraction.detector}: {extraction.why}]"


def in_words(tracks: Sequence[Record], frames: str, rejected: Iterable[Rejected]) -> str:
    """How many tracks came of which frames, and how many were left out and why."""
    dropped = Counter(r.reason for r in rejected)
    left_out = "".join(f", {n} left out as {reason}" for reason, n in sorted(dropped.items()))
    return f"{counted(len(tracks), 'tracks')}, {frames}{left_out}"


def outcome_of(tracks: Sequence[Record], rejected: Iterable[Rejected], line: str) -> dict[str, store.Attribute]:
    """The root attributes of pose2d that say what came out."""
    return {
        "tracks": len(tracks),
        "rejected": json.dumps([asdict(r) for r in rejected]),
        "reason": "" if tracks else f"no-track: {line}",
    }


def _closing(summary: Summary, tracks: int) -> str:
    parts = [counted(len(summary.done) + len(summary.skipped), "videos"), counted(tracks, "tracks")]
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} were up to date")
    if summary.failed:
        reasons = Counter(failure.reason for failure in summary.failed)
        parts.append("without tracks: " + ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())))
    kept = len({failure.item for failure in summary.failed} & set(summary.skipped))
    again = f"; {kept} of them failed before and were not tried again: --retry-failed does" if kept else ""
    return "extract: " + ", ".join(parts) + again
