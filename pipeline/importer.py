"""Data sets of skeletons into the work folder: `pose3d/STEM.h5`, one file a recording and view, in the sensor's own coordinates.

What the published scripts guess, this reads by name: people by folder, joints by order of the format, frames by number. Frames in
which a joint is missing are left out, as in the papers; `gaitreid split` cuts where too many were.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from gaitreid.pipeline import npy, store
from gaitreid.pipeline.bounds import file_name, read_text
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.jobs import Failure, Summary
from gaitreid.pipeline.keypoints import SOURCES
from gaitreid.pipeline.labels import Labels
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray
from gaitreid.pose.errors import EmptyError, FormatError, FullError, GaitReidError, ItemError, UsageError
from gaitreid.pose.formats import from_z_up, kgbd_sequence, ks20_frame, tracked_frame
from gaitreid.pose.keypoint_files import natural
from gaitreid.pose.records import Track3D
from gaitreid.pose.skeleton import KINECT20, KINECT25, Skeleton

FARTHEST = 20.0  # metres: no Kinect sees that far
KS20_VIEWS = {"left_lateral": "000", "left_diagonal": "030", "frontal": "090", "right_diagonal": "130", "right_lateral": "180"}
FOLDERS = {  # by the condition that is theirs
    "biwi": {"training": "Training", "still": "Testing/Still", "walking": "Testing/Walking"},
    "ias": {"training": "Training", "testing-a": "TestingA", "testing-b": "TestingB"},
    "ks20": {name: name for name in KS20_VIEWS},
}
RATES = {"biwi": 10.0, "ias": 30.0, "kgbd": 30.0, "ks20": 30.0, "kinect": 30.0}  # frames a second


@dataclass(frozen=True, eq=False)
class Recording:
    """One walk as one sensor saw it; `read` gives (T, J, 3), frames that are not whole NaN."""

    stem: str
    labels: Labels
    skeleton: Skeleton
    source: tuple[Path, ...]
    read: Callable[[], FloatArray]


def bring_in(work: Work, format_: str, paths: list[Path], console: Console) -> Summary:
    """Import all recordings of a format; what failed is named, the others go on.

    Raises:
        UsageError: the format is unknown.
        EmptyError: nothing of this format is there.
    """
    if format_ not in READERS:
        raise UsageError(f"unknown format '{format_}': there are {', '.join([*READERS, 'npy', *SOURCES, 'silhouettes'])}")
    found = [recording for path in paths for recording in READERS[format_](path)]
    recordings = list({(r.stem, r.source or id(r)): r for r in found}.values())  # paths may be named twice
    if not recordings:
        raise EmptyError(f"nothing of format {format_} in {', '.join(map(str, paths))}: {LAYOUTS[format_]}")
    summary, dropped, frames = Summary(), 0, 0
    taken, people = set[str](), set[str]()
    with console.progress("import", len(recordings), "recordings") as progress:
        for count, recording in enumerate(recordings, 1):
            try:
                _check_name(work.pose3d(recording.stem), format_, recording.stem in taken)
                taken.add(recording.stem)
                seen, whole = _write(work, format_, recording)
                summary.done.append(recording.stem)
                people.add(recording.labels.subject)
                dropped, frames = dropped + seen - whole, frames + seen
                console.item("import", recording.stem, "done", frames=seen)
            except FullError:
                raise
            except (OSError, UnicodeDecodeError, GaitReidError) as error:
                reason = error.reason if isinstance(error, ItemError) else "unreadable"
                summary.failed.append(Failure(recording.stem, reason, str(error)))
                console.error(f"import: {recording.stem}: {reason}: {error}")
                console.item("import", recording.stem, "failed", reason)
            progress(count)
    if not summary.done:
        raise EmptyError(f"import: none of {counted(len(recordings), 'recordings')} could be read")
    share = f", {dropped} of {frames} frames left out (a joint was missing)" if dropped else ""
    console.say(f"import: {counted(len(summary.done), 'recordings')} of {counted(len(people), 'people')} ({format_}){share}")
    there = {recording.labels.condition for recording in recordings}
    if lacking := [folder for condition, folder in FOLDERS.get(format_, {}).items() if condition not in there]:
        console.say(f"import: nothing is in {', '.join(lacking)}")
    return summary


def _check_name(path: Path, format_: str, taken: bool) -> None:
    """Raises: ItemError: `name-taken`, the file is of another recording of this import, or of something else."""
    if taken:
        raise ItemError(
            "name-taken", "another recording of this import is called the same: import one of them into another --work"
        )
    try:
        other = store.attributes(path, "pose3d").get("imported", "a video") if path.exists() else format_
    except FormatError:  # damaged
        return
    if other != format_:
        raise ItemError("name-taken", f"{path} was made from {other}: use another --work")


def _write(work: Work, format_: str, recording: Recording) -> tuple[int, int]:
    """Frames seen and frames kept."""
    xyz = recording.read()
    frame: IntArray = np.flatnonzero(whole_frames(xyz))
    if not len(frame):
        far = np.isfinite(xyz).all(axis=(1, 2)).any()
        raise FormatError(f"every frame is farther than {FARTHEST:g} m: are these metres?" if far else "no frame has all joints")
    track = Track3D(
        frame=frame,
        time=frame / RATES[format_],
        xyz=xyz[frame].astype(np.float32),
        score=np.ones((len(frame), xyz.shape[1]), dtype=np.float32),
        skeleton=recording.skeleton,
        lifter=f"import:{format_}",
    )
    attributes = {
        **recording.labels.as_dict(),
        "imported": format_,
        "config": "{}",
        "made_from": digest(sha256(path) for path in recording.source),
    }
    store.write(work.pose3d(recording.stem), "pose3d", {"/tracks/000001": track}, attributes)
    return len(xyz), len(frame)


def whole_frames(xyz: FloatArray) -> BoolArray:
    """Frames in which every joint is where a Kinect can see it: (T, J, 3) -> (T,)."""
    return np.asarray(np.isfinite(xyz).all(axis=(1, 2)) & (np.abs(xyz).max(axis=(1, 2), initial=0) <= FARTHEST))


def _biwi(root: Path) -> Iterator[Recording]:
    for condition, folder in FOLDERS["biwi"].items():
        for person in _folders(_below(root, folder)):
            subject = person.name[:3]
            yield _of_frames(file_name(f"{subject}-{condition}"), Labels(subject, condition, "01"), person)


def _ias(root: Path) -> Iterator[Recording]:
    for condition, folder in FOLDERS["ias"].items():
        for person in _folders(_below(root, folder)):
            yield _of_frames(file_name(f"{person.name}-{condition}"), Labels(person.name, condition, "01"), person)


def _of_frames(stem: str, labels: Labels, folder: Path) -> Recording:
    """BIWI and IAS-Lab: one file a frame, in the order of the numbers in their names."""
    files = tuple(sorted(_regular(folder, "*skel.txt"), key=lambda file: natural(str(file))))

    def read() -> FloatArray:
        if not files:
            raise FormatError(f"{folder}: no file ends in skel.txt")
        return _stacked(tracked_frame, files, KINECT20)

    return Recording(stem, labels, KINECT20, files, read)


def _kgbd(root: Path) -> Iterator[Recording]:
    for file in sorted(_regular(root, "Person*/*.txt")):
        subject = file.parent.name.removeprefix("Person").zfill(3)
        labels = Labels(subject, "walking", file.stem.zfill(2))
        yield Recording(file_name(f"{subject}-{labels.number}"), labels, KINECT20, (file,), partial(_kgbd_frames, file))


def _kgbd_frames(file: Path) -> FloatArray:
    return kgbd_sequence(read_text(file), str(file))


def _ks20(root: Path) -> Iterator[Recording]:
    for name, view in KS20_VIEWS.items():
        groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
        for file in sorted(_regular(_below(root, name), "*.txt")):
            pieces = file.stem.split("_")
            take = next((p[2:] for p in pieces if re.fullmatch(r"gc[0-9]+", p)), "")
            body = next((p[4:] for p in pieces if re.fullmatch(r"body[0-9]+", p)), "")
            moment = next((p for p in pieces if re.fullmatch(r"[0-9]+", p)), "")
            if take and body and moment:  # by number: as texts, 10 would come before 9
                groups.setdefault((body.zfill(2), take.zfill(2)), []).append((int(moment), file))
        for (body, take), frames in sorted(groups.items()):
            files = tuple(file for _, file in sorted(frames))
            # Every view is a walk of its own: people walked in five directions past one sensor.
            labels = Labels(body, name, take, view)
            yield Recording(f"{body}-{name}-{take}", labels, KINECT25, files, partial(_stacked, ks20_frame, files, KINECT25))


def _stacked(parse: Callable[[str, str], FloatArray | None], files: tuple[Path, ...], skeleton: Skeleton) -> FloatArray:
    """One file a frame, (T, J, 3); NaN where nobody is in it."""
    missing = np.full((len(skeleton.joints), 3), np.nan, dtype=np.float32)
    found = (parse(read_text(file), str(file)) for file in files)
    return np.stack([missing if frame is None else frame for frame in found])


def _kinect(path: Path) -> Iterator[Recording]:
    """The archive of Jun et al. (2020): one array of frames, and where each clip starts."""
    data = npy.load_archive(path, ("joints", "starts", "subject", "trial", "sensor"), ("gait",))
    joints, starts = data["joints"], data["starts"]
    if joints.dtype.kind != "f" or joints.shape[1:] != (len(KINECT25.joints), 3):
        raise FormatError(f"{path}: joints are {joints.dtype} of shape {joints.shape}, expected frames of 25 joints in 3D")
    whole = starts.dtype.kind in "iu" and starts.ndim == 1 and len(starts) > 0
    if not whole or (starts[1:] < starts[:-1]).any() or starts[0] < 0 or starts[-1] > len(joints):
        raise FormatError(f"{path}: starts must be rising rows of the {len(joints)} frames")
    for name in ("subject", "trial", "sensor", "gait"):
        column = data.get(name)
        if column is not None and (column.shape != (len(starts) - 1,) or (name != "gait" and column.dtype.kind not in "iu")):
            raise FormatError(f"{path}: {name} is {column.dtype} of shape {column.shape}, expected one for each clip")
    for k, (first, last) in enumerate(pairwise(starts)):
        gait = _plain(data["gait"][k]) if "gait" in data else "normal"
        labels = Labels(f"{data['subject'][k]:02d}", gait, f"{data['trial'][k]:02d}", f"sensor{data['sensor'][k]}")
        xyz = from_z_up(joints[first:last])
        stem = file_name(f"{labels.subject}-{labels.condition}-{labels.number}-{labels.view}")
        yield Recording(stem, labels, KINECT25, () if k else (path,), partial(np.copy, xyz))


def _plain(text: object) -> str:
    """A text that is printed and stored; in an archive it can hold anything."""
    return "".join(letter for letter in str(text) if letter.isprintable())


def _regular(folder: Path, pattern: str) -> Iterator[Path]:
    """Files below a folder; pipes and devices, which may never end, are none."""
    return (path for path in folder.rglob(pattern) if path.is_file())


def _below(root: Path, folder: str) -> Path:
    """A folder of a data set: below the path given, or anywhere below it."""
    if (root / folder).is_dir():
        return root / folder
    return next((p for p in sorted(root.rglob(folder.split("/")[-1])) if p.is_dir() and str(p).endswith(folder)), root / folder)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


READERS: Mapping[str, Callable[[Path], Iterator[Recording]]] = {
    "biwi": _biwi,
    "ias": _ias,
    "kgbd": _kgbd,
    "ks20": _ks20,
    "kinect": _kinect,
}
LAYOUTS = {
    "biwi": "expected Training/NNN, Testing/Still/NNN, Testing/Walking/NNN with a file ...skel.txt a frame",
    "ias": "expected Training, TestingA, TestingB with a folder a person and a file ...skel.txt a frame",
    "kgbd": "expected PersonNNN/K.txt",
    "ks20": f"expected {', '.join(KS20_VIEWS)} with files ..._gcK_bodyN_TIME_....txt",
    "kinect": "expected an .npz with joints, starts, subject, trial, sensor",
}
