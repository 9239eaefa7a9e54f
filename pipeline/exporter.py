"""Tracks in 2D for other tools: OpenPose, AlphaPose, COCO, MMPose, SLEAP. What each format keeps is in docs/keypoints.md."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path

from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import replacing_folder, write_text
from gaitreid.pipeline.work import Work
from gaitreid.pose import keypoint_writing
from gaitreid.pose.errors import EmptyError, UsageError
from gaitreid.pose.keypoint_files import Clip
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import Skeleton, remap
from gaitreid.pose.skeleton import skeleton as skeleton_named

OWN = "own"  # the skeleton that the tracks have
# Skeletons that a format can have, the usual one first; none named: any.
ALLOWED: Mapping[str, tuple[str, ...]] = {
    "openpose": ("body25", "coco18"),
    "alphapose": ("coco17", "halpe26"),
    "coco": (),
    "mmpose": (),
    "sleap": (),
}
USUAL = {"coco": "coco17", "mmpose": "coco17", "sleap": OWN}


@dataclass(frozen=True, eq=False)
class Video:
    """Tracks of one video in the skeleton asked for.

    Attributes:
        clip: its name, skeleton, rate and size, without people.
        last: index of the last frame.
        source: the video's path.
    """

    clip: Clip
    tracks: dict[int, Track2D]
    last: int
    source: str


def hand_out(work: Work, format_: str, target: Path, skeleton: str | None, console: Console) -> Path:
    """Write every video's tracks below a folder.

    Args:
        skeleton: by name, or `own`; None is what the format usually has.

    Raises:
        UsageError: the format cannot have this skeleton, or what is to be written is there already.
        EmptyError: there are no tracks.
    """
    name = skeleton or next(iter(ALLOWED[format_]), USUAL.get(format_, OWN))
    if ALLOWED[format_] and name not in ALLOWED[format_]:
        raise UsageError(f"--skeleton {name}: {format_} has {' or '.join(ALLOWED[format_])}")
    stems = work.stems("pose2d")
    if not stems:
        raise EmptyError(f"no tracks in {work.root}: run `gaitreid extract VIDEOS...` first")
    wanted = None if name == OWN else skeleton_named(name)
    some = _videos(work, stems, wanted)
    first = next(some, None)
    if first is None:
        raise EmptyError(f"no tracks in the {counted(len(stems), 'files')} of {work.root / 'pose2d'}: `gaitreid status` says why")
    if format_ == "coco":  # one file of all videos
        videos = [first, *some]
        text = keypoint_writing.coco_text([v.clip for v in videos], [v.tracks for v in videos])
        write_text(target / "annotations.json", text, private=False)
        count = sum(len(v.tracks) for v in videos)
    else:
        count = 0
        for video in chain([first], some):
            WRITERS[format_](target, video)
            count += len(video.tracks)
    console.say(f"export: {counted(count, 'tracks')} of {counted(len(stems), 'videos')} below {target} ({format_}, {name})")
    return target


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block ends well: it is there whole or not at all.

    Raises:
        UsageError: it is there already.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there already: remove it, or name another folder")
    with replacing_folder(folder) as unfinished:
        yield unfinished


def _videos(work: Work, stems: list[str], wanted: Skeleton | None) -> Iterator[Video]:
    for stem in stems:
        path = work.pose2d(stem)
        facts = store.attributes(path, "pose2d")
        own = {int(name): track for name, track in store.read_all(path, "pose2d", Track2D).items()}
        if not own:
            continue
        tracks = {number: _in_skeleton(track, wanted or track.skeleton) for number, track in own.items()}
        skeleton = wanted or next(iter(own.values())).skeleton
        frames = max(int(track.frame[-1]) for track in own.values() if len(track.frame))
        rate = float(facts.get("fps", 0)) or None
        clip = Clip(stem, skeleton, {}, rate, int(facts.get("width", 0)), int(facts.get("height", 0)))
        yield Video(clip, tracks, frames, str(facts.get("video_path", "")))


def _in_skeleton(track: Track2D, wanted: Skeleton) -> Track2D:
    """The track's joints as another skeleton has them; those that cannot be built are missing."""
    if track.skeleton == wanted:
        return track
    xy, score = remap(track.xy, track.score, track.skeleton, wanted, partial=True)
    world, _ = remap(track.world, track.score, track.skeleton, wanted, partial=True)
    return replace(track, xy=xy, score=score, world=world, skeleton=wanted)


def _openpose(target: Path, video: Video) -> None:
    """A folder of one file a frame, also of frames without anybody."""
    name = video.clip.name
    rows = groupby(keypoint_writing.rows_of(video.tracks), key=lambda row: row[0])
    people = {frame: [(k, track.xy[n], track.score[n]) for _, k, track, n in of_frame] for frame, of_frame in rows}
    with new_folder(target / name) as folder:
        for frame in range(video.last + 1):
            text = keypoint_writing.openpose_text(people.get(frame, []))
            (folder / f"{name}_{frame:012d}_keypoints.json").write_text(text, encoding="utf-8")


def _alphapose(target: Path, video: Video) -> None:
    write_text(target / video.clip.name / "alphapose-results.json", keypoint_writing.alphapose_text(video.tracks), private=False)


def _mmpose(target: Path, video: Video) -> None:
    text = keypoint_writing.mmpose_text(video.tracks, video.clip.skeleton, video.last)
    write_text(target / f"results_{video.clip.name}.json", text, private=False)


def _sleap(target: Path, video: Video) -> None:
    arrays = keypoint_writing.sleap_arrays(video.tracks, video.clip.skeleton, video.source, video.last)
    store.write_sleap(target / f"{video.clip.name}.analysis.h5", arrays)


WRITERS: Mapping[str, Callable[[Path, Video], None]] = {
    "openpose": _openpose,
    "alphapose": _alphapose,
    "mmpose": _mmpose,
    "sleap": _sleap,
}
