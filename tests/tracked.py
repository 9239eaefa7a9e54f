"""A work folder in which walkers were tracked, without videos that can be decoded: for the tests of what comes after them."""

import os
from pathlib import Path

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.extract import decides
from gaitreid.pipeline.files import sha256
from gaitreid.pipeline.labels import Labeller
from gaitreid.pipeline.work import Work, provenance
from gaitreid.pose.extract import ExtractConfig
from gaitreid.pose.lifters.motions import WALK18, from_walker
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import H36M17, remap

LONG_AGO = 1_000_000_000  # seconds since 1970


def video(folder: Path, stem: str, content: str = "", at: int = LONG_AGO) -> Path:
    """A file that is named like a video, last changed at some time."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}.avi"
    path.write_text(content or stem)
    os.utime(path, (at, at))
    return path


def tracked(work: Work, of: Path, person: int, *, reason: str = "", seconds: float = 2.4) -> Path:
    """Write `pose2d/STEM.h5` of a video as if somebody had been found in it, or nobody for some reason."""
    walk = from_walker(1, person, seconds).xyz
    xyz, score = remap(walk, np.ones(walk.shape[:2]), WALK18, H36M17)
    frames = np.arange(len(xyz))
    world = (xyz - xyz[:, :1]) * [1, -1, -1]
    track = Track2D(
        frame=frames,
        time=frames / 25,
        box=np.tile(np.array([30, 20, 70, 120], np.float32), (len(frames), 1)),
        xy=(world[..., :2] * 50 + 80).astype(np.float32),
        score=score.astype(np.float32),
        world=world.astype(np.float32),
        skeleton=H36M17,
    )
    facts: dict[str, store.Attribute] = {
        **provenance(decides(ExtractConfig()), sha256(of)),
        **Labeller()(of).as_dict(),
        "video": of.name,
        "video_path": str(of.resolve()),
        "tracks": 0 if reason else 1,
        "reason": reason,
    }
    return store.write(work.pose2d(of.stem), "pose2d", {} if reason else {"/tracks/000001": track}, facts)
