"""Rendered walkers as videos under CASIA-B's names, with ground truth beside them. Rendered data, not real people."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import replacing
from gaitreid.pipeline.jobs import each
from gaitreid.pose.clean import found
from gaitreid.pose.errors import UsageError
from gaitreid.pose.records import Track2D, Track3D
from gaitreid.pose.render import FPS, HEIGHT, WIDTH, Truth, scene
from gaitreid.pose.skeleton import H36M17
from gaitreid.pose.walker import walker

CONDITIONS = ("nm", "bg", "cl")
KNOWN = (*CONDITIONS, "day")


@dataclass(frozen=True)
class SynthConfig:
    """What is rendered.

    Attributes:
        subjects: number of people.
        views: degrees; 0 walks towards the camera, 90 across, 180 away.
        conditions: nm (normal), bg (a bag), cl (a long coat), day (clothes, bags and habits as on any other day); None: not day.
        numbers: recordings a condition; None: 2.
        people_per_scene: people in one frame; above 1 the files are named scene-01-090.avi and so on, which leaves room for one
            condition (the first; None: nm) and one number, and everybody is in one scene at most.
        seconds: length of a clip.
    """

    subjects: int = 10
    views: tuple[int, ...] = tuple(range(0, 181, 18))
    conditions: tuple[str, ...] | None = None
    numbers: int | None = None
    people_per_scene: int = 1
    seconds: float = 3.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        conditions, count = self.recordings
        if min(self.subjects, self.people_per_scene) < 1 or self.seconds < 0.2 or not conditions or count < 1:
            raise UsageError("synth: subjects, conditions, numbers and people_per_scene must be 1 or more, seconds 0.2 or more")
        if not self.views or not all(0 <= view < 360 for view in self.views):
            raise UsageError("synth.views: name one or more, each in 0 to 359")
        for name, values in (("views", self.views), ("conditions", conditions)):
            if len(set(values)) < len(values):
                raise UsageError(f"synth.{name}: one is named twice, which would be one file")
        if unknown := set(conditions) - set(KNOWN):
            raise UsageError(f"synth.conditions: {', '.join(map(repr, sorted(unknown)))} is not one of {', '.join(KNOWN)}")
        if self.people_per_scene > self.subjects:
            raise UsageError(f"synth: {self.people_per_scene} people a scene need as many subjects, there are {self.subjects}")

    @property
    def left_out(self) -> str:
        """What there is no room for in scenes of several people, in words."""
        (conditions, count), left = self.recordings, self.subjects % self.people_per_scene
        if self.people_per_scene == 1:
            return ""
        told = [f"{left} subjects"] * bool(left)
        told += [f"the conditions {', '.join(conditions[1:])}"] * (len(conditions) > 1) + [f"{count - 1} numbers"] * (count > 1)
        return ", ".join(told)

    @property
    def recordings(self) -> tuple[tuple[str, ...], int]:
        """Conditions in force, and how many recordings of each."""
        alone = self.people_per_scene == 1
        conditions = (CONDITIONS if alone else CONDITIONS[:1]) if self.conditions is None else self.conditions
        count = (2 if alone else 1) if self.numbers is None else self.numbers
        return conditions, count


@dataclass(frozen=True)
class Clip:
    """One video to render; travels to a worker process."""

    path: Path
    people: tuple[int, ...]
    condition: str
    view: int
    number: int
    seconds: float
    seed: int

    @property
    def truth(self) -> Path:
        """Where its ground truth goes."""
        return self.path.parent / "truth" / f"{self.path.stem}.h5"


def synth(folder: Path, config: SynthConfig, console: Console, *, jobs: int = 1, seed: int = 0) -> list[Path]:
    """Render every clip that is not there yet; the paths of all of them."""
    if config.left_out:
        console.say(f"synth: scenes of {config.people_per_scene} people have no room for {config.left_out}: left out")
    clips = _clips(folder, config, seed)
    missing = [clip for clip in clips if not _is_there(clip)]
    with console.progress("synth", len(missing), "clips") as progress:
        for count, _ in enumerate(each(_render, missing, jobs), 1):
            progress(count)
    console.say(f"synth: {len(missing)} clips rendered, {len(clips) - len(missing)} were there: {folder}")
    return [clip.path for clip in clips]


def _clips(folder: Path, config: SynthConfig, seed: int) -> list[Clip]:
    k, (conditions, count) = config.people_per_scene, config.recordings
    if k > 1:
        groups = [tuple(range(n, n + k)) for n in range(1, config.subjects - k + 2, k)]
        return [
            Clip(folder / f"scene-{n:02d}-{view:03d}.avi", group, conditions[0], view, 1, config.seconds, seed)
            for n, group in enumerate(groups, 1)
            for view in config.views
        ]
    return [
        Clip(folder / f"{s:03d}-{condition}-{n:02d}-{view:03d}.avi", (s,), condition, view, n, config.seconds, seed)
        for s in range(1, config.subjects + 1)
        for condition in conditions
        for n in range(1, count + 1)
        for view in config.views
    ]


def _is_there(clip: Clip) -> bool:
    if not (clip.path.exists() and clip.truth.exists()):
        return False
    return store.attributes(clip.truth, "truth").get("config") == _settings(clip)


def _settings(clip: Clip) -> str:
    facts = {"people": clip.people, "condition": clip.condition, "view": clip.view, "number": clip.number}
    return json.dumps({**facts, "seconds": clip.seconds, "seed": clip.seed}, sort_keys=True)


def _render(clip: Clip) -> Path:
    """Runs in a worker. The truth is written last: where it is, the video is whole."""
    people = [walker(clip.seed, n) for n in clip.people]
    recording = (clip.seed, clip.people[0], KNOWN.index(clip.condition), clip.number)
    truths = []
    with replacing(clip.path, private=False) as temporary:
        video = temporary.with_name(f"{temporary.name}.avi")  # OpenCV goes by the ending
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
        for rendered in scene(people, clip.condition, clip.view, clip.seconds, recording):
            writer.write(rendered.image)
            truths.append(rendered)
        writer.release()
        video.replace(temporary)
    groups: dict[str, Track2D | Track3D] = {}
    for n in range(len(people)):
        track2d, track3d = _truth([t.people[n] for t in truths])
        groups |= {f"/tracks/{n + 1:06d}": track2d, f"/tracks3d/{n + 1:06d}": track3d}
    subjects = ",".join(f"{n:03d}" for n in clip.people)
    facts: dict[str, store.Attribute] = {"config": _settings(clip), "made_from": "rendered", "subjects": subjects}
    store.write(clip.truth, "truth", groups, facts, private=False)
    return clip.path


def _truth(frames: list[Truth]) -> tuple[Track2D, Track3D]:
    xy = np.stack([f.xy for f in frames]).astype(np.float32)
    xyz = np.stack([f.xyz for f in frames])
    centred = (xyz - xyz[:, :1]).astype(np.float32)
    ones = np.ones(xy.shape[:2], np.float32)
    seen = ones * found(xy)
    time = np.arange(len(frames)) / FPS
    box = np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=1)
    index = np.arange(len(frames))
    return (
        Track2D(frame=index, time=time, box=box, xy=xy, score=seen, world=centred, skeleton=H36M17),
        Track3D(frame=index, time=time, xyz=centred, score=ones, skeleton=H36M17, lifter="truth"),
    )
