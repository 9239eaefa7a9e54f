"""Names of plug-ins: built in, or from other packages through entry points. Listing imports nothing."""

import difflib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gaitreid.pose.errors import UsageError

BUILT_IN: dict[str, dict[str, str]] = {
    "pose": {"mediapipe": "gaitreid.pose.backends.mediapipe:MediaPipe"},
    "lifter": {"world": "gaitreid.pose.lifters.world:World"},
    "encoder": {
        "age": "gaitreid.reid.encoders.cage:age",
        "cage": "gaitreid.reid.encoders.cage:Cage",
        "cage-plus": "gaitreid.reid.encoders.cage:CagePlus",
        "lstm": "gaitreid.reid.encoders.supervised:Lstm",
        "lstm-multi": "gaitreid.reid.encoders.supervised:LstmMulti",
        "posegait": "gaitreid.reid.encoders.supervised:PoseGait",
        "bones": "gaitreid.reid.encoders.handmade:Bones",
        "joints": "gaitreid.reid.encoders.handmade:Joints",
        "d13": "gaitreid.reid.encoders.handmade:D13",
        "d16": "gaitreid.reid.encoders.handmade:D16",
    },
}

# Sections of the configuration that encoders take; those of others bear the encoder's name, if there are any.
SECTIONS = {"age": "cage", "cage-plus": "cage", "lstm": "supervised", "lstm-multi": "supervised", "posegait": "supervised"}


def section(encoder: str) -> str:
    """Name of the configuration's section that an encoder takes."""
    return SECTIONS.get(encoder, encoder)


def names(kind: str) -> dict[str, str]:
    """Every plug-in of a kind: name -> `module:factory`. Entry points are in the group `gaitreid.KIND`."""
    return {**{e.name: e.value for e in entry_points(group=f"gaitreid.{kind}")}, **BUILT_IN[kind]}


def check(kind: str, name: str) -> str:
    """Where a plug-in is, without importing it.

    Raises:
        UsageError: there is none of this name.
    """
    known = names(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"unknown {kind} '{name}': {hint}there are {', '.join(known)}")
    return known[name]


def load(kind: str, name: str) -> Callable[..., Any]:
    """The factory of a plug-in.

    Raises:
        UsageError: there is none of this name, or what it imports is not installed.
    """
    where = check(kind, name)
    try:
        factory: Callable[..., Any] = EntryPoint(name, where, f"gaitreid.{kind}").load()
    except ModuleNotFoundError as error:
        raise UsageError(f"{kind} '{name}' needs the module '{error.name}', which is not installed") from error
    return factory
