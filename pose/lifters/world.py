"""The estimator's own 3D (MediaPipe's world landmarks), carried over to another skeleton by joint names."""

import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import ItemError
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import Skeleton, remap


class World:
    """Fulfils `gaitreid.pose.lift.Lifter`."""

    rigid = False

    def lift(self, track: Track2D, target: Skeleton) -> tuple[FloatArray, FloatArray]:
        """See `Lifter.lift`.

        Raises:
            ItemError: `no-3d`, the estimator gave none.
        """
        if not np.isfinite(track.world).any():
            raise ItemError("no-3d", "the pose estimator gave no 3D: choose another --lifter")
        return remap(track.world, track.score, track.skeleton, target)
