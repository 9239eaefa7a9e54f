"""Skeletons: joints and bones by name, and maps between them by name.

A map is a matrix with one row a target joint; each row sums to one, so it holds for any affine coordinates (pixels,
metres, camera or world frame). A target joint that the source also has is taken as it is; one that it lacks is built
from the source's joints as DERIVED says.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import UsageError


@dataclass(frozen=True)
class Skeleton:
    """Joint names in storage order, and bones as pairs of joint indices (parent first)."""

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    def index(self, joint: str) -> int:
        """Position of a joint.

        Raises:
            UsageError: the skeleton has no joint of this name.
        """
        try:
            return self.joints.index(joint)
        except ValueError:
            raise UsageError(f"skeleton {self.name} has no joint '{joint}': it has {', '.join(self.joints)}") from None

    def indices(self, *joints: str) -> list[int]:
        """Positions of several joints."""
        return [self.index(j) for j in joints]

    def mirror(self) -> list[int]:
        """For every joint the position of the one on the other side; its own where it has none."""
        return [self.index("_".join(_OTHER_SIDE.get(word, word) for word in joint.split("_"))) for joint in self.joints]


_OTHER_SIDE = {"left": "right", "right": "left"}


def _skeleton(name: str, joints: str, bones: str) -> Skeleton:
    """A skeleton from words: `bones` holds chains such as 'hip-knee-ankle'."""
    names = tuple(joints.split())
    edges: list[tuple[int, int]] = []
    for chain in bones.split():
        ids = [names.index(j) for j in chain.split("-")]
        edges += pairwise(ids)
    return Skeleton(name, names, tuple(edges))


BLAZEPOSE33 = _skeleton(
    "blazepose33",
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear mouth_left "
    "mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_pinky right_pinky "
    "left_index right_index left_thumb right_thumb left_hip right_hip left_knee right_knee left_ankle right_ankle "
    "left_heel right_heel left_foot right_foot",
    "left_ear-left_eye_outer-left_eye-left_eye_inner-nose-right_eye_inner-right_eye-right_eye_outer-right_ear "
    "mouth_left-mouth_right left_shoulder-right_shoulder left_hip-right_hip left_shoulder-left_hip right_shoulder-right_hip "
    "left_shoulder-left_elbow-left_wrist-left_index-left_pinky left_wrist-left_thumb "
    "right_shoulder-right_elbow-right_wrist-right_index-right_pinky right_wrist-right_thumb "
    "left_hip-left_knee-left_ankle-left_heel-left_foot right_hip-right_knee-right_ankle-right_heel-right_foot",
)

COCO17 = _skeleton(
    "coco17",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle",
    "left_ear-left_eye-nose-right_eye-right_ear left_shoulder-right_shoulder left_hip-right_hip left_shoulder-left_hip "
    "right_shoulder-right_hip left_shoulder-left_elbow-left_wrist right_shoulder-right_elbow-right_wrist "
    "left_hip-left_knee-left_ankle right_hip-right_knee-right_ankle",
)

H36M17 = _skeleton(
    "h36m17",
    "pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax nose head "
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist",
    "pelvis-right_hip-right_knee-right_ankle pelvis-left_hip-left_knee-left_ankle pelvis-spine-thorax-nose-head "
    "thorax-left_shoulder-left_elbow-left_wrist thorax-right_shoulder-right_elbow-right_wrist",
)

# OpenPose's neck is the middle of the shoulders, which is the thorax here; its MidHip the pelvis.
COCO18 = _skeleton(
    "coco18",
    "nose thorax right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee right_ankle "
    "left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
    "thorax-nose-right_eye-right_ear nose-left_eye-left_ear thorax-right_shoulder-right_elbow-right_wrist "
    "thorax-left_shoulder-left_elbow-left_wrist thorax-right_hip-right_knee-right_ankle thorax-left_hip-left_knee-left_ankle",
)
BODY25 = _skeleton(
    "body25",
    "nose thorax right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist pelvis right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe left_small_toe left_heel "
    "right_big_toe right_small_toe right_heel",
    "pelvis-thorax-nose-right_eye-right_ear nose-left_eye-left_ear thorax-right_shoulder-right_elbow-right_wrist "
    "thorax-left_shoulder-left_elbow-left_wrist pelvis-right_hip-right_knee-right_ankle-right_big_toe-right_small_toe "
    "right_ankle-right_heel pelvis-left_hip-left_knee-left_ankle-left_big_toe-left_small_toe left_ankle-left_heel",
)

# AlphaPose; the head is its top, the neck a joint of its own.
HALPE26 = _skeleton(
    "halpe26",
    " ".join(COCO17.joints) + " head neck pelvis left_big_toe right_big_toe left_small_toe right_small_toe left_heel right_heel",
    "pelvis-neck-head neck-nose-right_eye-right_ear nose-left_eye-left_ear neck-right_shoulder-right_elbow-right_wrist "
    "neck-left_shoulder-left_elbow-left_wrist pelvis-right_hip-right_knee-right_ankle-right_big_toe-right_small_toe "
    "right_ankle-right_heel pelvis-left_hip-left_knee-left_ankle-left_big_toe-left_small_toe left_ankle-left_heel",
)

# CMU's motion capture (ASF/AMC), joints in its order: root, lhipjoint, rhipjoint, lowerback, lfemur, ltibia, lfoot, ltoes ...
# Its names are of bones and its points their far ends: `lfemur` is the knee, `lclavicle` the shoulder, `lradius` two thirds
# down the forearm, `lwrist` the wrist, `thorax` 7 cm below the shoulders, `head` between the ears and not the top.
CMU31 = _skeleton(
    "cmu31",
    "root left_hip right_hip lower_back left_knee left_ankle left_toe_base left_foot right_knee right_ankle right_toe_base "
    "right_foot upper_back chest neck left_shoulder right_shoulder upper_neck skull left_elbow left_forearm left_wrist left_hand "
    "left_thumb left_hand_tip right_elbow right_forearm right_wrist right_hand right_thumb right_hand_tip",
    "root-left_hip-left_knee-left_ankle-left_toe_base-left_foot root-right_hip-right_knee-right_ankle-right_toe_base-right_foot "
    "root-lower_back-upper_back-chest-neck-upper_neck-skull "
    "chest-left_shoulder-left_elbow-left_forearm-left_wrist-left_hand-left_hand_tip left_wrist-left_thumb "
    "chest-right_shoulder-right_elbow-right_forearm-right_wrist-right_hand-right_hand_tip right_wrist-right_thumb",
)

# CAGE's CASIA-B order (shared by the 14-joint lifter of Chen and Ramanan, CVPR 2017, where joint 0 is the head top).
CASIA14 = _skeleton(
    "casia14",
    "head neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
    "right_hip right_knee right_ankle left_hip left_knee left_ankle",
    "head-neck-right_shoulder-right_elbow-right_wrist neck-left_shoulder-left_elbow-left_wrist "
    "neck-right_hip-right_knee-right_ankle neck-left_hip-left_knee-left_ankle",
)

# Kinect v1 (BIWI, IAS-Lab, KGBD) and v2 (KS20).
KINECT20 = _skeleton(
    "kinect20",
    "pelvis spine neck head left_shoulder left_elbow left_wrist left_hand right_shoulder right_elbow right_wrist right_hand "
    "left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot",
    "pelvis-spine-neck-head neck-left_shoulder-left_elbow-left_wrist-left_hand "
    "neck-right_shoulder-right_elbow-right_wrist-right_hand pelvis-left_hip-left_knee-left_ankle-left_foot "
    "pelvis-right_hip-right_knee-right_ankle-right_foot",
)
KINECT25 = _skeleton(
    "kinect25",
    " ".join(KINECT20.joints) + " spine_shoulder left_hand_tip left_thumb right_hand_tip right_thumb",
    "pelvis-spine-spine_shoulder-neck-head spine_shoulder-left_shoulder-left_elbow-left_wrist-left_hand-left_hand_tip "
    "left_wrist-left_thumb spine_shoulder-right_shoulder-right_elbow-right_wrist-right_hand-right_hand_tip "
    "right_wrist-right_thumb pelvis-left_hip-left_knee-left_ankle-left_foot pelvis-right_hip-right_knee-right_ankle-right_foot",
)

SKELETONS = {s.name: s for s in (BLAZEPOSE33, COCO17, COCO18, BODY25, HALPE26, H36M17, CASIA14, KINECT20, KINECT25, CMU31)}

# Joints built from others where a source lacks them; an alternative is used when all its joints can be had.
# The head top lies beyond the ears by about half the distance from the shoulders to the ears; the neck a fifth of that
# distance above the shoulders. A skull is a point between the ears. A foot is the tip of the big toe. Hands go on where
# forearms end.
DERIVED: dict[str, tuple[dict[str, float], ...]] = {
    "pelvis": ({"left_hip": 0.5, "right_hip": 0.5},),
    "thorax": ({"left_shoulder": 0.5, "right_shoulder": 0.5},),
    "spine": ({"pelvis": 0.5, "thorax": 0.5},),
    "spine_shoulder": ({"thorax": 1.0},),
    "head": (
        {"left_ear": 0.75, "right_ear": 0.75, "left_shoulder": -0.25, "right_shoulder": -0.25},
        {"skull": 1.5, "thorax": -0.5},
        {"nose": 1.5, "thorax": -0.5},
    ),
    "neck": ({"left_ear": 0.1, "right_ear": 0.1, "left_shoulder": 0.4, "right_shoulder": 0.4}, {"thorax": 1.0}),
    "nose": ({"neck": 0.5, "head": 0.5},),
    "left_hand": ({"left_index": 0.5, "left_pinky": 0.5}, {"left_wrist": 1.35, "left_elbow": -0.35}),
    "right_hand": ({"right_index": 0.5, "right_pinky": 0.5}, {"right_wrist": 1.35, "right_elbow": -0.35}),
    "left_hand_tip": ({"left_index": 1.0}, {"left_wrist": 1.7, "left_elbow": -0.7}),
    "right_hand_tip": ({"right_index": 1.0}, {"right_wrist": 1.7, "right_elbow": -0.7}),
    "left_thumb": ({"left_wrist": 1.45, "left_elbow": -0.45},),
    "left_foot": ({"left_big_toe": 1.0},),
    "right_thumb": ({"right_wrist": 1.45, "right_elbow": -0.45},),
    "right_foot": ({"right_big_toe": 1.0},),
    "left_big_toe": ({"left_foot": 1.0},),
    "right_big_toe": ({"right_foot": 1.0},),
}

# What other tools and data sets call joints that have another name here.
ALIASES = {
    "hip": "pelvis",
    "mid_hip": "pelvis",
    "midhip": "pelvis",
    "root": "pelvis",
    "head_top": "head",
    "top_head": "head",
    "upper_neck": "neck",
    "head_bottom": "neck",  # PoseTrack's
}


def skeleton(name: str) -> Skeleton:
    """A built-in skeleton by name.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in SKELETONS:
        raise UsageError(f"unknown skeleton '{name}': choose from {', '.join(SKELETONS)}")
    return SKELETONS[name]


@cache
def mapping(source: Skeleton, target: Skeleton) -> NDArray[np.float64]:
    """Matrix (target joints, source joints) whose rows sum to one.

    Raises:
        UsageError: a target joint can be neither found nor built.
    """
    weights = known(source, target)
    lacking = np.flatnonzero(np.isnan(weights).any(axis=1))
    if len(lacking):
        joint = target.joints[lacking[0]]
        raise UsageError(
            f"joint '{joint}' of skeleton {target.name} cannot be built from {source.name}: choose another (lift.skeleton)"
        )
    return weights


@cache
def known(source: Skeleton, target: Skeleton) -> NDArray[np.float64]:
    """As `mapping`, but the rows of joints that cannot be built are NaN."""
    nowhere = np.full(len(source.joints), np.nan)
    rows = [_row(source, joint, ()) for joint in target.joints]
    return np.stack([nowhere if row is None else row for row in rows])


def remap(
    points: FloatArray, score: FloatArray, source: Skeleton, target: Skeleton, *, partial: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Carry joints over to another skeleton.

    Args:
        points: (..., source joints, C), any affine coordinates; NaN is missing.
        score: (..., source joints) in [0, 1].
        partial: joints that cannot be built are NaN with score 0, where `mapping` would be an error.

    Returns:
        (..., target joints, C) and (..., target joints); a joint built from several has the least of their scores, and
        is NaN where one of them is.
    """
    weights = known(source, target) if partial else mapping(source, target)
    points_out = np.full((*points.shape[:-2], len(target.joints), points.shape[-1]), np.nan, dtype=points.dtype)
    score_out = np.zeros((*score.shape[:-1], len(target.joints)), dtype=score.dtype)
    for row, w in enumerate(weights):
        if np.isnan(w).any():
            continue
        used = np.flatnonzero(w)
        points_out[..., row, :] = np.einsum("...jc,j->...c", points[..., used, :], w[used])
        score_out[..., row] = score[..., used].min(axis=-1)
    return points_out, score_out


def _row(source: Skeleton, joint: str, asked: tuple[str, ...]) -> NDArray[np.float64] | None:
    if joint in source.joints:
        return np.array([float(name == joint) for name in source.joints])
    if joint in asked:  # nose from head from nose: no way
        return None
    for recipe in DERIVED.get(joint, ()):
        parts = [(weight, _row(source, j, (*asked, joint))) for j, weight in recipe.items()]
        if all(row is not None for _, row in parts):
            total: NDArray[np.float64] = sum((w * row for w, row in parts if row is not None), np.zeros(len(source.joints)))
            return total
    return None
