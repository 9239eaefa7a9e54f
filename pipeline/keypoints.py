"""Keypoint files of other tools into the work folder: `pose2d/STEM.h5`, one a video, as if `gaitreid extract` had made them.

People are tracked (`pose/associate.py`) where the file does not say who is who. These files have keypoints in the picture and
nothing in 3D: `gaitreid lift` takes a lifter that works from 2D.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gaitreid.pipeline import store
from gaitreid.pipeline.bounds import LONGEST, file_name, read_bytes
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.extract import in_words, outcome_of, posed_from
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.jobs import Failure, Summary
from gaitreid.pipeline.labels import Labeller
from gaitreid.pipeline.work import Work, provenance
from gaitreid.pose import keypoint_files
from gaitreid.pose.associate import Association, associate
from gaitreid.pose.errors import EmptyError, FormatError, GaitReidError, ItemError, UsageError
from gaitreid.pose.extract import ExtractConfig
from gaitreid.pose.keypoint_files import Clip

RATE = 25.0  # frames a second where neither the file nor --fps says so
OPENPOSE = re.compile(r"^(?P<video>.*?)[_-]?(?P<frame>\d{1,12})_keypoints\.json$")
MEANS_NOTHING = ("alphapose-results", "results", "predictions", "annotations", "keypoints", "sep-json", "json")


@dataclass(frozen=True)
class Source:
    """Files that belong together: of one video, or one file of several.

    Attributes:
        name: of the video where the files do not say; what they hold is at `path`.
        read: the clips in them.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    read: Callable[[], list[Clip]]


@dataclass(frozen=True)
class Target:
    """Where clips go, and with what settings."""

    work: Work
    config: ExtractConfig
    labeller: Labeller
    format: str
    fps: float | None


def bring_in(
    work: Work, config: ExtractConfig, format_: str, paths: list[Path], labeller: Labeller, console: Console, fps: float | None
) -> Summary:
    """Import keypoints; what failed is named, the others go on.

    Args:
        fps: frames a second, over what the files say.

    Raises:
        UsageError: the labels are of none of the videos, which are written all the same.
        EmptyError: nothing of this format is there, or no track came out.
    """
    sources = _told_apart(SOURCES[format_](paths))
    if not sources:
        raise EmptyError(f"nothing of format {format_} in {', '.join(map(str, paths))}: {LAYOUTS[format_]}")
    target = Target(work, config, labeller, format_, fps)
    summary, tracks, guessed = Summary(), 0, 0
    taken: set[str] = set()
    written: list[Path] = []
    with console.progress("import", len(sources), "files") as progress:
        for count, source in enumerate(sources, 1):
            for stem, result in _outcomes(target, source, taken):
                if isinstance(result, ItemError):
                    summary.failed.append(Failure(stem, result.reason, str(result)))
                    console.error(f"import: {stem}: {result.reason}: {result}")
                    console.item("import", stem, "failed", result.reason)
                    continue
                clip, found = result
                written.append(_named(source, stem))
                guessed += fps is None and clip.fps is None
                tracks += len(found.tracks)
                console.say(f"{stem}  {_line(clip, found)}")
                console.item("import", stem, *(("done", "") if found.tracks else ("failed", "no-track")))
                if found.tracks:
                    summary.done.append(stem)
                else:
                    summary.failed.append(Failure(stem, "no-track", _line(clip, found)))
            progress(count)
    if not tracks:
        raise EmptyError(f"import: no track came out of {counted(len(sources), 'files')} ({format_}): the lines above say why")
    target.labeller.check(written, console)  # only now, as it is the files that say of which videos they are
    if guessed:
        console.say(f"import: the files do not say how many frames a second there are: {RATE:g} taken, --fps says otherwise")
    console.say(f"import: {counted(len(summary.done), 'videos')}, {counted(tracks, 'tracks')} ({format_})")
    return summary


def _outcomes(target: Target, source: Source, taken: set[str]) -> Iterator[tuple[str, tuple[Clip, Association] | ItemError]]:
    """What became of every clip of a source."""
    try:
        clips = source.read()
        made_from = digest(sha256(file) for file in source.files)
    except (OSError, GaitReidError) as error:
        yield source.name, ItemError("unreadable", str(error))
        return
    for clip in clips:
        stem = _stem(clip.name or source.name, source.path, taken)
        try:
            found = _write(target, stem, clip, source, made_from)
        except ItemError as error:
            yield stem, error
        except (FormatError, OSError) as error:
            yield stem, ItemError("unreadable", str(error))
        else:
            yield stem, (clip, found)


def _write(target: Target, stem: str, clip: Clip, source: Source, made_from: str) -> Association:
    """One clip to its file.

    Raises:
        ItemError: `name-taken`, a video or another file of the same name is there; `no-person`, nobody is in it.
    """
    path = target.work.pose2d(stem)
    place = str(source.path.resolve())
    other = posed_from(path)
    if other not in ("", place) and Path(other).exists():
        raise ItemError("name-taken", f"{path} was made from {other}: use another --work for {source.path}")
    if not any(clip.frames.values()):
        raise ItemError("no-person", f"nobody in {len(clip.frames)} frames of {source.path}")
    rate = target.fps or clip.fps or RATE
    found = associate(clip, rate, target.config)
    attributes: dict[str, store.Attribute] = {
        **provenance(replace(target.config, silhouettes=False), made_from),
        **target.labeller(_named(source, stem)).as_dict(),
        "imported": target.format,
        "video": source.path.name,
        "video_path": place,
        "width": clip.width,
        "height": clip.height,
        "fps": rate,
        "frames": max(clip.frames) + 1,
        "rotation": 0,
        "step": 1,
        "frames_read": len(clip.frames),
        "frames_used": found.frames_used,
        **outcome_of(found.tracks, found.rejected, _line(clip, found)),
    }
    tracks = {f"/tracks/{number:06d}": track for number, track in zip(found.numbers, found.tracks, strict=True)}
    store.write(path, "pose2d", tracks, attributes)
    return found


def _named(source: Source, stem: str) -> Path:
    """The path by which a clip's labels are found."""
    return source.path.with_name(f"{stem}.json")


def _line(clip: Clip, found: Association) -> str:
    how = "numbered by the file" if found.named else "tracked here"
    used = f"{found.frames_used} of {len(clip.frames)} frames"
    return f"{in_words(found.tracks, used, found.rejected)} [{clip.skeleton.name}, {how}]"


def _told_apart(sources: list[Source]) -> list[Source]:
    """The sources, each of several of one name with as many folders before it as tell them apart: labels may stand in these."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(file_name(source.name), []).append(source)
    longer: dict[int, str] = {}
    for group in groups.values():
        folders = [_folders(source) for source in group]
        for depth in range(1, max(map(len, folders)) + 1 if len(group) > 1 else 1):
            names = ["-".join([*above[-depth:], source.name]) for above, source in zip(folders, group, strict=True)]
            if len(set(names)) == len(names):
                longer |= {id(source): name for source, name in zip(group, names, strict=True)}
                break
    return [replace(source, name=longer.get(id(source), source.name)) for source in sources]


def _folders(source: Source) -> list[str]:
    """The folders above a source, without those at the end that are its name or mean nothing."""
    path = source.path.resolve()
    folders = list((path if path.is_dir() else path.parent).parts[1:])
    while folders and folders[-1] in (source.name, *MEANS_NOTHING):
        folders.pop()
    return folders


def _stem(name: str, path: Path, taken: set[str]) -> str:
    """A name for a video that no other of this import has, with folders before it where need be."""
    own = stem = file_name(name) or "video"
    folders, tries = list(path.resolve().parts[1:-1]), 1
    while stem in taken:
        tries += 1
        longer = file_name(f"{folders.pop()}-{stem}") if folders else ""
        stem = longer if stem in longer else f"{own[: LONGEST // 4]}+{tries}"  # cut short, it would be the same again
    taken.add(stem)
    return stem


def _openpose(paths: list[Path]) -> list[Source]:
    """One video a folder and name before the frame's number."""
    groups: dict[tuple[Path, str], list[tuple[int, Path]]] = {}
    for file in _files(paths, "_keypoints.json"):
        found = OPENPOSE.match(file.name)
        if found:
            groups.setdefault((file.parent, found["video"]), []).append((int(found["frame"]), file))
    sources = []
    for (folder, video), files in sorted(groups.items()):
        ordered = sorted(files)
        read = partial(_read_frames, tuple(ordered), str(folder))
        sources.append(Source(video or folder.resolve().name, folder, tuple(file for _, file in ordered), read))
    return sources


def _read_frames(files: tuple[tuple[int, Path], ...], where: str) -> list[Clip]:
    return [keypoint_files.openpose(((index, read_bytes(file)) for index, file in files), where)]


def _alphapose(paths: list[Path]) -> list[Source]:
    """Result files, and folders of a file a frame (`sep-json`) where AlphaPose's file of all frames is not beside them."""
    sources = []
    by_folder: dict[Path, list[tuple[int, Path]]] = {}
    for file in _files(paths, ".json"):
        frame = re.search(r"\d{1,12}$", file.stem) if file.parent.name == "sep-json" else None
        if frame:
            by_folder.setdefault(file.parent, []).append((int(frame[0]), file))
        else:
            sources.append(_of_file(file, lambda text, where: [keypoint_files.alphapose(text, where)]))
    whole = {source.path.parent for source in sources}
    for folder, files in sorted(by_folder.items()):
        if folder.parent in whole:
            continue
        ordered = tuple(sorted(files))
        read = partial(_read_frames, ordered, str(folder))
        sources.append(Source(folder.resolve().parent.name, folder, tuple(file for _, file in ordered), read))
    return sources


def _coco(paths: list[Path]) -> list[Source]:
    """Annotations each for itself; results with the annotations beside them, which then only name the pictures."""
    files = _files(paths, ".json")
    results = [file for file in files if _begins_with(file, b"[")]
    annotations = [file for file in files if file not in results]
    if not results:
        return [_of_file(file, keypoint_files.coco) for file in annotations]
    if len(annotations) > 1:
        raise UsageError(
            f"{counted(len(annotations), 'files')} of annotations beside results: name the one that they belong to, or none"
        )
    sources = []
    for file in results:
        read = partial(_read_results, file, *annotations)
        sources.append(Source(_name_of(file), file, (file, *annotations), read))
    return sources


def _read_results(file: Path, annotations: Path | None = None) -> list[Clip]:
    return keypoint_files.coco(read_bytes(file), str(file), read_bytes(annotations) if annotations else None)


def _begins_with(file: Path, mark: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(mark)


def _mmpose(paths: list[Path]) -> list[Source]:
    return [_of_file(file, lambda text, where: [keypoint_files.mmpose(text, where)]) for file in _files(paths, ".json")]


def _sleap(paths: list[Path]) -> list[Source]:
    return [Source(_name_of(file), file, (file,), partial(_read_sleap, file)) for file in _files(paths, ".h5")]


def _read_sleap(file: Path) -> list[Clip]:
    return [keypoint_files.sleap(store.read_sleap(file), str(file))]


def _of_file(file: Path, parse: Callable[[bytes, str], list[Clip]]) -> Source:
    return Source(_name_of(file), file, (file,), lambda: parse(read_bytes(file), str(file)))


def _name_of(file: Path) -> str:
    """The video's name in a result file's, or in its folder's where the tool calls all its files the same."""
    name = file.name.removesuffix(file.suffix).removesuffix(".analysis").removeprefix("results_")
    return file.resolve().parent.name if name in MEANS_NOTHING else name


def _files(paths: list[Path], ending: str) -> list[Path]:
    """Files as named, and those below the folders, sorted; each once."""
    found: list[Path] = []
    for path in paths:
        inside = (p for p in path.rglob(f"*{ending}") if p.is_file() and not p.name.startswith("."))
        found += [path] if path.is_file() else sorted(inside)
    return list(dict.fromkeys(found))


SOURCES: Mapping[str, Callable[[list[Path]], list[Source]]] = {
    "openpose": _openpose,
    "alphapose": _alphapose,
    "coco": _coco,
    "mmpose": _mmpose,
    "sleap": _sleap,
}
LAYOUTS = {
    "openpose": "expected files VIDEO_NUMBER_keypoints.json, one a frame",
    "alphapose": "expected alphapose-results.json, or sep-json/NUMBER.json",
    "coco": "expected .json files of annotations or results",
    "mmpose": "expected results_VIDEO.json",
    "sleap": "expected analysis files (.h5)",
}
