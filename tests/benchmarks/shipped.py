"""Trains the encoder that ships with the package, on rendered walkers and motion capture, and writes reid/shipped/.

    shipped.py --mocap NPZ [--work DIR] [--out DIR] [--set KEY=VALUE]
    shipped.py --cohort [--work DIR] [--out DIR]

Rendered walkers go through the whole chain (poses by the estimator, lifted); the mocap walks (CMU; y up, metres) come in as 3D.
Every walk comes a second time, mirrored: the estimator's errors depend on the side that the camera sees. Nobody is a real person
filmed. Takes about an hour and a half on two cores, most of it rendering and posing. Then come rendered strangers, whom it does
not know (--cohort: only these, which takes minutes): how far they are apart, images beside, scales and calibrates galleries.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from gaitreid.pipeline import store
from gaitreid.pipeline.checkpoints import DESCRIPTION
from gaitreid.pipeline.clips import Recogniser, clips
from gaitreid.pipeline.config import load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import sha256
from gaitreid.pipeline.jobs import Summary, cores
from gaitreid.pipeline.labels import FIELDS
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.shipped import COHORT, NAME, folder
from gaitreid.pipeline.synth import SynthConfig, synth
from gaitreid.pipeline.train import WEIGHTS
from gaitreid.pipeline.work import Work
from gaitreid.pose.records import Track3D
from gaitreid.pose.skeleton import H36M17, Skeleton, mapping
from gaitreid.reid.beside import IMAGES, Beside, scales

# Seeds are others than those of `gaitreid synth` and of the tests.
SETS = {
    20261: SynthConfig(subjects=48, views=(0, 45, 90, 135, 180), numbers=1),
    20262: SynthConfig(subjects=64, views=(30, 90, 210, 270, 330), conditions=("nm", "cl"), numbers=1),
}
STRANGERS = SynthConfig(subjects=48, views=(90,), conditions=("nm",), numbers=1)
SETTINGS = ("train.model=joints-lda",)
JOINTS = {  # CMU's joints bear the name of the bone that starts there
    "pelvis": "root", "spine": "lowerback", "neck": "lowerneck", "head": "head",
    "left_shoulder": "lhumerus", "left_elbow": "lradius", "left_wrist": "lwrist",
    "right_shoulder": "rhumerus", "right_elbow": "rradius", "right_wrist": "rwrist",
    "left_hip": "lfemur", "left_knee": "ltibia", "left_ankle": "lfoot",
    "right_hip": "rfemur", "right_knee": "rtibia", "right_ankle": "rfoot",
}  # fmt: skip


def main() -> None:
    """Make the data, train, and copy what ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, help="npz: joints (N, J, 3), joint_names, starts, subject, trial")
    parser.add_argument("--cohort", action="store_true", help="leave the encoder as it is")
    parser.add_argument("--work", type=Path, default=Path("work-shipped"))
    parser.add_argument("--out", type=Path, default=folder())
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    if not (options.mocap or options.cohort):
        parser.error("--mocap or --cohort")
    if options.mocap:
        train(options)
    strangers(options)


def train(options: argparse.Namespace) -> None:
    """The encoder."""
    config = load(overrides=[*SETTINGS, *options.overrides])
    session = Session(Work(options.work), config, Console(), options.jobs)
    for seed, walkers in SETS.items():
        part = replace(session, work=Work(options.work / f"set-{seed}"))
        videos = options.work / f"videos-{seed}"
        synth(videos, walkers, session.console, jobs=options.jobs, seed=seed)
        part.extract([videos])
        part.lift()
        for stem in part.work.stems("pose3d"):
            labels = {
                name: str(value) for name, value in store.attributes(part.work.pose3d(stem), "pose3d").items() if name in FIELDS
            }
            labels["subject"] = f"{seed}-{labels['subject']}"
            for n, track in store.read_all(part.work.pose3d(stem), "pose3d", Track3D).items():
                put(session.work, f"{seed}-{stem}-{n}", track, labels)
    bring_in(session.work, options.mocap)
    model = session.train(NAME)
    options.out.mkdir(parents=True, exist_ok=True)
    description = yaml.safe_load((model / DESCRIPTION).read_text(encoding="utf-8"))
    description["subjects"] = [f"shipped:{name}" for name in description["subjects"]]  # nobody else's 001
    (options.out / DESCRIPTION).write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    shutil.copyfile(model / WEIGHTS, options.out / WEIGHTS)
    size = (options.out / WEIGHTS).stat().st_size / 1e6
    print(f"{options.out}: {size:.1f} MB, SHA-256 {sha256(options.out / WEIGHTS)}")


def strangers(options: argparse.Namespace) -> None:
    """Vectors of rendered people, one each, seen from the side, with images beside them."""
    session = Session(Work(options.work / "cohort"), load(), Console(), options.jobs)
    videos = options.work / "videos-cohort"
    synth(videos, STRANGERS, session.console, jobs=options.jobs, seed=20264)
    recogniser = Recogniser(options.out, NAME, load())
    recogniser.beside = Beside(np.ones(1 + len(IMAGES)))  # the images as they are
    skeletons, images = [], []
    for clip in clips(session.work, [videos], recogniser, session.console, Summary(), jobs=options.jobs):
        person = max(clip.people, key=lambda seen: seen.windows, default=None)
        if person is None:
            continue
        vector = person.vector.reshape(recogniser.beside.parts, -1)
        skeletons.append(vector[0, : recogniser.cohort.shape[1]])
        images.append(vector[1:])
    found = scales(np.stack(skeletons), np.stack(images))
    joined = np.stack([Beside(found).join(*both) for both in zip(skeletons, images, strict=True)])
    save_file({"scales": found.astype(np.float32), "cohort": joined.astype(np.float16)}, options.out / COHORT)
    size = (options.out / COHORT).stat().st_size / 1e6
    print(f"{options.out / COHORT}: {len(joined)} people, scales {found.round(3)}, {size:.1f} MB")


def bring_in(work: Work, path: Path) -> None:
    """Mocap walks as lifted tracks, one a file: subjects mocap-NN."""
    data = dict(np.load(path, allow_pickle=False))
    own = Skeleton("cmu", tuple(JOINTS), ())
    columns = [data["joint_names"].tolist().index(name) for name in JOINTS.values()]
    xyz = data["joints"][:, columns] * np.array([1, -1, -1])  # camera axes: y down, z away
    xyz = np.einsum("kj,fjc->fkc", mapping(own, H36M17), xyz).astype(np.float32)
    for n, (a, b) in enumerate(zip(data["starts"][:-1], data["starts"][1:], strict=True)):
        frames = xyz[a:b] - xyz[a:b, :1]
        time = np.arange(b - a) / float(data["fps"])
        score = np.ones(frames.shape[:2], dtype=np.float32)
        track = Track3D(frame=np.arange(b - a), time=time, xyz=frames, score=score, skeleton=H36M17, lifter="mocap")
        labels = {"subject": f"mocap-{data['subject'][n]}", "condition": "mocap", "number": str(data["trial"][n]), "view": ""}
        put(work, f"mocap-{n:03d}", track, labels)


def put(work: Work, stem: str, track: Track3D, labels: dict[str, str]) -> None:
    """A walk, and the same mirrored, as lifted files."""
    names = track.skeleton.joints
    other = [names.index(_other_side(name)) for name in names]
    mirrored = replace(track, xyz=track.xyz[:, other] * np.array([-1, 1, 1], dtype=np.float32), score=track.score[:, other])
    for ending, one in (("", track), ("-mirrored", mirrored)):
        facts = {**labels, "number": labels["number"] + ending, "imported": "shipped.py", "config": "", "made_from": ""}
        store.write(work.pose3d(stem + ending), "pose3d", {"/tracks/000001": one}, facts)


def _other_side(joint: str) -> str:
    side, _, rest = joint.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, joint)


if __name__ == "__main__":
    main()
