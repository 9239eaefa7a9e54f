"""mmpose's whole path, from nothing: a small RTMPose is trained on rendered walkers and then poses others than it was trained on.

    rtmpose.py [--work DIR] [--epochs N]

Walkers are rendered (`gaitreid synth`), their frames and ground truth written as a COCO data set with an mmpose `metainfo` of
its own (the 17 joints of h36m17), and an RTMPose-t of two thirds its width is trained on it from random weights by mmengine's
Runner. `gaitreid extract --pose mmpose:CONFIG,CHECKPOINT --trust-config` then poses whole videos of subjects that were held
out. The error is the mean distance of keypoints from the rendered joints in pixels of 320x240 videos, over all joints of all
frames that are in a track.
MediaPipe stands beside it. About 45 minutes on one core. Last line: one JSON object with the same figures.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from typer.testing import CliRunner

from gaitreid.cli import app
from gaitreid.pipeline import store
from gaitreid.pose import openmmlab
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import H36M17, remap
from gaitreid.pose.video import frames

BASE = "rtmpose-t_8xb256-420e_coco-256x192"
WIDTH, HEIGHT, BATCH = 64, 96, 16  # of the crops that the network sees
TARGET = 5.0  # pixels
EVERY = 5  # frames of a training video of which one is used
# How crops are off in training: first as a detector's boxes are, then as those of a track are, which come from its keypoints.
# With the first alone, left and right legs are not learnt in this time; with the second alone, tracks that begin off a person
# stay off.
FAR = {"shift_prob": 0.5, "scale_factor": [0.75, 1.3], "rotate_factor": 8}
NEAR = {"shift_prob": 0.5, "shift_factor": 0.08, "scale_factor": [0.87, 1.15], "rotate_prob": 0.0}
PAD = 0.05  # of the height of the joints, by which a person is larger, as in `pose.extract.keypoint_box`


def main() -> None:
    """Train, extract, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=Path("rtmpose-benchmark"), help="folder for videos, frames, weights, results"
    )
    parser.add_argument("--subjects", type=int, default=11, help="walkers, of whom the last ones are held out")
    parser.add_argument("--held-out", type=int, default=1)
    parser.add_argument("--views", default="0,36,72,108,144,180")
    parser.add_argument("--epochs", type=int, default=30, help="with crops that are far off")
    parser.add_argument("--then", type=int, default=15, metavar="EPOCHS", help="with crops such as a track has")
    parser.add_argument("--min-score", type=float, help="of mmpose's row, as extract.min_score (default: the estimator's own)")
    parser.add_argument("--reuse", action="store_true", help="take what weights an earlier run left in the folder")
    options = parser.parse_args()
    videos = options.work / "videos"
    _gaitreid("synth", str(videos), "--subjects", str(options.subjects), "--views", options.views, "--set", "synth.numbers=1")
    views = {f"{int(view):03d}" for view in options.views.split(",")}
    found = sorted(video for video in videos.glob("[0-9]*.avi") if video.stem[-3:] in views)
    every = [video for video in found if int(video.stem[:3]) <= options.subjects]  # an earlier run may have left more
    held_out = {f"{n:03d}" for n in range(options.subjects - options.held_out + 1, options.subjects + 1)}
    tests = [video for video in every if video.stem[:3] in held_out]
    began = time.perf_counter()
    images = write_dataset([video for video in every if video not in tests], options.work / "coco")
    config, first = options.work / "walkers.py", options.work / "training" / f"epoch_{options.epochs}.pth"
    checkpoint = options.work / "refining" / f"epoch_{options.then}.pth"
    if not (options.reuse and first.exists()):
        train(options.work, FAR, first)
    if not (options.reuse and checkpoint.exists()):
        train(options.work, NEAR, checkpoint, first)
    seconds = time.perf_counter() - began
    rows = {}
    trusted = ["--trust-config", *(["--set", f"extract.min_score={options.min_score}"] if options.min_score else [])]
    for name, more in {f"mmpose:{config},{checkpoint}": trusted, "mediapipe": []}.items():
        work = options.work / name.partition(":")[0]
        _gaitreid("extract", *map(str, tests), "--pose", name, *more, "--work", str(work), "--jobs", "1", "--overwrite")
        rows[name.partition(":")[0]] = compare(work, tests)
    learnt = f"{images} frames of {options.subjects - options.held_out} walkers"
    print(f"trained on {learnt} in {seconds:.0f} s, tested on {len(tests)} videos of others")
    print(f"{'':12}{'mean px':>9}{'median':>9}{'95 %':>9}{'worst view':>14}{'frames found':>14}")
    for name, row in rows.items():
        worst = f"{row['worst_view_px']:.2f} ({row['worst_view']})"
        print(f"{name:12}{row['mean_px']:9.2f}{row['median_px']:9.2f}{row['p95_px']:9.2f}{worst:>14}{row['found']:14.1%}")
    print(f"target: at most {TARGET} px")
    print(
        json.dumps(
            {
                "images": images,
                "epochs": [options.epochs, options.then],
                "train_seconds": round(seconds),
                "videos": len(tests),
                **rows,
            }
        )
    )


def write_dataset(videos: list[Path], folder: Path) -> int:
    """Frames and joints of videos in COCO's format, unless they are there; how many frames."""
    info = {"videos": [video.name for video in videos], "every": EVERY}
    if (folder / "train.json").exists():
        there = json.loads((folder / "train.json").read_text())
        if there["info"] == info:
            return len(there["images"])
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for video in videos:
        for index, image, xy in _frames(video):
            number = len(images) + 1
            name = f"{video.stem}-{index:04d}.jpg"
            cv2.imwrite(str(folder / "images" / name), image)
            images.append({"id": number, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
            low, high = xy.min(axis=0), xy.max(axis=0)
            pad = PAD * (high[1] - low[1])
            x, y, width, height = (float(v) for v in np.concatenate([low - pad, high - low + 2 * pad]))
            joints = np.concatenate([xy, np.full((len(xy), 1), 2.0)], axis=1)
            annotations.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "num_keypoints": len(xy),
                    "keypoints": joints.ravel().tolist(),
                }
            )
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(H36M17.joints),
        "skeleton": [[a + 1, b + 1] for a, b in H36M17.edges],
    }
    content = {"info": info, "images": images, "annotations": annotations, "categories": [category]}
    (folder / "train.json").write_text(json.dumps(content))
    return len(images)


def metainfo() -> dict[str, Any]:
    """What mmpose is to know of these joints."""

    def other(joint: str) -> str:
        sides = {"left": "right", "right": "left"}
        side, _, rest = joint.partition("_")
        return f"{sides[side]}_{rest}" if side in sides else ""

    lower = ("hip", "knee", "ankle", "pelvis")
    return {
        "dataset_name": "rendered walkers",
        "keypoint_info": {
            i: {
                "name": joint,
                "id": i,
                "color": [0, 0, 0],
                "type": "lower" if joint.endswith(lower) else "upper",
                "swap": other(joint),
            }
            for i, joint in enumerate(H36M17.joints)
        },
        "skeleton_info": {
            i: {"link": (H36M17.joints[a], H36M17.joints[b]), "id": i, "color": [0, 0, 0]}
            for i, (a, b) in enumerate(H36M17.edges)
        },
        "joint_weights": [1.0] * len(H36M17.joints),
        "sigmas": [0.05] * len(H36M17.joints),
    }


def configure(work: Path, epochs: int, off: dict[str, Any], folder: str, workers: int = 0) -> Any:
    """RTMPose-t of mmpose's zoo for smaller pictures and these joints, and a short training."""
    config, _ = openmmlab.load_config("mmpose", BASE)
    codec = {**config.codec, "input_size": (WIDTH, HEIGHT), "sigma": (2.5, 2.8)}
    config.codec = codec
    config.model.backbone.update(norm_cfg={"type": "BN"}, init_cfg=None, widen_factor=0.25)
    config.model.head.update(
        in_channels=256,
        out_channels=len(H36M17.joints),
        input_size=codec["input_size"],
        in_featuremap_size=(WIDTH // 32, HEIGHT // 32),
        final_layer_kernel_size=3,
        decoder=codec,
    )
    crop = [{"type": "GetBBoxCenterScale"}, {"type": "TopdownAffine", "input_size": codec["input_size"]}]
    varied = {"type": "RandomBBoxTransform", **off}
    tail = [{"type": "GenerateTarget", "encoder": codec}, {"type": "PackPoseInputs"}]
    dataset = {
        "type": "CocoDataset",
        "data_root": str(work / "coco"),
        "data_mode": "topdown",
        "ann_file": "train.json",
        "data_prefix": {"img": "images/"},
        "metainfo": metainfo(),
        "pipeline": [{"type": "LoadImage"}, crop[0], varied, crop[1], *tail],
    }
    config.train_dataloader = {
        "batch_size": BATCH,
        "num_workers": workers,
        "drop_last": True,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "dataset": dataset,
    }
    test = {**dataset, "test_mode": True, "pipeline": [{"type": "LoadImage"}, *crop, {"type": "PackPoseInputs"}]}
    config.test_dataloader = {"batch_size": 64, "num_workers": 0, "sampler": {"type": "DefaultSampler"}, "dataset": test}
    for unused in ("val_dataloader", "val_evaluator", "val_cfg", "test_evaluator", "test_cfg", "custom_hooks"):
        config.pop(unused, None)
    config.train_cfg = {"by_epoch": True, "max_epochs": epochs, "val_interval": epochs + 1}
    config.optim_wrapper.optimizer.lr = 1e-3
    config.param_scheduler = [
        {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": 50},
        {"type": "CosineAnnealingLR", "eta_min": 2e-5, "T_max": epochs, "by_epoch": True, "convert_to_iter_based": True},
    ]
    config.default_hooks.checkpoint = {"type": "CheckpointHook", "interval": epochs, "save_optimizer": False}
    config.default_hooks.logger = {"type": "LoggerHook", "interval": 20}
    config.randomness = {"seed": 0}
    config.work_dir = str(work / folder)
    return config


def train(work: Path, off: dict[str, Any], checkpoint: Path, begin: Path | None = None) -> None:
    """Train with mmengine, from random weights or those of another checkpoint; leaves the configuration, walkers.py."""
    openmmlab.prepare()
    config = configure(work, int(checkpoint.stem.partition("_")[2]), off, checkpoint.parent.name)
    (work / "walkers.py").write_text(config.pretty_text, encoding="utf-8")
    with openmmlab.quiet():
        from mmengine.runner import Runner

        training = config.copy()
        training.pop("test_dataloader")  # the Runner takes a test loader only with an evaluator
        runner = Runner.from_cfg(training)
        if begin:
            runner.model.load_state_dict(openmmlab.read_checkpoint(begin)["state_dict"])
        runner.train()


def compare(work: Path, videos: list[Path]) -> dict[str, Any]:
    """Distances of keypoints in tracks from the rendered joints, pixels."""
    errors: dict[str, list[FloatArray]] = {}
    found = total = 0
    for video in videos:
        truth = _truth(video)
        total += len(truth.frame)
        for track in store.read_all(work / "pose2d" / f"{video.stem}.h5", "pose2d", Track2D).values():
            xy, _ = remap(track.xy, track.score, track.skeleton, H36M17)
            found += len(track.frame)
            errors.setdefault(video.stem[-3:], []).append(np.linalg.norm(xy - truth.xy[track.frame], axis=-1))
    by_view = {view: float(np.concatenate(e).mean()) for view, e in errors.items()}
    worst = max(by_view, key=by_view.__getitem__)
    every = np.concatenate([e.ravel() for view in errors.values() for e in view])
    return {
        "mean_px": round(float(every.mean()), 3),
        "median_px": round(float(np.median(every)), 3),
        "p95_px": round(float(np.percentile(every, 95)), 3),
        "worst_view": worst,
        "worst_view_px": round(by_view[worst], 3),
        "found": round(found / total, 4),
    }


def _frames(video: Path) -> Iterator[tuple[int, Any, FloatArray]]:
    """Every n-th frame: its index, picture and joints."""
    truth = _truth(video)
    for frame in frames(video)[1]:
        if frame.index % EVERY == 0:
            yield frame.index, frame.image, truth.xy[frame.index]


def _truth(video: Path) -> Track2D:
    (track,) = store.read_all(video.parent / "truth" / f"{video.stem}.h5", "truth", Track2D).values()
    return track


def _gaitreid(*arguments: str) -> None:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    print(result.output, end="")
    if result.exit_code > 1:
        raise SystemExit(f"gaitreid {' '.join(arguments[:1])} ended with {result.exit_code}")


if __name__ == "__main__":
    main()
