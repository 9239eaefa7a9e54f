"""Pictures of made-up walkers: capsule bodies with clothes, a face and hair, in a room. Rendered data, not real people.

Camera axes are x right, y down, z away. View 0 walks towards the camera, 90 across it (to the left), 180 away, as CASIA-B's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.skeleton import H36M17
from gaitreid.pose.video import Image
from gaitreid.pose.walker import BODY, Colour, Walker, another_day, walk

WIDTH, HEIGHT, FPS = 320, 240, 25
FOCAL = 370.0  # pixels
CAMERA = 1.35  # metres above the ground
HORIZON = 112.0  # row of the picture at the camera's height
DISTANCE = 5.2  # metres to the middle of the path
NEAR = 0.5  # metres from the camera: who comes nearer, or is behind it, is not in the picture
FINE = 2  # drawn this much larger, then averaged down

# Capsules: from, to, radius at each end in metres, what they wear; but for the neck on both sides.
_PAIRS = (
    ("hip", "knee", 0.082, 0.058, "trousers"),
    ("knee", "ankle", 0.056, 0.036, "trousers"),
    ("ankle", "toe", 0.042, 0.03, "shoes"),
    ("shoulder", "elbow", 0.05, 0.04, "shirt"),
    ("elbow", "wrist", 0.038, 0.028, "skin"),
    ("wrist", "hand", 0.03, 0.026, "skin"),
)
LIMBS = (
    *((f"{side}_{a}", f"{side}_{b}", ra, rb, wear) for a, b, ra, rb, wear in _PAIRS for side in ("left", "right")),
    ("thorax", "chin", 0.05, 0.045, "skin"),
)


@dataclass(frozen=True)
class Dress:
    """What somebody wears.

    Attributes:
        coat: whether it covers shirt and arms.
        hem: how far down the coat hangs from the hip, in thighs; above 1 it ends below the knee.
        thick: width of trunk and sleeves, and `skirt` of the hem, times the usual.
        trousers: width of the legs, times the usual.
        bag: where one is carried.
        hood: how much larger than the hair it makes the head.
    """

    coat: bool = False
    hem: float = 0.9
    thick: float = 1.0
    skirt: float = 1.0
    trousers: float = 1.0
    bag: Literal["", "back", "front", "side"] = ""
    hood: float = 1.0


DRESSES = {"nm": Dress(), "bg": Dress(bag="back"), "cl": Dress(coat=True)}
BAGS = {"back": (0.0, 0.16), "front": (0.0, -0.18), "side": (0.2, 0.0)}  # metres to the side, and behind


@dataclass(frozen=True)
class Truth:
    """One person in one picture, joints in H36M17's order: xy (17, 2) pixels, xyz (17, 3) metres in camera axes.

    Joints may lie beyond the picture's edges; of somebody who is past the camera xy is NaN.
    """

    xy: FloatArray
    xyz: FloatArray


@dataclass(frozen=True)
class Rendered:
    """A picture (BGR) and the truth about the people in it, in the order in which they were given."""

    image: Image
    people: tuple[Truth, ...]


def scene(walkers: Sequence[Walker], condition: str, view: float, seconds: float, seed: tuple[int, ...]) -> Iterator[Rendered]:
    """One clip, frame by frame.

    Several people walk on parallel lanes, every other one the opposite way, and so cross.

    Args:
        condition: nm, bg (a bag), cl (a long coat) or day (clothes, bags and habits of any other day, and
            pictures of any sharpness).
        seed: of the room, of what differs between recordings, and of the camera's noise.
    """
    rng = np.random.default_rng(seed)
    dresses, sharp = [DRESSES.get(condition, Dress())] * len(walkers), 1.0
    if condition == "day":
        dresses = [any_dress(rng) for _ in walkers]
        walkers = [another_day(person, rng) for person in walkers]
        sharp = float(rng.uniform(0.4, 1.0))
    time = np.arange(max(2, round(seconds * FPS))) / FPS
    bodies = [_body(w, condition, view, time, rng, lane, len(walkers)) for lane, w in enumerate(walkers)]
    room = _room(np.random.default_rng(seed[:1]))
    for t in range(len(time)):
        image = room.copy()
        for n in sorted(range(len(walkers)), key=lambda n: -bodies[n][t, 0, 2]):  # far ones first
            if _before(bodies[n][t]):
                _draw(image, walkers[n], bodies[n][t], dresses[n])
        small = cv2.resize(image, (round(WIDTH * sharp), round(HEIGHT * sharp)), interpolation=cv2.INTER_AREA)
        noisy = small + rng.normal(0, 2.0, small.shape)
        if sharp < 1:
            noisy = np.asarray(cv2.resize(noisy, (WIDTH, HEIGHT)), dtype=np.float64)
        yield Rendered(np.clip(noisy, 0, 255).astype(np.uint8), tuple(_truth(b[t]) for b in bodies))


def any_dress(rng: np.random.Generator) -> Dress:
    """Light or heavy, with or without a coat of any length, a hood, and a bag."""
    coat = bool(rng.random() < 0.5)
    carried = rng.random() < 0.35
    return Dress(
        coat=coat,
        hem=float(rng.uniform(0.1, 1.4)),
        thick=float(rng.uniform(1.0, 1.35) if coat else rng.uniform(0.92, 1.15)),
        skirt=float(rng.uniform(0.85, 1.25)),
        trousers=float(rng.uniform(0.88, 1.3)),
        bag=("back", "front", "side")[rng.integers(3)] if carried else "",
        hood=float(rng.uniform(1.05, 1.35) if rng.random() < 0.3 else 1.0),
    )


def _before(body: FloatArray) -> bool:
    """Whether all of a body (joints, 3) is before the camera."""
    return bool((body[:, 2] > NEAR).all())


def _truth(body: FloatArray) -> Truth:
    xyz = body[: len(H36M17.joints)]
    return Truth(np.where(_before(body), project(xyz), np.nan), xyz)


def project(xyz: FloatArray) -> FloatArray:
    """Camera coordinates (..., 3) to pixels (..., 2)."""
    depth = np.maximum(xyz[..., 2:], 0.1)
    return np.asarray(xyz[..., :2] / depth * FOCAL + np.array([WIDTH / 2, HORIZON]))


def _body(
    person: Walker, condition: str, view: float, time: FloatArray, rng: np.random.Generator, lane: int, lanes: int
) -> FloatArray:
    """Joints (T, len(BODY), 3) in camera axes."""
    joints, way = walk(person, time, rng, condition)
    angle = np.deg2rad(view + 180 * (lane % 2))
    forward, left = np.array([-np.sin(angle), 0, -np.cos(angle)]), np.array([np.cos(angle), 0, -np.sin(angle)])
    joints[..., 2] += (way - way[-1] / 2)[:, None]
    across = np.array([np.cos(np.deg2rad(view)), 0, -np.sin(np.deg2rad(view))]) * 0.9 * (lane - (lanes - 1) / 2)
    ground = np.array([0, CAMERA, DISTANCE + 0.4 * (lanes > 1)]) + across
    placed: FloatArray = joints[..., :1] * left + joints[..., 1:2] * np.array([0, -1, 0]) + joints[..., 2:] * forward + ground
    return placed


def _room(rng: np.random.Generator) -> Image:
    """A wall, a floor, a door and a cupboard, with a little texture; twice the picture's size."""
    height, width = HEIGHT * FINE, WIDTH * FINE
    edge = int((HORIZON + FOCAL * CAMERA / 8.5) * FINE)  # where a wall 8.5 m away meets the floor
    wall, floor = rng.integers(150, 205, 3), rng.integers(95, 150, 3)
    image = np.empty((height, width, 3), np.float32)
    image[:edge] = wall * np.linspace(0.85, 1.05, edge)[:, None, None]
    image[edge:] = floor * np.linspace(0.75, 1.15, height - edge)[:, None, None]
    cv2.line(image, (0, edge), (width, edge), (wall * 0.55).tolist(), 5)
    for x in np.linspace(-2, 3, 21) * width:
        cv2.line(
            image, (width // 2 + int((x - width / 2) * 0.25), edge), (int(x), height), (floor * 0.82).tolist(), 1, cv2.LINE_AA
        )
    for _ in range(2):
        x, w, h = int(rng.uniform(0, 0.85) * width), int(rng.uniform(0.08, 0.14) * width), int(rng.uniform(0.2, 0.36) * height)
        colour = rng.integers(70, 190, 3)
        cv2.rectangle(image, (x, edge - h), (x + w, edge), colour.tolist(), -1)
        cv2.rectangle(image, (x, edge - h), (x + w, edge), (colour * 0.6).tolist(), 2)
    grain = cv2.GaussianBlur(rng.normal(0, 14, (height, width)).astype(np.float32), (0, 0), 2.5)
    return np.asarray(np.clip(image + 3 * grain[..., None], 0, 255), dtype=np.uint8)


def _draw(image: Image, person: Walker, body: FloatArray, dress: Dress) -> None:
    """One person over what is there, far parts first."""
    at = dict(zip(BODY, body, strict=True))
    _shadow(image, at["left_ankle"], at["right_ankle"])
    parts = [(at[limb[0]], at[limb[1]], *_dressed(limb, person, dress)) for limb in LIMBS]
    top, girth = person.colour["coat" if dress.coat else "shirt"], person.girth * dress.thick
    parts.append((0.85 * at["thorax"] + 0.15 * at["pelvis"], at["pelvis"], 0.105 * girth, 0.11 * girth, top))
    for side in ("left", "right"):
        hip, leg = at[f"{side}_hip"], at[f"{side}_knee"] - at[f"{side}_hip"]
        inward = 0.25 * (at["thorax"] - at[f"{side}_shoulder"])
        parts.append((at[f"{side}_shoulder"] + inward, hip, 0.085 * girth, 0.1 * girth, top))
        if dress.coat:
            parts.append((hip, hip + dress.hem * leg, 0.115 * girth, 0.14 * girth * dress.skirt, top))
    if dress.bag:
        behind = np.cross(at["left_shoulder"] - at["right_shoulder"], [0, 1, 0])
        behind = behind / max(float(np.linalg.norm(behind)), 1e-6)
        aside, back = BAGS[dress.bag]
        shift = back * behind + aside * np.cross([0, 1, 0], behind)
        high, low = at["thorax"] + [0, 0.1, 0] + shift, at["spine"] + [0, 0.12, 0] + shift
        parts.append((high, low, 0.1, 0.12, person.colour["bag"]))
    parts.sort(key=lambda part: -(part[0][2] + part[1][2]))
    head = at["chin"] + 0.5 * (at["head"] - at["chin"])
    drawn = False
    for part in parts:
        if not drawn and part[0][2] + part[1][2] < 2 * head[2] - 0.1:
            _head(image, person, at, head, dress)
            drawn = True
        _capsule(image, *part)
    if not drawn:
        _head(image, person, at, head, dress)


def _dressed(limb: tuple[str, str, float, float, str], person: Walker, dress: Dress) -> tuple[float, float, Colour]:
    """Radii and colour; a coat covers the arms down to the wrist, and makes them a little wider."""
    start, _, ra, rb, wear = limb
    wide_a = wide_b = 1.0
    if wear == "trousers":
        wide_a = wide_b = dress.trousers
    elif dress.coat and (wear == "shirt" or start.endswith("elbow")):
        wide_a, wide_b, wear = 1.3 * dress.thick, 1.35 * dress.thick, "coat"
    return ra * person.girth * wide_a, rb * person.girth * wide_b, person.colour[wear]


def _head(image: Image, person: Walker, at: dict[str, FloatArray], centre: FloatArray, dress: Dress) -> None:
    """Hair or a hood behind, face in front, eyes where it looks."""
    size = float(np.linalg.norm(at["head"] - at["chin"]))
    forward = (at["nose"] - centre) / max(float(np.linalg.norm(at["nose"] - centre)), 1e-6)
    behind = person.colour["coat" if dress.hood > 1 else "hair"]
    _ellipse(image, centre, size * 0.5 * dress.hood, size * 0.6 * dress.hood, behind)
    face = centre + forward * size * 0.14 + np.array([0, 0.06 * size, 0])
    toward = float(-forward[2])  # 1 looks into the camera
    if toward < -0.5:
        return
    _ellipse(image, face, size * 0.42 * (0.72 + 0.28 * max(toward, 0.0)), size * 0.5, person.colour["skin"])
    left = np.cross(forward, [0, -1, 0])
    for side in (-1, 1):
        eye = face + forward * size * 0.36 + left * (side * size * 0.17) + np.array([0, -0.05 * size, 0])
        if eye[2] < centre[2] + 0.05 * size:
            _ellipse(image, eye, size * 0.06, size * 0.05, (30, 30, 30))
    if toward > -0.2:
        nose = face + forward * size * 0.42 + np.array([0, 0.08 * size, 0])
        darker = tuple(int(c * 0.8) for c in person.colour["skin"])
        _ellipse(image, nose, size * 0.06, size * 0.09, darker)
        _ellipse(image, face + forward * size * 0.35 + np.array([0, 0.26 * size, 0]), size * 0.11, size * 0.03, (90, 90, 160))


def _shadow(image: Image, left: FloatArray, right: FloatArray) -> None:
    middle = (left + right) / 2
    (u, v), scale = project(np.array([middle[0], CAMERA, middle[2]])) * FINE, FOCAL / middle[2] * FINE
    spread = 0.25 + 0.5 * float(np.linalg.norm((left - right)[[0, 2]]))
    x0, y0, x1, y1 = int(u - spread * scale), int(v - 0.12 * scale), int(u + spread * scale), int(v + 0.12 * scale)
    x0, y0 = max(x0, 0), max(y0, 0)
    patch = image[y0:y1, x0:x1]
    if patch.size:
        yy, xx = np.mgrid[y0 : y0 + patch.shape[0], x0 : x0 + patch.shape[1]]
        r = ((xx - u) / (spread * scale)) ** 2 + ((yy - v) / (0.12 * scale)) ** 2
        patch[:] = (patch * (1 - 0.35 * np.clip(1 - r, 0, 1))[..., None]).astype(np.uint8)


def _capsule(image: Image, a: FloatArray, b: FloatArray, ra: float, rb: float, colour: Colour) -> None:
    """A tapered limb with a lit side."""
    for grow, shift, light in ((1.0, 0.0, 0.72), (0.78, -0.18, 0.95), (0.4, -0.34, 1.12)):
        tone = tuple(min(255, int(c * light)) for c in colour)
        offset = np.array([shift * (ra + rb) / 2, shift * 0.3 * (ra + rb) / 2, 0])
        (pa, sa), (pb, sb) = (_place(a + offset, ra * grow), _place(b + offset, rb * grow))
        along = pb - pa
        size = float(np.hypot(*along))
        if size > 1e-3:
            normal = np.array([-along[1], along[0]]) / size
            quad = np.array([pa + normal * sa, pb + normal * sb, pb - normal * sb, pa - normal * sa])
            cv2.fillConvexPoly(image, (quad * 16).round().astype(np.int32), tone, cv2.LINE_AA, 4)
        for p, s in ((pa, sa), (pb, sb)):
            cv2.circle(image, tuple(round(float(x) * 16) for x in p), max(16, int(s * 16)), tone, -1, cv2.LINE_AA, 4)


def _ellipse(image: Image, centre: FloatArray, rx: float, ry: float, colour: tuple[int, ...]) -> None:
    p, s = _place(centre, 1.0)
    middle = tuple(round(float(x) * 16) for x in p)
    cv2.ellipse(image, middle, (max(8, int(rx * s * 16)), max(8, int(ry * s * 16))), 0, 0, 360, colour, -1, cv2.LINE_AA, 4)


def _place(point: FloatArray, radius: float) -> tuple[FloatArray, float]:
    """Pixel of the fine picture, and a radius in pixels there."""
    return project(point) * FINE, radius * FOCAL / max(float(point[2]), 0.3) * FINE
