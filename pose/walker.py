"""Made-up people and how they walk: limb lengths, gait style, joints in 3D over time. Rendered data, not real people.

Body axes are x to the walker's left, y up, z forward; the ground is y = 0.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.skeleton import H36M17

BODY = (*H36M17.joints, "left_toe", "right_toe", "left_hand", "right_hand", "chin")
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Walker:
    """One person. Lengths in metres, angles in radians, rates in strides a second.

    Attributes:
        length: of the limbs by name, left and right alike.
        colour: of skin, hair, shirt, trousers, shoes, coat and bag (BGR).
    """

    length: dict[str, float]
    girth: float
    cadence: float
    hip_swing: float
    hip_offset: float
    knee_swing: float
    knee_stance: float
    arm_swing: float
    elbow: float
    arms_apart: float
    lean: float
    sway: float
    pelvis_turn: float
    shoulder_turn: float
    step_width: float
    head_forward: float
    asymmetry: float
    colour: dict[str, Colour] = field(default_factory=dict)


# Share of the body height (Winter, Biomechanics and Motor Control of Human Movement, table 4.1), and half widths.
SHARES = {
    "thigh": 0.245,
    "shank": 0.246,
    "foot": 0.13,
    "trunk": 0.288,
    "neck": 0.075,
    "head": 0.115,
    "upper_arm": 0.186,
    "forearm": 0.146,
    "hand": 0.06,
    "shoulder": 0.115,
    "hip": 0.06,
    "ankle": 0.045,
}


def walker(seed: int, subject: int) -> Walker:
    """Person number `subject` of a seed: always the same, however many others there are."""
    rng = np.random.default_rng((seed, subject, 1))
    height = float(np.clip(rng.normal(1.71, 0.09), 1.5, 1.95))

    def around(mean: float, spread: float) -> float:
        return mean + spread * _normal(rng)

    return Walker(
        length={name: height * share * around(1.0, 0.045) for name, share in SHARES.items()},
        girth=around(1.0, 0.13),
        cadence=around(0.93, 0.08),
        hip_swing=around(0.42, 0.06),
        hip_offset=around(0.12, 0.04),
        knee_swing=around(1.05, 0.1),
        knee_stance=around(0.22, 0.08),
        arm_swing=around(0.42, 0.17),
        elbow=around(0.4, 0.2),
        arms_apart=around(0.12, 0.05),
        lean=around(0.05, 0.05),
        sway=around(0.02, 0.008),
        pelvis_turn=around(0.1, 0.05),
        shoulder_turn=around(0.12, 0.05),
        step_width=around(0.0, 0.03),
        head_forward=around(0.25, 0.12),
        asymmetry=around(0.0, 0.06),
        colour={name: _colour(rng, name) for name in ("skin", "hair", "shirt", "trousers", "shoes", "coat", "bag")},
    )


def another_day(person: Walker, rng: np.random.Generator) -> Walker:
    """The same body in other clothes and another mood: pace, posture and arms differ as they do between days, limbs do not."""

    def about(value: float, share: float, spread: float = 0.0) -> float:
        return value * (1 + share * _normal(rng)) + spread * _normal(rng)

    pockets = rng.random() < 0.15
    return replace(
        person,
        cadence=about(person.cadence, 0.06),
        hip_swing=about(person.hip_swing, 0.1),
        knee_swing=about(person.knee_swing, 0.05),
        knee_stance=about(person.knee_stance, 0.1),
        arm_swing=0.08 if pockets else person.arm_swing * float(rng.uniform(0.5, 1.3)),
        elbow=1.0 if pockets else about(person.elbow, 0.0, 0.12),
        arms_apart=about(person.arms_apart, 0.0, 0.05),
        lean=about(person.lean, 0.0, 0.035),
        shoulder_turn=about(person.shoulder_turn, 0.2),
        step_width=about(person.step_width, 0.0, 0.01),
        head_forward=about(person.head_forward, 0.0, 0.08),
        colour={name: old if name in ("skin", "hair") else _colour(rng, name) for name, old in person.colour.items()},
    )


def _normal(rng: np.random.Generator) -> float:
    """Within two deviations."""
    return float(np.clip(rng.normal(), -2, 2))


def walk(person: Walker, time: FloatArray, rng: np.random.Generator, condition: str = "nm") -> tuple[FloatArray, FloatArray]:
    """Joints over time.

    The foot that is lower stands: the body moves forward as that foot moves back under it, so feet do not slide.

    Args:
        time: (T,) seconds, evenly spaced.
        rng: for what differs from one recording to the next.

    Returns:
        Joints (T, len(BODY), 3) in body axes over the ground, in the order of BODY, and how far the person has come (T,) metres.
    """
    pace = person.cadence * (1 + 0.03 * rng.normal()) * (0.96 if condition != "nm" else 1.0)
    phase = rng.random() + pace * time
    step = time[1] - time[0] if len(time) > 1 else 0.04
    joints = _pose(person, phase, rng)
    behind = _pose(person, phase - pace * step, np.random.default_rng(0))
    feet = [BODY.index("left_ankle"), BODY.index("right_ankle")]
    stance = joints[:, feet, 1].argmin(axis=1)
    rows = np.arange(len(time))
    index = np.array(feet)[stance]
    advance = behind[rows, index, 2] - joints[rows, index, 2]
    joints[..., 1] -= (joints[:, feet, 1].min(axis=1) - person.length["ankle"])[:, None]
    return joints, np.cumsum(np.maximum(advance, 0.0))


def _pose(p: Walker, phase: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Joints relative to the pelvis at some phases of the stride (left heel strike at 0)."""
    turn = 2 * np.pi * phase
    length = p.length
    joint: dict[str, FloatArray] = {"pelvis": _vector(p.sway * np.sin(turn), 0 * turn, 0 * turn)}
    up, shoulders_turn = np.array([0.0, 1.0, 0.0]), -p.shoulder_turn * np.cos(turn)
    spine = _vector(0 * turn, np.cos(p.lean) + 0 * turn, np.sin(p.lean) + 0 * turn)
    joint["thorax"] = joint["pelvis"] + length["trunk"] * spine
    joint["spine"] = (joint["pelvis"] + joint["thorax"]) / 2
    head = _vector(0 * turn, np.cos(p.head_forward) + 0 * turn, np.sin(p.head_forward) + 0 * turn)
    joint["chin"] = joint["thorax"] + length["neck"] * head
    joint["head"] = joint["chin"] + length["head"] * up
    joint["nose"] = joint["chin"] + 0.4 * length["head"] * up + np.array([0, 0, 0.5 * length["head"]])
    for side, sign, shift in (("left", 1.0, 0.0), ("right", -1.0, 0.5)):
        own = (phase + shift) % 1.0
        swing = 2 * np.pi * own
        scale = 1 + sign * p.asymmetry
        # Pelvis and shoulders turn against each other.
        hip = joint["pelvis"] + sign * length["hip"] * _about_up(p.pelvis_turn * np.cos(turn))
        hip_angle = p.hip_offset + scale * p.hip_swing * np.cos(swing)
        knee_angle = 0.06 + p.knee_stance * _bump(own, 0.14, 0.08) + scale * p.knee_swing * _bump(own, 0.72, 0.1)
        knee = hip + length["thigh"] * _forward(hip_angle, sign * p.step_width)
        ankle = knee + length["shank"] * _forward(hip_angle - knee_angle, 0.0)
        pitch = 0.35 * np.cos(swing) * _bump(own, 0.0, 0.1) - 0.7 * _bump(own, 0.62, 0.09)
        toe = ankle + _vector(
            0.15 * sign * length["foot"] + 0 * own, length["foot"] * np.sin(pitch) - 0.02, length["foot"] * np.cos(pitch)
        )
        shoulder = joint["thorax"] + sign * length["shoulder"] * _about_up(shoulders_turn) - 0.03 * up
        arm_angle = -0.1 - scale * p.arm_swing * np.cos(swing)
        elbow = shoulder + length["upper_arm"] * _forward(arm_angle, sign * p.arms_apart)
        wrist = elbow + length["forearm"] * _forward(
            arm_angle + p.elbow + 0.3 * p.arm_swing * (1 - np.cos(swing)), sign * p.arms_apart * 0.5
        )
        hand = wrist + (wrist - elbow) * length["hand"] / length["forearm"]
        leg = {"hip": hip, "knee": knee, "ankle": ankle, "toe": toe}
        arm = {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": hand}
        joint |= {f"{side}_{name}": value for name, value in (leg | arm).items()}
    return np.stack([joint[name] for name in BODY], axis=1)


def _bump(phase: FloatArray, centre: float, width: float) -> FloatArray:
    """A smooth bump on the circle of phases."""
    distance = (phase - centre + 0.5) % 1.0 - 0.5
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2))


def _forward(angle: FloatArray, outward: float) -> FloatArray:
    """Unit vector that hangs down and is swung forward by an angle and outward by another."""
    return _vector(np.sin(outward) + 0 * angle, -np.cos(angle) * np.cos(outward), np.sin(angle) * np.cos(outward))


def _about_up(angle: FloatArray) -> FloatArray:
    """The leftward unit vector, turned about the vertical."""
    return _vector(np.cos(angle), 0 * angle, -np.sin(angle))


def _vector(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    return np.stack([x, y, z], axis=-1)


def _colour(rng: np.random.Generator, what: str) -> Colour:
    if what == "skin":
        tone = rng.uniform(0.45, 1.0)
        return int(150 * tone), int(180 * tone), int(235 * tone)
    if what == "hair":
        tone = rng.uniform(0.1, 0.8)
        return int(50 * tone), int(80 * tone), int(120 * tone)
    low, high = {"trousers": (25, 110), "shoes": (15, 70), "coat": (30, 130)}.get(what, (40, 230))
    b, g, r = rng.integers(low, high, 3)
    return int(b), int(g), int(r)
