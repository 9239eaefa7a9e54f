"""Stages: silhouettes with the keypoints of their videos to an estimator in `models/NAME/`; and silhouettes to keypoints by it.

config.yaml            the settings, and what it learnt from
checkpoint.pt          state of the training after the last whole round; read with weights_only, so it cannot run code
estimator.safetensors  the weights, once the training is done
log.jsonl              one line a round

What it finds goes to `silhouette-pose2d/STEM.h5`, files as in `pose2d/` but in pixels of the silhouettes.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.checkpoints import read_description, save_weights, start
from gaitreid.pipeline.config import Config, as_dict, build
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.labels import FIELDS
from gaitreid.pipeline.train import check_fit, device, is_named
from gaitreid.pipeline.walks import outlines
from gaitreid.pipeline.work import Work, is_current, provenance
from gaitreid.pose.arrays import ByteArray, FloatArray, take
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH, Silhouettes, Track2D
from gaitreid.pose.rounds import rounds, steps_done
from gaitreid.pose.silhouettes import SilhouetteRcnnConfig, in_silhouettes
from gaitreid.pose.skeleton import COCO17, remap
from gaitreid.pose.weights import resolve

MODEL = "silhouette-rcnn"  # as `gaitreid train --model` has it
WEIGHTS = "estimator.safetensors"
RATE = 25.0  # frames a second by which their times are told: silhouettes do not say


def train(work: Work, config: Config, name: str, console: Console, *, resume: bool = False, overwrite: bool = False) -> Path:
    """Teach Keypoint R-CNN to find in silhouettes what was found in the videos' pictures.

    Where the same training was cut off it goes on, where it is done nothing happens.

    Returns:
        The model's folder.

    Raises:
        EmptyError: no silhouette has keypoints of the same frame, or none says where it lies in its picture.
        UsageError: `train.select` is given; there is nothing to resume, or the checkpoint does not fit the settings; the weights
            to begin with are not there.
    """
    import torch

    from gaitreid.pose.backends.silhouette_rcnn import build as network
    from gaitreid.pose.backends.silhouette_rcnn import train as epochs

    if config.train.select:
        raise UsageError(f"train.select: '{MODEL}' learns from whole videos: leave it away, or choose people with --subjects")
    options, folder, began = config.silhouette_rcnn, work.model(name), time.monotonic()
    chosen = _chosen(work, config.train.subjects)
    masks, keypoints = labelled(work, chosen, options)
    description = {
        "model": MODEL,
        "options": as_dict(replace(options, use=MODEL)),
        "weights": options.weights and sha256(resolve(options.weights)),
        "seed": config.seed,
        "made_from": digest(f"{stem} {sha256(path(stem))}" for stem in chosen for path in (work.silhouettes, work.pose2d)),
        "subjects": sorted({subject for subject in chosen.values() if subject}),
    }

    def fits(state: dict[str, Any]) -> None:
        check_fit(lambda: network(options, begin=False), state["net"])
        steps_done(state, options)

    training = start(folder, WEIGHTS, description, resume=resume, overwrite=overwrite, fits=fits)
    if training is None:
        console.say(f"train: '{name}' is up to date")
        return folder
    torch.manual_seed(config.seed)
    state = training.state
    net, where = network(options, begin=not state), device(config.device)
    seen = (keypoints[..., 2] > 0).mean()
    console.say(
        f"train: '{name}' on {counted(len(masks), 'silhouettes')} of {counted(len(chosen), 'videos')}, "
        f"{seen:.0%} of their keypoints known, {options.iterations} iterations, {where}"
    )
    training.follow(epochs(net, masks, keypoints, options, where, config.seed, state), rounds(options, state), console)
    save_weights(folder / WEIGHTS, net.state_dict())
    console.say(f"train: done in {time.monotonic() - began:.0f} s; use it with --set pack.keypoints=silhouette")
    return folder


def labelled(work: Work, stems: dict[str, str], config: SilhouetteRcnnConfig) -> tuple[ByteArray, FloatArray]:
    """Silhouettes and what was found in the pictures that they were cut from.

    Args:
        stems: of the videos; each gives equally many, spread over its frames.

    Returns:
        (N, 64, 44), and (N, 17, 3): x and y in pixels of the silhouette, and 1 where the joint is known, else all 0.

    Raises:
        EmptyError: there are none.
    """
    most = -(-config.examples // max(len(stems), 1))
    masks, points = [np.empty((0, SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH), np.uint8)], [np.empty((0, len(COCO17.joints), 3))]
    unplaced = 0
    for stem in stems:
        masked = outlines(work.silhouettes(stem))
        poses = store.read_all(work.pose2d(stem), "pose2d", Track2D)
        unplaced += all(np.isnan(of.scale).all() for of in masked.values())
        pairs = [_pair(masked[name], poses[name], config.seen) for name in sorted(masked.keys() & poses.keys())]
        if pairs:
            mask, point = (np.concatenate(part) for part in zip(*pairs, strict=True))
            rows = np.flatnonzero((point[..., 2] > 0).any(axis=1))
            rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
            masks.append(mask[rows])
            points.append(point[rows])
    if not sum(map(len, masks)):
        raise EmptyError(
            f"no silhouette with keypoints to learn from: of {counted(len(stems), 'videos')} that have both, {unplaced} do not "
            "say where the silhouettes lie in the picture, as imported ones and those of earlier versions do not: run "
            "`gaitreid extract VIDEOS... --silhouettes --overwrite`"
        )
    return np.concatenate(masks), np.concatenate(points).astype(np.float32)


@dataclass(frozen=True)
class Posing:
    """What decides what is found, beside the weights and the silhouettes themselves."""

    estimator: str = MODEL


def find(work: Work, config: Config, console: Console) -> None:
    """Keypoints in all silhouettes, to `silhouette-pose2d/`; what is up to date is left as it is.

    Raises:
        UsageError: there is no such model.
        EmptyError: there are no silhouettes.
    """
    stems = work.stems("silhouettes")
    if not stems:
        raise EmptyError(f"no silhouettes in {work.root}: run `gaitreid extract VIDEOS... --silhouettes` first")
    folder = _folder(work, config.silhouette_rcnn.use)
    weights = sha256(folder / WEIGHTS)
    made_from = {stem: digest([weights, sha256(work.silhouettes(stem))]) for stem in stems}
    left = [stem for stem in stems if not is_current(work.silhouette_pose2d(stem), "pose2d", Posing(), made_from[stem])]
    if not left:
        return
    net, where, bodies, frames = load(folder), device(config.device), 0, 0
    with console.progress("pose", len(left), "videos") as progress:
        for count, stem in enumerate(left, 1):
            masks = outlines(work.silhouettes(stem))
            tracks = {f"/tracks/{name}": _posed(net, of, where) for name, of in masks.items()}
            facts = store.attributes(work.silhouettes(stem), "silhouettes")
            attributes: dict[str, store.Attribute] = {
                **{key: facts.get(key, "") for key in (*FIELDS, "video", "video_path")},
                **provenance(Posing(), made_from[stem]),
                "tracks": len(tracks),
                "reason": "",
            }
            store.write(work.silhouette_pose2d(stem), "pose2d", tracks, attributes)
            bodies += sum(int((track.score > 0).any(axis=1).sum()) for track in tracks.values())
            frames += sum(len(track.frame) for track in tracks.values())
            progress(count)
    console.say(
        f"pose: somebody in {bodies} of {counted(frames, 'silhouettes')} of {counted(len(left), 'videos')}, by '{folder.name}'"
    )


def load(folder: Path) -> Any:
    """A trained network.

    Raises:
        FormatError: the folder does not hold a whole model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from gaitreid.pose.backends.silhouette_rcnn import build as network

    try:
        options: SilhouetteRcnnConfig = build(SilhouetteRcnnConfig, read_description(folder)["options"], MODEL)
        net = network(options, begin=False)
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, KeyError, RuntimeError, SafetensorError, UsageError) as error:
        raise FormatError(f"{folder}: not a whole model ({error}): train it again") from error
    return net


def _folder(work: Work, use: str) -> Path:
    """Where the model is that poses silhouettes."""
    folder = work.model(use) if (work.model(use) / WEIGHTS).exists() else Path(use)
    if not (folder / WEIGHTS).exists():
        raise UsageError(
            f"silhouette_rcnn.use: there is no trained '{use}' in {work.root / 'models'}, nor is it a folder with {WEIGHTS}: "
            f"run `gaitreid train --model {MODEL}` where there are videos"
        )
    return folder


def _chosen(work: Work, subjects: str | None) -> dict[str, str]:
    """Videos that have silhouettes and keypoints, and whose they are; of some subjects, named as `train.subjects` has them."""
    both = sorted({*work.stems("silhouettes")} & {*work.stems("pose2d")})
    whose = {stem: str(store.attributes(work.silhouettes(stem), "silhouettes").get("subject", "")) for stem in both}
    return {stem: subject for stem, subject in whose.items() if not subjects or is_named(subject, subjects)}


def _pair(outlines: Silhouettes, poses: Track2D, seen: float) -> tuple[ByteArray, FloatArray]:
    """One track's silhouettes (T, 64, 44) of frames that have keypoints, and these as labels (T, 17, 3)."""
    _, mine, theirs = np.intersect1d(outlines.frame, poses.frame, return_indices=True)
    of = take(outlines, "T", mine)
    xy, score = remap(poses.xy[theirs], poses.score[theirs], poses.skeleton, COCO17, partial=True)
    xy = in_silhouettes(xy, of)
    inside = ((xy > -0.5) & (xy < [SILHOUETTE_WIDTH - 0.5, SILHOUETTE_HEIGHT - 0.5])).all(axis=-1)  # false where it is NaN
    known = inside & (score >= seen)
    return of.mask, np.concatenate([np.where(known[..., None], xy, 0), known[..., None]], axis=-1)


def _posed(net: Any, of: Silhouettes, where: Any) -> Track2D:
    """The keypoints of one track's silhouettes, in pixels of these; so are its boxes, those of what is inside."""
    from gaitreid.pose.backends.silhouette_rcnn import box
    from gaitreid.pose.backends.silhouette_rcnn import find as keypoints

    xy, score = keypoints(net, of.mask, where)
    return Track2D(
        frame=of.frame,
        time=of.frame / RATE,
        box=np.array([box(mask) for mask in of.mask]).reshape(-1, 4),
        xy=xy,
        score=score,
        world=np.full((*score.shape, 3), np.nan, np.float32),
        skeleton=COCO17,
    )
