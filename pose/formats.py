"""Raw skeleton files of the Kinect data sets to arrays. Text in, array out.

Kinect's space is x to the sensor's left, y up, z away; the arrays are in camera axes (x right, y down, z away), metres.
"""

import re

import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import FormatError
from gaitreid.pose.skeleton import KINECT20, KINECT25

TO_CAMERA = np.array([-1, -1, 1], dtype=np.float32)
TRACKING_STATE = 6  # column of BIWI's and IAS-Lab's rows: 0 not tracked, 1 inferred, 2 tracked

# KGBD's files have the joints from the head down, right before left.
_KGBD = """
head neck right_shoulder left_shoulder right_elbow left_elbow right_wrist left_wrist right_hand left_hand
spine pelvis right_hip left_hip right_knee left_knee right_ankle left_ankle right_foot left_foot
"""
KGBD_ORDER = tuple(_KGBD.split())


def from_z_up(xyz: FloatArray) -> FloatArray:
    """World axes with z up to camera axes: (..., 3)."""
    return np.stack([xyz[..., 0], -xyz[..., 2], xyz[..., 1]], axis=-1).astype(np.float32)


def tracked_frame(text: str, where: str) -> FloatArray | None:
    """One frame of BIWI or IAS-Lab, a row a joint: person, x, y, z, depth x, depth y, tracking state, ...

    Returns:
        (20, 3), or None where nobody is (the text may be empty) or a joint is not tracked (inferred joints count as tracked).

    Raises:
        FormatError: it is no such file.
    """
    rows = _numbers(text, where, TRACKING_STATE + 1)[: len(KINECT20.joints)]
    if not rows[:, 0].any():
        return None
    if len(rows) < len(KINECT20.joints):
        raise FormatError(f"{where}: {len(rows)} rows, expected one for each of {len(KINECT20.joints)} joints")
    if (rows[:, TRACKING_STATE] == 0).any():
        return None
    return _whole(rows[:, 1:4])


def kgbd_sequence(text: str, where: str) -> FloatArray:
    """One walk of KGBD: rows `joint;x;y;z`, twenty a frame; joints come back in Kinect's order.

    Returns:
        (T, 20, 3), NaN in frames that are not whole.
    """
    rows = _numbers(re.sub(r"(?m)^[^;\n]*;", "0;", text), where, 4)[:, 1:4]
    count = len(KGBD_ORDER)
    if not len(rows) or len(rows) % count:
        raise FormatError(f"{where}: {len(rows)} rows, expected {count} a frame")
    columns = [KGBD_ORDER.index(joint) for joint in KINECT20.joints]
    frames = rows.reshape(-1, count, 3)[:, columns]
    missing = np.full((count, 3), np.nan, dtype=np.float32)
    return np.stack([missing if (found := _whole(frame)) is None else found for frame in frames])


def ks20_frame(text: str, where: str) -> FloatArray | None:
    """One frame of KS20: 25 rows, the joint's name or number and then x, y, z.

    Returns:
        (25, 3), or None where nobody is (the text is empty), or a joint is at the origin or not a number.
    """
    rows = _numbers(re.sub(r"(?m)^[^\S\n]*[A-Za-z]\w*", "0", text), where, 4)[: len(KINECT25.joints)]
    if not len(rows):
        return None
    if len(rows) < len(KINECT25.joints):
        raise FormatError(f"{where}: {len(rows)} rows, expected one for each of {len(KINECT25.joints)} joints")
    return _whole(rows[:, 1:4])


def _numbers(text: str, where: str, least: int) -> FloatArray:
    """Rows of numbers, cut to the least width of any: (rows, columns)."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(cell) for cell in re.split(r"[,;\s]+", line.strip().rstrip(",;"))]
        except ValueError as error:
            raise FormatError(f"{where}: line {number} is not numbers: {line[:60]!r}") from error
        if len(row) < least:
            raise FormatError(f"{where}: line {number} has {len(row)} columns, expected {least} or more")
        rows.append(row[:least])
    return np.array(rows, dtype=np.float32).reshape(-1, least)


def _whole(xyz: FloatArray) -> FloatArray | None:
    """In camera axes; None where a joint is missing: not a number, or exactly at the sensor."""
    if not np.isfinite(xyz).all() or not xyz.any(axis=1).all():
        return None
    return np.asarray(xyz * TO_CAMERA, dtype=np.float32)
