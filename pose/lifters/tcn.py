"""Our own lifter: dilated convolutions over a whole track, small, which say how sure they are.

As Pavllo et al. (CVPR 2019), with one output a frame. It sees sixteen keypoints with their scores, from where the person
is and in shares of their size, and how the person moves and grows in the picture, which tells which way they walk. It
gives each joint from the pelvis in body heights, as if the camera looked straight at it, and how far off it expects to
be.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.special import gammainc
from torch import Tensor, nn
from torch.nn import functional

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.clean import bridged, found
from gaitreid.pose.errors import FormatError, ItemError
from gaitreid.pose.lift import WEIGHTS, shipped
from gaitreid.pose.lifters.motions import FPS, WALK18, rebuilt
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import Skeleton, remap

WALK16 = Skeleton("walk16", WALK18.joints[2:], ())  # pelvis and thorax are built from these
TRUNK = WALK16.indices("left_shoulder", "right_shoulder", "left_hip", "right_hip")
SPAN = 25  # frames over which place and size are averaged
HEIGHT = 1.65  # metres of shank, thigh, trunk and head together that everybody is given: a picture does not tell
CHANNELS_IN = 3 * 16 + 3
CLOSE = 0.1  # metres: a joint's score is how likely it is to be this close
LEAST = 8  # keypoints that a frame must have, in at least as many frames


class Tcn:
    """Fulfils `gaitreid.pose.lift.Lifter`.

    Args:
        folder: a model that `gaitreid train --model lifter` made; the one that comes with the package where none is named.

    Raises:
        FormatError: the folder does not hold a whole lifter.
    """

    rigid = True

    def __init__(self, folder: str = "") -> None:
        self._net = _load(Path(folder) if folder else shipped())

    def lift(self, track: Track2D, target: Skeleton) -> tuple[FloatArray, FloatArray]:
        """See `Lifter.lift`. Joints that were missing are filled in, with score 0.

        Raises:
            ItemError: `too-few-keypoints`, hardly any frame shows enough of the person.
        """
        xy, score = remap(track.xy, track.score, track.skeleton, WALK16, partial=True)
        seen = found(xy)
        if np.count_nonzero(seen.sum(axis=1) >= LEAST) < LEAST:
            raise ItemError("too-few-keypoints", f"fewer than {LEAST} frames with {LEAST} keypoints or more")
        time = np.arange(track.time[0], track.time[-1] + 0.5 / FPS, 1 / FPS)
        joints, off = lifted(self._net, *_at(time, track.time, np.where(seen[..., None], xy, np.nan), score))
        place = np.clip((track.time - time[0]) * FPS, 0, len(time) - 1)
        joints, off = (_between(values, place) for values in (HEIGHT * joints, HEIGHT * off))
        sure = gammainc(3, CLOSE / off) * seen
        whole = rebuilt(np.concatenate([np.zeros((len(joints), 2, 3)), joints], axis=1))
        trunk = np.stack([sure[:, TRUNK[2:]].min(axis=1), sure[:, TRUNK[:2]].min(axis=1)], axis=1)
        return remap(whole, np.concatenate([trunk, sure], axis=1).astype(np.float32), WALK18, target)


class Net(nn.Module):
    """Residual blocks of dilated convolutions over time, on pairs of frames: gait has little above 6 Hz.

    A pose is made of what the body does, in its own axes, of where it faces and how far the camera looks down on it, and
    of what that leaves over: turning is a product, which layers that add would have to learn for every angle.

    Args:
        width: channels.
        dilations: one a block, in pairs of frames: what comes out depends on 2 + 4 * sum(dilations) frames.
    """

    def __init__(self, width: int = 256, dilations: tuple[int, ...] = (1, 2, 4, 8, 4)) -> None:
        super().__init__()
        self.dilations = dilations
        self.first = nn.Linear(2 * (CHANNELS_IN + 1), width)
        self.mix = nn.ModuleList(nn.Linear(3 * width, width) for _ in dilations)
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in dilations)
        self.last = nn.Linear(width, 2 * (16 * 7 + 3))

    def forward(self, features: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Joints, how far off they are expected to be, and where the body faces.

        Args:
            features: (B, T, 51), see `features`.
            inside: (B, T), 1 within the track and 0 beyond its end.

        Returns:
            (B, T, 16, 3) in body heights from the middle of the hips; the logarithm of the error's scale (B, T, 16); and
            the cosine and sine (B, T, 2) of the angle by which the body is turned about the vertical, 0 where its left is
            the picture's right.
        """
        frames = inside.shape[1]
        known = torch.cat([features * inside[..., None], inside[..., None]], dim=2)
        known = functional.pad(known, (0, 0, 0, frames % 2)).reshape(len(known), -1, self.first.in_features)
        mask = known[..., CHANNELS_IN, None]  # the first frame of a pair is within the track
        x = self.first(known) * mask
        for dilation, mix, norm in zip(self.dilations, self.mix, self.norm, strict=True):
            y = functional.pad(norm(x) * mask, (0, 0, dilation, dilation))
            around = [y[:, : -2 * dilation], y[:, dilation:-dilation], y[:, 2 * dilation :]]
            x = (x + torch.relu(mix(torch.cat(around, dim=2)))) * mask
        y = self.last(x).reshape(len(x), -1, self.last.out_features // 2)[:, :frames]
        body, rest, log_scale, turn, down = y.split([48, 48, 16, 2, 1], dim=2)
        turn, shape = functional.normalize(turn, dim=2), (len(x), frames, 16, 3)
        joints = _turned(body.reshape(shape), turn, torch.tanh(down)) + rest.reshape(shape)
        return joints - joints[:, :, TRUNK[2:]].mean(dim=2, keepdim=True), log_scale.clamp(-7, 2), turn


def _turned(joints: Tensor, turn: Tensor, down: Tensor) -> Tensor:
    """Joints (B, T, 16, 3) turned about the vertical (cosines and sines, (B, T, 2)), then about x (sines, (B, T, 1))."""
    c, s = turn[..., :1], turn[..., 1:]
    x, y, z = joints.unbind(3)
    x, z = c * x + s * z, c * z - s * x
    level = (1 - down**2).clamp(min=1e-4).sqrt()
    return torch.stack([x, level * y - down * z, down * y + level * z], dim=3)


def features(xy: FloatArray, score: FloatArray) -> FloatArray:
    """What the network sees of a track at FPS frames a second.

    Args:
        xy: (T, 16, 2) in any unit, NaN is missing.
        score: (T, 16).

    Returns:
        (T, 51): keypoints from the person's place in shares of their height, 0 where missing; scores; the movement of the
        place, in heights a second, and the growth of the height, as a share a second. Place and height follow a line over
        a second.
    """
    seen = found(xy)
    trunk = np.where(seen[:, TRUNK, None], xy[:, TRUNK], 0).sum(axis=1) / np.maximum(seen[:, TRUNK].sum(axis=1), 1)[:, None]
    low, high = np.where(seen, xy[..., 1], np.inf).min(axis=1), np.where(seen, xy[..., 1], -np.inf).max(axis=1)
    rows = np.concatenate([trunk, np.maximum(high - low, 1e-9)[:, None]], axis=1)
    rows[~seen[:, TRUNK].any(axis=1) | (seen.sum(axis=1) < LEAST)] = np.nan
    rows[:, 2] = np.log(rows[:, 2])
    line, slope = _local_line(bridged(rows), SPAN // 2)
    height = np.exp(line[:, 2:])
    relative = np.where(seen[..., None], (xy - line[:, None, :2]) / height[:, None], 0).clip(-3, 3)
    moving = (np.concatenate([slope[:, :2] / height, slope[:, 2:]], axis=1) * FPS).clip(-3, 3)
    parts = [relative.reshape(len(xy), -1), np.where(seen, score, 0), moving]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _local_line(rows: FloatArray, reach: int) -> tuple[FloatArray, FloatArray]:
    """Straight lines fitted to (T, C) within `reach` frames: their values and slopes a frame, (T, C) each."""
    place = np.arange(len(rows))
    start, end = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(rows))

    def mean(values: FloatArray) -> FloatArray:
        sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
        return np.asarray((sums[end] - sums[start]) / (end - start)[:, None])

    time = place[:, None].astype(np.float64)
    spread = np.maximum(mean(time**2) - mean(time) ** 2, 1e-9)
    slope = (mean(time * rows) - mean(time) * mean(rows)) / spread
    return mean(rows) + slope * (time - mean(time)), slope


def lifted(net: Net, xy: FloatArray, score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Joints of a whole track in body heights (T, 16, 3), and the scale of their error (T, 16).

    The mean of what the network says of the track and of the track in a mirror.

    Args:
        xy: (T, 16, 2) at FPS frames a second, NaN is missing.
        score: (T, 16).
    """
    twins = WALK16.mirror()
    both = [features(xy, score), features(xy[:, twins] * [-1, 1], score[:, twins])]
    with torch.inference_mode():
        inputs = torch.from_numpy(np.stack(both))
        joints, log_scale, _ = (values.numpy() for values in net.eval()(inputs, torch.ones(inputs.shape[:2])))
    mirrored = joints[1][:, twins] * np.array([-1, 1, 1], np.float32)
    return (joints[0] + mirrored) / 2, np.exp((log_scale[0] + log_scale[1][:, twins]) / 2)


def _at(time: FloatArray, frames: FloatArray, xy: FloatArray, score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keypoints and scores at other times; missing where the frames on both sides do not have the joint, or are a gap.

    Frames up to half as far again apart as usual are no gap, however slow the track.
    """
    place = np.clip(np.interp(time, frames, np.arange(len(frames))), 0, len(frames) - 1)
    near = np.rint(place)
    place = np.where(np.abs(place - near) < 1e-6, near, place)  # a neighbour that is missing does not spoil a frame
    low = np.floor(place).astype(np.int64)
    apart = np.diff(frames, append=frames[-1:])  # 0 after the last frame, so a single one has a median, too
    gap = apart[low] > max(3 / FPS, 1.5 * float(np.median(apart)))
    xy, score = _between(xy, place), _between(score, place)
    lost = ~found(xy) | (gap & (place > low))[:, None]
    return np.where(lost[..., None], np.nan, xy), np.where(lost, 0, score)


def _between(values: FloatArray, place: FloatArray) -> FloatArray:
    """Values (T, ...) at places between frames."""
    low = np.minimum(np.floor(place).astype(np.int64), len(values) - 1)
    high = np.minimum(low + 1, len(values) - 1)
    share = (place - low).reshape(-1, *(1,) * (values.ndim - 1))
    return np.asarray(np.where(share > 0, (1 - share) * values[low] + share * values[high], values[low]))


def _load(folder: Path) -> Net:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / WEIGHTS)
        width = len(tensors["first.bias"])
        if tensors["mix.0.weight"].shape != (width, 3 * width):  # before a net of that width takes its memory
            raise ValueError(f"mix.0.weight has shape {tuple(tensors['mix.0.weight'].shape)}, expected {(width, 3 * width)}")
        net = Net(width)
        net.load_state_dict(tensors)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise FormatError(f"{folder}: not a whole lifter ({error}): train it with `gaitreid train --model lifter`") from error
    return net
