"""Images of a walk beside the vector of its windows, as one that `robust` compares part by part; scaled once and for all."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray
from gaitreid.reid.compare import Against, directions, divided
from gaitreid.reid.encoders.gei import GeiParts
from gaitreid.reid.walks import Clips

IMAGES = [0, 2, 3]  # parts of `GeiParts`: for `robust` the trunk counts once, the legs twice


@dataclass(frozen=True, eq=False)
class Beside:
    """Vectors of skeletons and images, each part's direction over the mean distance of people of a cohort in it.

    `reid.fuse` takes that mean from the data at hand; a gallery that grows needs one that stays.

    Attributes:
        scales: those means, of the skeleton's vector and of each part of the images, (P,).
    """

    scales: FloatArray
    encoder: GeiParts = field(default_factory=lambda: GeiParts(()))

    @property
    def parts(self) -> int:
        """P, with the skeleton's."""
        return 1 + len(IMAGES)

    @property
    def context(self) -> int:
        """Numbers at the end of each part that say how it was seen."""
        return self.encoder.context

    @torch.no_grad()
    def images(self, clips: Clips) -> NDArray[np.float32]:
        """Of one walk, whole (B is 1): (P - 1, D + C)."""
        found: NDArray[np.float32] = self.encoder.vectors(clips)[0].view(self.encoder.parts, -1)[IMAGES].cpu().numpy()
        return found

    def join(self, skeleton: FloatArray, images: FloatArray | None) -> NDArray[np.float32]:
        """Both as one vector, (P x (D + C),), the skeleton's filled up with zeros.

        Args:
            skeleton: (S,).
            images: (P - 1, D + C), or none: then their parts are zeros, which say nothing.
        """
        if images is None:
            images = np.zeros((len(IMAGES), self.encoder.width), dtype=np.float32)
        shape, seen = divided(images, 1, self.context)
        body = np.pad(skeleton, (0, shape.shape[2] - len(skeleton)))
        both = directions(np.concatenate([body[None], shape[:, 0]])) / self.scales[:, None]
        context = np.concatenate([np.zeros((1, self.context)), seen[:, 0]])
        return np.concatenate([both, context], axis=1).astype(np.float32).ravel()


def scales(skeletons: FloatArray, images: FloatArray) -> FloatArray:
    """Mean distance between people in each part: (N, S) and (N, P - 1, D + C) -> (P,)."""
    context = GeiParts.context
    every = [directions(skeletons), *(directions(images[:, part, :-context]) for part in range(images.shape[1]))]
    pairs = len(skeletons) * (len(skeletons) - 1)
    return np.array([Against(unit, "euclidean")(unit).sum() / pairs for unit in every])
