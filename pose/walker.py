"""Made-up people and how they walk: limb lengths, gait, clothes, joints in 3D over time. Not real people.

Ground axes are x to the walker's left, y up, z forward; the ground is y = 0.
"""

import colorsys
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.skeleton import H36M17

# The joints of H36M17, then what is needed to draw: `neck` is the base of the skull.
BODY = (*H36M17.joints, "neck", *(f"{side}_{part}" for side in ("left", "right") for part in ("hand", "heel", "ball", "toe")))
SOLE = 0.03  # metres from the ground to the middle of a foot
STANCE = 0.62  # of the stride, from heel strike to toe off
AHEAD = 0.25  # of the stride that the pelvis covers between heel strike and passing over the foot
STRETCH = 0.998  # of the leg's length is the most that a step needs

Colour = tuple[int, int, int]

# Shares of the body height (Winter, Biomechanics and Motor Control of Human Movement, 4th ed., figure 4.1); hips and
# shoulders are half widths between joint centres, the foot is given forward and backward of the ankle.
SHARES = {
    "thigh": 0.245,
    "shank": 0.246,
    "ankle": 0.039,
    "heel": 0.028,
    "ball": 0.075,
    "toe": 0.032,
    "trunk": 0.288,
    "neck": 0.052,
    "head": 0.13,
    "upper_arm": 0.186,
    "forearm": 0.146,
    "hand": 0.06,
    "shoulder": 0.112,
    "hip": 0.058,
}


@dataclass(frozen=True)
class Gait:
    """How somebody walks. Angles in radians.

    Attributes:
        cadence: strides a second.
        stride: length of two steps over the body height.
        step_width: between the feet, metres.
        toe_out: of the feet from straight ahead.
        strike, push: pitch of the foot at heel strike (toes up) and after toe off (heel up).
        lift: of the swinging foot, metres.
        crouch: how much lower the pelvis is than the legs allow, metres.
        sway: of the pelvis, sideways, metres.
        pelvis_turn, pelvis_drop, shoulder_turn: about the vertical, about the way forward, about the vertical.
        lean, head_forward: of the trunk and of the neck.
        arm_swing, arm_back, arms_apart: of the upper arms.
        elbow, elbow_swing: bend, and how much it changes.
        limp: share of the stride by which the right foot is early.
        arm_bias: the left arm swings by so much more, the right by so much less.
    """

    cadence: float
    stride: float
    step_width: float
    toe_out: float
    strike: float
    push: float
    lift: float
    crouch: float
    sway: float
    pelvis_turn: float
    pelvis_drop: float
    shoulder_turn: float
    lean: float
    head_forward: float
    arm_swing: float
    arm_back: float
    arms_apart: float
    elbow: float
    elbow_swing: float
    limp: float
    arm_bias: float


GAIT_MEAN = Gait(
    0.93, 0.74, 0.11, 0.12, 0.33, 1.0, 0.05, 0.005, 0.022, 0.1, 0.05, 0.13, 0.05, 0.22, 0.38, 0.08, 0.12, 0.32, 0.25, 0, 0
)
GAIT_SPREAD = Gait(
    0.07,
    0.05,
    0.035,
    0.08,
    0.07,
    0.1,
    0.018,
    0.002,
    0.009,
    0.04,
    0.025,
    0.06,
    0.04,
    0.1,
    0.14,
    0.07,
    0.05,
    0.17,
    0.14,
    0.012,
    0.15,
)


@dataclass(frozen=True)
class Walker:
    """One person.

    Attributes:
        length: of the limbs by the names of SHARES, metres; left and right alike.
        girth: of the body over the average.
        colour: of skin, hair, shirt, trousers, shoes, coat and bag (BGR).
        long_hair, long_sleeves, backpack: or else short hair, short sleeves, a handbag in the left hand.
    """

    length: dict[str, float]
    girth: float
    gait: Gait
    colour: dict[str, Colour]
    long_hair: bool
    long_sleeves: bool
    backpack: bool


def walker(seed: int, subject: int) -> Walker:
    """Person number `subject` of a seed: always the same, however many others there are."""
    rng = np.random.default_rng((seed, subject, 1))
    height = float(np.clip(rng.normal(1.70, 0.09), 1.5, 1.93))
    return Walker(
        length={name: height * share * (1 + 0.04 * _spread(rng)) for name, share in SHARES.items()},
        girth=1 + 0.1 * _spread(rng),
        gait=_varied(GAIT_MEAN, 1.0, rng),
        colour=_colours(rng),
        long_hair=bool(rng.random() < 0.4),
        long_sleeves=bool(rng.random() < 0.5),
        backpack=bool(rng.random() < 0.6),
    )


def walk(person: Walker, time: FloatArray, rng: np.random.Generator, condition: str = "nm") -> FloatArray:
    """Joints over time: (T, len(BODY), 3) metres in ground axes, in the order of BODY.

    The feet come first: planted, rolled from heel to ball, swung to the next footprint. The pelvis moves on evenly above
    them, as high as the legs reach, and the knees follow from hips and ankles; so feet do not slide.

    Args:
        time: (T,) seconds.
        rng: for what differs from one recording to the next.
        condition: nm, bg (a bag) or cl (a coat).
    """
    gait = _dressed(_varied(person.gait, 0.12, rng), condition, person.backpack)
    phase = rng.random() + gait.cadence * time
    joint = {"pelvis": _pelvis(person, gait, phase) + _up(_height(person, gait, phase))}
    for side in ("left", "right"):
        joint |= _leg(person, gait, phase, side, joint["pelvis"])
    joint |= _trunk(person, gait, joint["pelvis"])
    carrying = condition == "bg" and not person.backpack
    for side in ("left", "right"):
        joint |= _arm(person, gait, phase, side, joint["thorax"], still=carrying and side == "left")
    return np.stack([joint[name] for name in BODY], axis=1)


def _dressed(gait: Gait, condition: str, backpack: bool) -> Gait:
    """What a load or a coat does to the way of walking."""
    if condition == "bg" and backpack:
        return replace(gait, lean=gait.lean + 0.05, arm_swing=0.85 * gait.arm_swing)
    if condition == "cl":
        return replace(gait, cadence=0.98 * gait.cadence, stride=0.96 * gait.stride, arms_apart=gait.arms_apart + 0.04)
    return gait


def _pelvis(p: Walker, g: Gait, phase: FloatArray) -> FloatArray:
    """Pelvis (T, 3) at phases of the left leg's stride (whole numbers: heel strike), its height apart: over the foot it passes."""
    return np.stack([g.sway * np.cos(2 * np.pi * (phase - AHEAD)), 0 * phase, _stride(p, g) * phase], axis=-1)


def _height(p: Walker, g: Gait, phase: FloatArray) -> FloatArray:
    """Height of the pelvis (T,): a smooth curve that keeps both legs long enough all through the stride."""
    cycle = np.arange(128) / 128
    limit = np.minimum(_reach(p, g, cycle, "left"), _reach(p, g, cycle, "right"))
    spectrum = np.fft.rfft(limit)
    spectrum[7:] = 0
    curve = np.fft.irfft(spectrum)
    return np.asarray(np.interp(phase, cycle, curve - (curve - limit).max() - g.crouch, period=1))


def _hip(p: Walker, g: Gait, phase: FloatArray, side: str) -> FloatArray:
    """Hip from the pelvis (T, 3): ahead at its own heel strike, low while its leg swings."""
    out = _sign(side) * p.length["hip"]
    turn, drop = g.pelvis_turn * np.cos(2 * np.pi * phase), g.pelvis_drop * np.cos(2 * np.pi * (phase - AHEAD))
    return out * np.stack([np.cos(turn) * np.cos(drop), np.sin(drop), np.sin(turn)], axis=-1)


def _reach(p: Walker, g: Gait, phase: FloatArray, side: str) -> FloatArray:
    """The height of the pelvis (T,) at which a leg would be straight."""
    away = _pelvis(p, g, phase) + _hip(p, g, phase, side) - _foot(p, g, phase, side)[0]
    leg = STRETCH * (p.length["thigh"] + p.length["shank"])
    return np.asarray(np.sqrt(np.maximum(leg**2 - away[:, 0] ** 2 - away[:, 2] ** 2, 0)) - away[:, 1])


def _leg(p: Walker, g: Gait, phase: FloatArray, side: str, pelvis: FloatArray) -> dict[str, FloatArray]:
    hip = pelvis + _hip(p, g, phase, side)
    ankle, pitch = _foot(p, g, phase, side)
    ahead = _ahead(g, side)
    sole, length = p.length["ankle"] - SOLE, p.length

    def on_foot(forward: float) -> FloatArray:
        """A point of the foot, `forward` of the ankle."""
        z, y = forward * np.cos(pitch) + sole * np.sin(pitch), forward * np.sin(pitch) - sole * np.cos(pitch)
        return ankle + z[:, None] * ahead + _up(y)

    ball = on_foot(length["ball"])
    toe = np.where(pitch < 0, 0.15 * pitch, pitch)  # toes stay on the ground while the heel rises
    found = {
        "hip": hip,
        "knee": _bend(hip, ankle, length["thigh"], length["shank"], ahead),
        "ankle": ankle,
        "heel": on_foot(-length["heel"]),
        "ball": ball,
        "toe": ball + length["toe"] * (np.cos(toe)[:, None] * ahead + _up(np.sin(toe))),
    }
    return {f"{side}_{name}": value for name, value in found.items()}


def _foot(p: Walker, g: Gait, phase: FloatArray, side: str) -> tuple[FloatArray, FloatArray]:
    """Ankle (T, 3) over the ground, and pitch of the foot (T,), toes up."""
    lead = 0.0 if side == "left" else 0.5 + g.limp  # by how much this side's strides are early
    count, own = np.divmod(phase + lead, 1.0)
    ahead, stride = _ahead(g, side), np.array([0, 0, _stride(p, g)])
    knots = [(0, g.strike), (0.1, 0), (0.38, 0), (STANCE, -0.8 * g.push), (0.68, -g.push), (0.86, 0.1), (1, g.strike)]
    pitch_at = PchipInterpolator(*zip(*knots, strict=True))

    def planted(at: FloatArray) -> FloatArray:
        """Ankle from the footprint while the foot rolls over its heel, stands, and rolls over its ball."""
        pitch = pitch_at(at)
        pivot = np.where(pitch > 0, -p.length["heel"], p.length["ball"])
        z = pivot - pivot * np.cos(pitch) - p.length["ankle"] * np.sin(pitch)
        y = -pivot * np.sin(pitch) + p.length["ankle"] * np.cos(pitch)
        return z[:, None] * ahead + _up(y)

    u = np.clip((own - STANCE) / (1 - STANCE), 0, 1)[:, None]
    off, before, strike = planted(np.array([STANCE, STANCE - 1e-4, 0.0]))
    start = (off - before) / 1e-4 * (1 - STANCE)  # velocity at toe off, per swing
    swing = (
        off
        + (u**3 - 2 * u**2 + u) * start
        + (3 * u**2 - 2 * u**3) * (strike + stride - off)
        + _up(g.lift * 16 * (u * (1 - u))[:, 0] ** 2)
    )
    path = np.where(own[:, None] < STANCE, planted(own), swing)
    footprint = (count - lead + AHEAD)[:, None] * stride + [_sign(side) * g.step_width / 2, 0, 0]
    return footprint + path, pitch_at(own)


def _trunk(p: Walker, g: Gait, pelvis: FloatArray) -> dict[str, FloatArray]:
    """The trunk leans forward and against the sway; the head is upright on a neck that leans more."""
    spine = np.stack(
        [-0.6 * pelvis[:, 0] / p.length["trunk"], *np.full((2, len(pelvis)), [[np.cos(g.lean)], [np.sin(g.lean)]])], -1
    )
    thorax = pelvis + p.length["trunk"] * spine
    neck = thorax + p.length["neck"] * np.array([0, np.cos(g.head_forward), np.sin(g.head_forward)])
    head = p.length["head"]
    return {
        "thorax": thorax,
        "spine": (pelvis + thorax) / 2,
        "neck": neck,
        "head": neck + [0, head, 0],
        "nose": neck + [0, 0.4 * head, 0.5 * head],
    }


def _arm(p: Walker, g: Gait, phase: FloatArray, side: str, thorax: FloatArray, still: bool) -> dict[str, FloatArray]:
    """An arm swings against the leg of its side, and so do the shoulders; an arm that carries something hangs."""
    sign, cycle = _sign(side), np.cos(2 * np.pi * phase)
    turn = -g.shoulder_turn * cycle
    shoulder = thorax + sign * p.length["shoulder"] * np.stack([np.cos(turn), 0 * turn, np.sin(turn)], -1)
    forward = -sign * cycle * (0.2 if still else 1 + sign * g.arm_bias)
    upper = -g.arm_back + g.arm_swing * forward
    lower = upper + (0.1 if still else g.elbow + g.elbow_swing * forward)
    elbow = shoulder + p.length["upper_arm"] * _hanging(upper, sign * g.arms_apart)
    along = _hanging(lower, sign * 0.3 * g.arms_apart)
    wrist = elbow + p.length["forearm"] * along
    found = {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": wrist + p.length["hand"] * along}
    return {f"{side}_{name}": value for name, value in found.items()}


def _bend(a: FloatArray, c: FloatArray, first: float, second: float, towards: FloatArray) -> FloatArray:
    """The joint (T, 3) between two limbs from a to c that bends `towards`."""
    line = c - a
    reach = np.linalg.norm(line, axis=1, keepdims=True)
    line /= reach
    along = (first**2 - second**2 + reach**2) / (2 * reach)
    aside = towards - (line @ towards)[:, None] * line
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return np.asarray(a + along * line + np.sqrt(np.maximum(first**2 - along**2, 0)) * aside)


def _hanging(forward: FloatArray, outward: float) -> FloatArray:
    """Unit vectors (T, 3) that hang down, swung forward and outward by angles."""
    down = -np.cos(outward) * np.cos(forward)
    return np.stack([np.full_like(forward, np.sin(outward)), down, np.cos(outward) * np.sin(forward)], axis=-1)


def _ahead(g: Gait, side: str) -> FloatArray:
    """Where a foot points: (3,)."""
    return np.array([_sign(side) * np.sin(g.toe_out), 0, np.cos(g.toe_out)])


def _stride(p: Walker, g: Gait) -> float:
    """Length of a stride in metres; the body's height is what its parts add up to."""
    return g.stride * sum(p.length[name] for name in ("ankle", "shank", "thigh", "trunk", "neck", "head"))


def _sign(side: str) -> float:
    return 1.0 if side == "left" else -1.0


def _up(y: FloatArray) -> FloatArray:
    return np.stack([0 * y, y, 0 * y], axis=-1)


def _varied(gait: Gait, share: float, rng: np.random.Generator) -> Gait:
    """A gait around another, by a share of how much people differ."""
    spread = asdict(GAIT_SPREAD)
    return Gait(**{name: value + share * spread[name] * _spread(rng) for name, value in asdict(gait).items()})


def _spread(rng: np.random.Generator) -> float:
    """Standard normal, cut off at two deviations."""
    return float(np.clip(rng.normal(), -2, 2))


SKIN: tuple[Colour, ...] = ((189, 206, 236), (160, 188, 226), (128, 160, 205), (92, 125, 176), (62, 90, 140), (42, 58, 92))
HAIR: tuple[Colour, ...] = ((24, 24, 28), (30, 42, 62), (40, 66, 100), (96, 150, 190), (130, 132, 136))


def _colours(rng: np.random.Generator) -> dict[str, Colour]:
    def cloth(saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
        r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
        return int(255 * b), int(255 * g), int(255 * r)

    return {
        "skin": SKIN[rng.integers(len(SKIN))],
        "hair": HAIR[rng.integers(len(HAIR))],
        "shirt": cloth((0.2, 0.75), (0.45, 0.95)),
        "trousers": cloth((0.1, 0.6), (0.18, 0.5)),
        "shoes": cloth((0.0, 0.5), (0.12, 0.4)),
        "coat": cloth((0.1, 0.55), (0.2, 0.6)),
        "bag": cloth((0.3, 0.8), (0.3, 0.8)),
    }
