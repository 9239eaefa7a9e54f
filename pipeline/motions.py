"""Walks in 3D from files: motion capture as .npz, and the project's own `pose3d/` files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gaitreid.pipeline import npy, store
from gaitreid.pipeline.files import sha256
from gaitreid.pose.clean import runs
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.lifters.motions import Motion, from_points
from gaitreid.pose.records import Track3D
from gaitreid.pose.skeleton import CMU31, SKELETONS, Skeleton
from gaitreid.reid.windows import SplitConfig, resample

# The CMU motion capture database's own names, which are of bones and stand for their far ends, in the order of CMU31.
_CMU = """
root lhipjoint rhipjoint lowerback lfemur ltibia lfoot ltoes rfemur rtibia rfoot rtoes upperback thorax lowerneck lclavicle
rclavicle upperneck head lhumerus lradius lwrist lhand lthumb lfingers rhumerus rradius rwrist rhand rthumb rfingers
"""
CMU_NAMES = tuple(_CMU.split())
FARTHEST = 1000.0  # metres
SHORTEST = 10  # frames
MOST_JOINTS = 1000


def find(paths: Sequence[str | Path]) -> list[Path]:
    """Files as named, and every .npz and .h5 below the folders, sorted.

    Raises:
        UsageError: a path does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        found += sorted(p for p in path.rglob("*") if p.suffix in {".npz", ".h5"}) if path.is_dir() else [path]
    return found


def read(paths: Sequence[Path]) -> list[Motion]:
    """All walks of some files, joints of WALK18; NaN where a file does not have them.

    An .npz has joints (N, J, 3) in metres, joint_names, starts (one more than walks), subject of each walk, fps and
    up_axis (y or z). Joints are named as in a skeleton of ours or as in the CMU motion capture database. A `pose3d/` file
    has no path on the ground.

    Raises:
        FormatError: a file is neither.
        EmptyError: there is no walk of ten frames in all of them.
    """
    motions = [motion for path in paths for motion in (_npz(path) if path.suffix == ".npz" else _pose3d(path))]
    motions = [motion for motion in motions if len(motion.xyz) >= SHORTEST]
    if not motions:
        raise EmptyError(f"no walks in {', '.join(map(str, paths)) or 'no files'}")
    return motions


def sources(paths: Sequence[Path]) -> dict[str, str]:
    """The files by name, with folders before it where two have the same, and what is in them by SHA-256."""
    result: dict[str, str] = {}
    for path in paths:
        name = path.name
        for folder in path.resolve().parents:
            if name not in result:
                break
            name = f"{folder.name}/{name}"
        result[name] = sha256(path)
    return result


def _npz(path: Path) -> list[Motion]:
    values = npy.load_archive(path, ("joints", "joint_names", "starts", "subject", "fps", "up_axis"))
    kinds_of = {"joints": "f", "joint_names": "U", "starts": "iu", "subject": "Uiu"}
    fits = all(values[name].dtype.kind in kinds for name, kinds in kinds_of.items())
    fits = fits and values["joint_names"].ndim == values["subject"].ndim == values["starts"].ndim == 1
    if not fits or len(values["joint_names"]) > MOST_JOINTS or len(values["subject"]) > len(values["starts"]):
        kinds = ", ".join(f"{name} {value.dtype} of shape {value.shape}" for name, value in values.items())
        raise FormatError(f"{path}: no motion capture: {kinds}")
    try:
        points, starts = np.asarray(values["joints"], np.float32), np.asarray(values["starts"], np.int64)
        names, subjects = [str(n) for n in values["joint_names"]], [str(s) for s in values["subject"]]
        fps, up = float(values["fps"]), str(values["up_axis"])
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{path}: no motion capture: {error}") from error
    whole = points.ndim == 3 and points.shape[1:] == (len(names), 3) and up in {"y", "z"} and 1 <= fps <= 1000
    whole = whole and starts.shape == (len(subjects) + 1,) and bool((starts[1:] >= starts[:-1]).all())
    if not whole or starts[0] < 0 or starts[-1] > len(points):
        facts = (
            f"joints {points.shape} at {fps:g} fps, {len(names)} names, starts of shape {starts.shape}, {len(subjects)} subjects"
        )
        raise FormatError(f"{path}: {facts}: not as they should be")
    if not (np.abs(points) < FARTHEST).all():
        raise FormatError(f"{path}: joints that are no numbers, or farther than {FARTHEST:g} m")
    if up == "z":
        points = np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)
    xyz = from_points(points, _skeleton(names, path))
    return [Motion(xyz[a:b], fps, s) for a, b, s in zip(starts[:-1], starts[1:], subjects, strict=True)]


def _skeleton(names: list[str], path: Path) -> Skeleton:
    if tuple(names) == CMU_NAMES:
        return CMU31
    for skeleton in SKELETONS.values():
        if tuple(names) == skeleton.joints:
            return skeleton
    raise FormatError(
        f"{path}: joints {', '.join(names[:5])}...: neither those of CMU's motion capture nor of {', '.join(SKELETONS)}"
    )


def _pose3d(path: Path) -> list[Motion]:
    subject = str(store.attributes(path, "pose3d").get("subject", "")) or path.stem
    motions = []
    for track in store.read_all(path, "pose3d", Track3D).values():
        if len(track.time) < SHORTEST:
            continue
        fps = 1 / max(float(np.median(np.diff(track.time))), 1e-3)
        xyz, _, _ = resample(track, SplitConfig(fps=fps))  # frames may lie unevenly
        points = from_points(xyz * [1, -1, -1], track.skeleton)
        # A walk with a gap is several: nobody moves as over the gap.
        whole = np.asarray(np.isfinite(xyz).all(axis=(1, 2)))
        motions += [Motion(points[a:b], fps, subject) for a, b in runs(whole)]
    return motions
