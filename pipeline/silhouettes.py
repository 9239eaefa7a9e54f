"""Silhouettes in OpenGait's layout, in and out: ID/TYPE-NUM/VIEW/*.png, one picture a frame.

OpenGait's own data sets are pickles of such pictures (`.pkl`); they are not read, as reading a pickle runs what is in it.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.bounds import file_name, read_bytes
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.exporter import new_folder
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.jobs import Failure, Summary, each
from gaitreid.pipeline.labels import FIELDS, Labeller, Labels
from gaitreid.pipeline.split import labels_of
from gaitreid.pipeline.walks import INSIDE, outlines
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import ByteArray
from gaitreid.pose.errors import EmptyError, FormatError, ItemError, UsageError
from gaitreid.pose.keypoint_files import frame_indices
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH, Silhouettes
from gaitreid.pose.silhouettes import silhouette

LARGEST = 8192  # pixels a side
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # its mark, and before all else the picture's size


@dataclass(frozen=True)
class Job:
    """One folder of pictures; travels to a worker process."""

    stem: str
    labels: Labels
    folder: Path
    work: Work


@dataclass(frozen=True)
class Outcome:
    """What became of it; `reason` is empty where all is well."""

    stem: str
    reason: str
    line: str


def bring_in(work: Work, paths: list[Path], labeller: Labeller, console: Console, *, jobs: int = 1) -> Summary:
    """Folders of silhouettes to `silhouettes/STEM.h5`, cut out, scaled and centred; what failed is named, the others go on.

    Raises:
        UsageError: the labels are of none of the folders, or two of these have one name.
        EmptyError: there is no such folder, or none could be read.
    """
    folders = list(dict.fromkeys(file.parent for path in paths for file in sorted(path.rglob("*.png")) if file.is_file()))
    if not folders:
        pickles = any(True for path in paths for _ in path.rglob("*.pkl"))
        why = "these are pickles, which are not read: use the pictures they were made from" if pickles else ""
        raise EmptyError(f"no ID/TYPE-NUM/VIEW/*.png in {', '.join(map(str, paths))}{': ' if why else ''}{why}")
    tasks = [_job(work, folder, labeller) for folder in folders]
    if len({task.stem for task in tasks}) < len(tasks):
        raise UsageError("two folders have the same ID, TYPE-NUM and VIEW: import them into two work folders")
    labeller.check([task.folder.with_name(f"{task.stem}.png") for task in tasks], console)
    summary = Summary()
    with console.progress("import", len(tasks), "folders") as progress:
        for count, outcome in enumerate(each(import_one, tasks, jobs), 1):
            if outcome.reason:
                summary.failed.append(Failure(outcome.stem, outcome.reason, outcome.line))
                console.error(f"import: {outcome.stem}: {outcome.reason}: {outcome.line}")
            else:
                summary.done.append(outcome.stem)
                console.detail(f"{outcome.stem}  {outcome.line}")
            console.item("import", outcome.stem, "failed" if outcome.reason else "done", outcome.reason)
            progress(count)
    if not summary.done:
        raise EmptyError(f"import: none of {len(tasks)} folders held a silhouette")
    done = set(summary.done)
    people = len({task.labels.subject for task in tasks if task.stem in done})
    console.say(f"import: {counted(len(summary.done), 'walks')} of {counted(people, 'people')} (silhouettes)")
    return summary


def _job(work: Work, folder: Path, labeller: Labeller) -> Job:
    """The last three folders' names are who, in what condition and how often (or but the number), and from where."""
    person, walk, view = (["", "", *folder.resolve().parts])[-3:]
    stem = file_name(f"{person}-{walk}-{view}")
    found = labeller(folder.with_name(f"{stem}.png"))
    if not any(found.as_dict().values()):
        condition, _, number = ("", "", walk) if walk.isdigit() else walk.partition("-")  # OU-MVLP has numbers alone
        found = Labels(person, condition, number, view)
    return Job(stem, found, folder, work)


def import_one(job: Job) -> Outcome:
    """Runs in a worker: one folder to its file."""
    files = sorted(file for file in job.folder.glob("*.png") if file.is_file())
    frames = frame_indices(file.name for file in files)
    try:
        masks = {frames[file.name]: _mask(file) for file in files}
    except ItemError as error:
        return Outcome(job.stem, error.reason, str(error))
    kept = {frame: mask for frame, mask in sorted(masks.items()) if mask is not None}
    if not kept:
        return Outcome(job.stem, "empty", f"no silhouette in {len(files)} pictures of {job.folder}")
    record = Silhouettes(frame=np.array(list(kept), dtype=np.int64), mask=np.stack(list(kept.values())))
    attributes: dict[str, store.Attribute] = {
        **{name: job.labels.as_dict()[name] for name in FIELDS},
        "imported": "silhouettes",
        "config": "{}",
        "made_from": digest(sha256(file) for file in files),
        "video": job.folder.name,
        "video_path": str(job.folder.resolve()),
    }
    store.write(job.work.silhouettes(job.stem), "silhouettes", {"/tracks/000001": record}, attributes)
    return Outcome(job.stem, "", f"{counted(len(kept), 'silhouettes')} of {len(files)} pictures")


def _mask(file: Path) -> ByteArray | None:
    """A silhouette; one that has the size of ours already stays as it is.

    Raises:
        ItemError: `unreadable`, it is no picture, or too large.
    """
    try:
        content = read_bytes(file, LARGEST * LARGEST)
        _check_png(content, file)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (FormatError, cv2.error) as error:
        raise ItemError("unreadable", str(error)) from error
    if image is None:
        raise ItemError("unreadable", f"{file}: is damaged")
    if image.shape == (SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH):
        return np.asarray(image, dtype=np.uint8) if (image > INSIDE).any() else None
    return silhouette(image.astype(np.float32) / 255)


def _check_png(content: bytes, file: Path) -> None:
    """Walk over the parts of a PNG, as OpenCV takes the memory that a part claims before it looks how much there is.

    Raises:
        FormatError: it is none, too large, or a part claims to be longer than the file.
    """
    if not content.startswith(PNG) or len(content) < 33:
        raise FormatError(f"{file}: not a PNG")
    width, height = struct.unpack_from(">II", content, 16)
    if max(width, height) > LARGEST:
        raise FormatError(f"{file}: {width} x {height} pixels, at most {LARGEST} x {LARGEST} are read")
    place = 8
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        place += 12 + length
        if kind == b"IEND":
            return
    raise FormatError(f"{file}: is not whole")


def hand_out(work: Work, target: Path, console: Console) -> Path:
    """Silhouettes of every track as pictures: ID/TYPE-NUM/VIEW/VIDEO-FRAME.png; what has no label is named after its video.

    Raises:
        UsageError: what is to be written is there already.
        EmptyError: there are none.
    """
    stems = work.stems("silhouettes")
    if not stems:
        raise EmptyError(f"no silhouettes in {work.root}: run `gaitreid extract VIDEOS... --silhouettes` first")
    count, taken = 0, set[Path]()
    for stem in stems:
        path = work.silhouettes(stem)
        attributes = store.attributes(path, "silhouettes")
        tracks = {int(name): track for name, track in outlines(path).items()}
        labels = labels_of(tracks, Labels(**{name: str(attributes.get(name, "")) for name in FIELDS}))
        walks = {of: _walk(target, stem, of, taken) for of in dict.fromkeys(labels.values())}
        for number, record in tracks.items():
            walk = walks[labels[number]]
            with new_folder(walk if len(tracks) == 1 else walk.with_name(f"{walk.name}-track{number}")) as folder:
                for frame, mask in zip(record.frame.tolist(), record.mask, strict=True):
                    (folder / f"{stem}-{frame:06d}.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
            count += len(record.frame)
    console.say(f"export: {counted(count, 'silhouettes')} of {counted(len(stems), 'videos')} below {target}")
    return target


def _walk(target: Path, stem: str, labels: Labels, taken: set[Path]) -> Path:
    """The folder of one video, which no other of this export has."""
    walk = labels.number if labels.number and not labels.condition else f"{labels.condition or 'nm'}-{labels.number or '01'}"
    folder = target / (file_name(labels.subject) or stem) / file_name(walk) / (file_name(labels.view) or "000")
    if folder in taken:
        folder = folder.with_name(f"{folder.name}-{stem}")
    taken.add(folder)
    return folder
