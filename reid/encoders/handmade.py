"""Hand-made features as encoders: they are prepared, or fitted in one go, not trained step by step."""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import Skeleton, mapping
from gaitreid.reid.config import LdaConfig
from gaitreid.reid.encode import Batch, Input

_JOINTS = """
head neck spine left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist
left_hip right_hip left_knee right_knee left_ankle right_ankle
"""
FEW = 32  # people, of whose halves LDA would learn too little
_NAMED = Skeleton("anthropometric", tuple(_JOINTS.split()), ())


class _HandMade(nn.Module):
    """Features of a frame, each brought to zero mean and unit deviation over the training frames where `scaled`."""

    ahead = 0
    regularisation = 0.0
    supervised = False
    scaled = False
    mean: Tensor
    deviation: Tensor

    def __init__(self, takes: Input) -> None:
        super().__init__()
        self.length, self.takes = takes.length, takes
        # Also where the encoder is only planned: on the meta device a product loads torch's compiler, which takes eight seconds.
        width = self.measure(torch.zeros(1, 2, takes.joints, 3, device="cpu")).shape[-1]
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def measure(self, windows: Tensor) -> Tensor:
        """(B, f, J, 3) -> (B, f, D), or (B, 1, D)."""
        raise NotImplementedError

    def prepare(self, frames: Tensor) -> None:
        """See `Encoder`."""
        if self.scaled:
            measured = self.measure(frames[:, None]).flatten(0, 1)
            self.mean.copy_(measured.mean(dim=0))
            self.deviation.copy_(measured.std(dim=0).clamp_min(1e-6))

    def features(self, windows: Tensor) -> Tensor:
        """See `Encoder`."""
        return (self.measure(windows) - self.mean) / self.deviation

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Nothing is learnt."""
        zero = batch.windows.new_zeros(())
        return zero, {"loss": zero}


class Bones(_HandMade):
    """Lengths of all bones."""

    def measure(self, windows: Tensor) -> Tensor:
        """See base."""
        parent, child = torch.tensor(self.takes.skeleton.edges, device=windows.device).T
        lengths: Tensor = torch.linalg.vector_norm(windows[:, :, child] - windows[:, :, parent], dim=-1)
        return lengths


class Joints(_HandMade):
    """Mean and deviation of every coordinate over the window."""

    def measure(self, windows: Tensor) -> Tensor:
        """See base."""
        flat = windows.flatten(2)
        return torch.cat([flat.mean(dim=1), flat.std(dim=1, correction=0)], dim=1)[:, None]


class JointsLda(_HandMade):
    """Where joints are and how much they move, carried by LDA to where people are told apart; learnt from labels in one go.

    Of every coordinate five quantiles over the window, and the mean of its changes from frame to frame. Directions and scale are
    those of Fisher's discriminants of tracks (means over their windows), in which the spread within people is 1. Squared
    distances are means over several sets of discriminants, each of a random half of the people: what one set owes to chance
    averages out.
    """

    supervised = True
    whitened = True
    quantiles = (0.1, 0.3, 0.5, 0.7, 0.9)
    levels: Tensor
    directions: Tensor

    def __init__(self, takes: Input, config: LdaConfig | None = None) -> None:
        self.config = config or LdaConfig()
        if len(takes.subjects) < 2:
            raise UsageError("this model learns from labels: it needs windows of two or more known subjects")
        super().__init__(takes)
        self.register_buffer("directions", torch.zeros(len(self.mean), min(self.config.dimensions, len(takes.subjects) - 1)))

    def measure(self, windows: Tensor) -> Tensor:
        """See base."""
        flat = windows.flatten(2)
        length = flat.shape[1]
        place = torch.arange(length, device=flat.device, dtype=flat.dtype)
        at = torch.tensor(self.quantiles, device=flat.device, dtype=flat.dtype) * (length - 1)
        between = (1 - (at[:, None] - place).abs()).clamp_min(0)  # (5, f): linear between the two nearest of the sorted
        quantiles = torch.einsum("qf,bfc->bqc", between, flat.sort(dim=1).values)
        movement = (flat[:, 1:] - flat[:, :-1]).abs().mean(dim=1, keepdim=True)
        return torch.cat([quantiles, movement], dim=1).flatten(1)[:, None]

    def fit(self, measured: FloatArray, subject: IntArray) -> None:
        """Learn from tracks: what was measured of each (K, D), and whose it is (K,), -1 unknown.

        Raises:
            UsageError: nobody has two tracks.
        """
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        measured, subject = measured[subject >= 0].astype(np.float64), subject[subject >= 0]
        people = len(np.unique(subject))
        if people < 2 or people == len(subject):
            raise UsageError("joints-lda learns how walks of one person differ: it needs two of somebody, and two people")
        mean, deviation = measured.mean(axis=0), measured.std(axis=0).clip(1e-6)
        scaled, width = (measured - mean) / deviation, min(people - 1, self.directions.shape[1])
        found = []
        for chosen in self._halves(subject):
            lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=self.config.shrinkage)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Only one sample")  # who was seen once still says how people differ
                found.append(lda.fit(scaled[chosen], subject[chosen]).scalings_[:, :width])
        directions = np.concatenate(found, axis=1) / np.sqrt(len(found))
        spread = scaled @ directions  # side by side they say much the same: as few directions that say nearly all of it
        directions = directions @ np.linalg.eigh(spread.T @ spread)[1][:, : -width - 1 : -1]
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(deviation))
        self.directions[:, : directions.shape[1]] = torch.from_numpy(directions).to(self.directions)

    def features(self, windows: Tensor) -> Tensor:
        """See `Encoder`."""
        return super().features(windows) @ self.directions

    def _halves(self, subject: IntArray) -> list[BoolArray]:
        """Tracks of a random half of the people, as often as wanted; all tracks once where people are few."""
        people, walks = np.unique(subject, return_counts=True)
        if len(people) < FEW:
            return [np.ones(len(subject), dtype=np.bool_)]
        result = []
        for number in range(self.config.halves):
            rng = np.random.default_rng(number)
            # Of those with one walk and of the others, so that no half lacks somebody with two.
            drawn = [rng.permutation(some)[: -(-len(some) // 2)] for some in (people[walks == 1], people[walks > 1])]
            result.append(np.isin(subject, np.concatenate(drawn)))
        return result


class D13(_HandMade):
    """Thirteen skeleton descriptors (Munaro et al., "One-shot person re-identification with a consumer depth camera", 2014).

    Heights of head and neck above the floor, neck to shoulders, torso to right shoulder, arms, thighs, torso, hips, and the
    torso's ratio to each thigh. The floor is where the lowest foot of the window stands, since most data have no floor plane.
    """

    scaled = True

    def __init__(self, takes: Input) -> None:
        self._weights = torch.as_tensor(mapping(takes.skeleton, _NAMED), dtype=torch.float32, device="cpu")
        super().__init__(takes)

    def measure(self, windows: Tensor) -> Tensor:
        """See base."""
        return torch.stack(self.lengths(windows), dim=-1)

    def lengths(self, windows: Tensor) -> list[Tensor]:
        """The descriptors, each (B, f)."""
        at = self.named(windows)
        heights = _heights(at)
        torso, right, left = _between(at, "neck", "spine"), _thigh(at, "right"), _thigh(at, "left")
        return [
            *heights,
            _between(at, "neck", "left_shoulder"),
            _between(at, "neck", "right_shoulder"),
            _between(at, "spine", "right_shoulder"),
            _arm(at, "right"),
            _arm(at, "left"),
            right,
            left,
            torso,
            _between(at, "right_hip", "left_hip"),
            torso / right.clamp_min(1e-6),
            torso / left.clamp_min(1e-6),
        ]

    def named(self, windows: Tensor) -> dict[str, Tensor]:
        """Joints by name, (B, f, 3) each."""
        joints = torch.einsum("kj,bfjc->bfkc", self._weights.to(windows), windows)
        return dict(zip(_NAMED.joints, joints.unbind(dim=2), strict=True))


class D16(D13):
    """Our D16: the paper (Pala et al., 2019) says only that it is sixteen distances between joints.

    The eleven lengths of D13, and torso to left shoulder, both shanks, head to neck, and the width of the shoulders.
    """

    def measure(self, windows: Tensor) -> Tensor:
        """See base."""
        at = self.named(windows)
        more = [
            _between(at, "spine", "left_shoulder"),
            _between(at, "right_knee", "right_ankle"),
            _between(at, "left_knee", "left_ankle"),
            _between(at, "head", "neck"),
            _between(at, "left_shoulder", "right_shoulder"),
        ]
        return torch.stack([*self.lengths(windows)[:11], *more], dim=-1)


def _heights(at: dict[str, Tensor]) -> list[Tensor]:
    """Of head and neck above the lowest foot of the window; up or down, the vertical is y."""
    feet = torch.stack([at["left_ankle"][..., 1], at["right_ankle"][..., 1]])
    up = torch.sign(at["head"][..., 1] - feet.mean(dim=0))
    floor = (feet * up).amin(dim=(0, 2))[:, None]
    return [up * at[name][..., 1] - floor for name in ("head", "neck")]


def _between(at: dict[str, Tensor], a: str, b: str) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(at[a] - at[b], dim=-1)
    return length


def _arm(at: dict[str, Tensor], side: str) -> Tensor:
    return _between(at, f"{side}_shoulder", f"{side}_elbow") + _between(at, f"{side}_elbow", f"{side}_wrist")


def _thigh(at: dict[str, Tensor], side: str) -> Tensor:
    return _between(at, f"{side}_hip", f"{side}_knee")
