"""Training `gaitreid.pose.lifters.tcn`: walks of people of other limbs under random cameras, with an estimator's errors."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.geometry import body_height
from gaitreid.pose.lift import LifterConfig
from gaitreid.pose.lifters.motions import FPS, SIDES, WALK18, Camera, Motion, at_rate, err, from_walker, mirrored, see, stretched
from gaitreid.pose.lifters.tcn import CHANNELS_IN, TRUNK, WALK16, Net, features
from gaitreid.pose.rounds import Epoch

LIMBS = {
    joint: [WALK16.index(f"{side}_{joint}") for side in SIDES]
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot")
}
LEGS, ARMS = ("hip", "knee", "ankle", "foot"), ("shoulder", "elbow", "wrist")
LOST = ([0], [1], LIMBS["foot"], [LIMBS["wrist"][0]], [LIMBS["elbow"][1], LIMBS["wrist"][1]])


def camera(rng: np.random.Generator, path: float) -> Camera:
    """A camera as people hang or hold them, for a path of so many metres."""
    return Camera(
        heading=rng.uniform(-np.pi, np.pi),
        distance=max(float(np.exp(rng.uniform(np.log(2.5), np.log(14)))), 0.6 * path + 1.0),
        height=rng.uniform(0.5, 3.0),
        aside=rng.normal(0, 0.15),
        tilt=rng.normal(0, 0.08),
        roll=rng.normal(0, 0.03),
    )


def estimated(xy: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Keypoints (T, 16, 2) as some estimator gives them: (T, 16, 2), NaN is missing, and scores (T, 16).

    Estimators differ by how much they err and how long an error lasts, by joint and by clip; they have a bias of their
    own, lose joints for a while or never see them, take left for right, and now and then put a joint anywhere. Half of
    them know how sure they are.
    """
    frames, joints = xy.shape[:2]
    level = np.exp(rng.uniform(np.log(0.002), np.log(0.045))) * np.exp(rng.normal(0, 0.3, joints))
    burst = np.repeat(np.exp(rng.normal(0, 0.5, (frames // 8 + 1, joints))), 8, axis=0)[:frames]
    sigma = np.minimum(level * burst, 0.12)
    sigma[rng.random((frames, joints)) < rng.choice([0, 0.01])] = 0.15
    seen = _swapped(xy, rng)
    height = np.ptp(xy[..., 1], axis=1).mean()
    seen = seen + rng.normal(0, 0.008, (joints, 2)) * height
    found, score = err(seen, rng, sigma, rng.uniform(0.2, 0.95), rng.choice([0, rng.uniform(0, 0.12)]))
    for _ in range(rng.integers(0, 4)):
        start, joint = rng.integers(frames), rng.integers(joints)
        found[start : start + rng.integers(3, 25), joint] = np.nan
    for group in LOST:
        if rng.random() < (0.3 if group == LIMBS["foot"] else 0.06):
            found[:, group] = np.nan
    score = np.exp(-sigma / 0.05) * rng.uniform(0.9, 1.0, score.shape) if rng.random() < 0.5 else np.ones_like(score)
    return found, np.where(np.isfinite(found[..., 0]), score, 0).astype(np.float32)


def _swapped(xy: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Legs or arms taken for each other for a while."""
    result = xy.copy()
    for limbs in (LEGS, ARMS):
        if rng.random() < 0.15:
            start, count = rng.integers(len(xy)), rng.integers(2, 12)
            from_knees = limbs is LEGS and rng.random() < 0.5
            for joint in limbs[1:] if from_knees else limbs:
                left, right = LIMBS[joint]
                result[start : start + count, [left, right]] = xy[start : start + count, [right, left]]
    return result


def example(motions: Sequence[Motion], rng: np.random.Generator, config: LifterConfig) -> tuple[FloatArray, FloatArray, int]:
    """A piece of a walk as it is seen.

    Returns:
        Features (frames, 51), joints (frames, 16, 3) in body heights, and how many frames the piece has; zeros after them.
    """
    motion = _picked(motions, rng, config)
    pace = rng.uniform(0.8, 1.25)
    whole = (len(motion.xyz) - 1) / motion.fps
    count = config.frames if rng.random() < 0.5 else int(rng.integers(min(20, config.frames), config.frames + 1))
    count = min(count, int(whole * FPS / pace) + 1)
    start = rng.uniform(0, max(whole - (count - 1) * pace / FPS, 0))
    xyz = at_rate(motion, FPS / pace, start, count)
    xyz = stretched(mirrored(xyz) if rng.random() < 0.5 else xyz, rng, config.stretch)
    path = float(np.ptp(xyz[:, 0], axis=0)[[0, 2]].max())
    xy, truth = see(xyz, camera(rng, path))
    if rng.random() < 0.2:  # the camera goes along
        xy = xy - xy[:, :1] + xy[:1, :1]
    found, score = estimated(xy[:, 2:], rng)
    size = body_height(truth, WALK18)
    inputs = np.zeros((config.frames, CHANNELS_IN), np.float32)
    outputs = np.zeros((config.frames, len(WALK16.joints), 3), np.float32)
    inputs[:count], outputs[:count] = features(found, score), truth[:, 2:] / size
    return inputs, outputs, count


def _picked(motions: Sequence[Motion], rng: np.random.Generator, config: LifterConfig) -> Motion:
    """A walk: people are equally likely, however many walks there are of them."""
    if not motions or rng.random() < config.walkers:
        return from_walker(int(rng.integers(1 << 30)), int(rng.integers(1 << 30)), 4.0, rng.choice(["nm", "cl"]))
    subjects = sorted({m.subject for m in motions})
    subject = subjects[rng.integers(len(subjects))]
    own = [m for m in motions if m.subject == subject]
    return own[rng.choice(len(own), p=np.array([len(m.xyz) for m in own]) / sum(len(m.xyz) for m in own))]


def train(
    net: Net,
    motions: Sequence[Motion],
    config: LifterConfig,
    device: torch.device,
    seed: int,
    state: dict[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train, epoch by epoch; stopping between epochs and going on from a snapshot gives the same weights.

    What is kept is the running mean of the weights. Every epoch draws new examples, from the seed and the epoch's number
    alone.

    Yields:
        Number of the epoch from 1, mean of each loss, and a function that gives a snapshot.
    """
    net.to(device).train()
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.998))  # type: ignore[no-untyped-call]
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=True)
    steps = math.ceil(config.passes * config.examples / config.batch)
    done = 0
    parts: dict[str, Any] = {"net": net, "mean": mean, "optimiser": optimiser}
    if state:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        done = int(state["epoch"])
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, optimiser, config.learning_rate, config.epochs * steps, pct_start=0.1)
    schedule = cycle()  # puts the limits of the rate into the optimiser
    if 0 < done < config.epochs:  # a state of its own would bring back the length that the training had before
        schedule = cycle(last_epoch=done * steps - 1)
    for epoch in range(done + 1, config.epochs + 1):
        rng = np.random.default_rng((seed, epoch))
        drawn = [example(motions, rng, config) for _ in range(config.examples)]
        inputs, truth = (torch.from_numpy(np.stack(part)).to(device) for part in list(zip(*drawn, strict=True))[:2])
        counts = torch.tensor([count for *_, count in drawn], device=device)
        order = torch.from_numpy(np.concatenate([rng.permutation(config.examples) for _ in range(config.passes)])).to(device)
        sums: dict[str, float] = {}
        for index in torch.split(order, config.batch):
            loss, terms = losses(net, inputs[index], truth[index], counts[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            mean.update_parameters(net)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.item()

        def snapshot(epoch: int = epoch) -> dict[str, Any]:
            return {**{name: part.state_dict() for name, part in parts.items()}, "epoch": epoch}

        yield epoch, {name: value / steps for name, value in sums.items()}, snapshot
    net.load_state_dict(mean.module.state_dict())


def losses(net: Net, inputs: Tensor, truth: Tensor, counts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What is made small: how far joints are off, how far their movements are, and how badly the first was foretold.

    The last is the negative log-likelihood of a density that falls with exp(-distance / scale) in space, by which the joints
    themselves are not moved.
    """
    inside = (torch.arange(inputs.shape[1], device=inputs.device) < counts[:, None]).float()
    joints, log_scale, turn = net(inputs, inside)
    count = inside.sum() * truth.shape[2]
    off = ((joints - truth).square().sum(-1) + 1e-8).sqrt()
    place = (off * inside[..., None]).sum() / count
    both = inside[:, 1:, None] * inside[:, :-1, None]
    moved = ((joints - truth).diff(dim=1).square().sum(-1) + 1e-8).sqrt()
    movement = (moved * both).sum() / count
    foretold = ((off.detach() * torch.exp(-log_scale) + 3 * log_scale) * inside[..., None]).sum() / count
    across = truth[:, :, TRUNK[::2]] - truth[:, :, TRUNK[1::2]]  # from the right shoulder and hip to the left
    faces = functional.normalize(across.sum(dim=2)[..., [0, 2]] * across.new_tensor([1, -1]), dim=2)
    facing = ((1 - (turn * faces).sum(dim=2)) * inside).sum() / inside.sum()
    loss = place + movement + 0.01 * foretold + 0.05 * facing
    return loss, {"loss": loss, "place": place, "movement": movement, "foretold": foretold, "facing": facing}
