"""Names of plug-ins: built in, or from other packages through entry points. Listing imports nothing.

What stands after a colon is the plug-in's first argument: `mmpose:CONFIG,CHECKPOINT`.
"""

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from gaitreid.pose.errors import UsageError

BUILT_IN: dict[str, dict[str, str]] = {
    "pose": {
        "mediapipe": "gaitreid.pose.backends.mediapipe:MediaPipe",
        "mmpose": "gaitreid.pose.backends.mmpose:MMPose",
        "keypointrcnn": "gaitreid.pose.backends.keypointrcnn:KeypointRcnn",
        "rtmlib": "gaitreid.pose.backends.rtmlib:RtmLib",
    },
    "lifter": {
        "world": "gaitreid.pose.lifters.world:World",
        "tcn": "gaitreid.pose.lifters.tcn:Tcn",
        "matching": "gaitreid.pose.lifters.matching:Matching",
        "mmpose": "gaitreid.pose.lifters.mmpose:MMPose",
    },
    "encoder": {
        "age": "gaitreid.reid.encoders.cage:age",
        "cage": "gaitreid.reid.encoders.cage:Cage",
        "cage-plus": "gaitreid.reid.encoders.cage:CagePlus",
        "lstm": "gaitreid.reid.encoders.supervised:Lstm",
        "lstm-multi": "gaitreid.reid.encoders.supervised:LstmMulti",
        "posegait": "gaitreid.reid.encoders.supervised:PoseGait",
        "bones": "gaitreid.reid.encoders.handmade:Bones",
        "joints": "gaitreid.reid.encoders.handmade:Joints",
        "joints-lda": "gaitreid.reid.encoders.handmade:JointsLda",
        "d13": "gaitreid.reid.encoders.handmade:D13",
        "d16": "gaitreid.reid.encoders.handmade:D16",
    },
    "walk": {
        "gaitgl": "gaitreid.reid.encoders.gaitgl:GaitGl",
        "gaittake": "gaitreid.reid.encoders.gaittake:GaitTake",
        "gei": "gaitreid.reid.encoders.gei:Gei",
        "gei-parts": "gaitreid.reid.encoders.gei:GeiParts",
        "gei-lda": "gaitreid.reid.encoders.gei:GeiLda",
        "skeleton": "gaitreid.reid.encoders.skeleton:Skeleton",
    },
}

# Sections of the configuration that encoders take; those of others bear the encoder's name, if there are any.
SECTIONS = {
    "age": "cage",
    "cage-plus": "cage",
    "lstm": "supervised",
    "lstm-multi": "supervised",
    "posegait": "supervised",
    "joints-lda": "lda",
    "gei-lda": "gei",
    "gei-parts": "gei",
}


def section(encoder: str) -> str:
    """Name of the configuration's section that an encoder takes."""
    return SECTIONS.get(encoder, encoder)


def names(kind: str) -> dict[str, str]:
    """Every plug-in of a kind: name -> `module:factory`. Entry points are in the group `gaitreid.KIND`."""
    return {**{e.name: e.value for e in entry_points(group=f"gaitreid.{kind}")}, **BUILT_IN[kind]}


def check(kind: str, name: str, *kinds: str) -> str:
    """Where a plug-in of a kind, or of one of several, is, without importing it.

    Raises:
        UsageError: there is none of this name.
    """
    known, base = {n: where for k in (*reversed(kinds), kind) for n, where in names(k).items()}, name.partition(":")[0]
    if base not in known:
        near = difflib.get_close_matches(base, known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"unknown {kind} '{base}': {hint}there are {', '.join(known)}")
    return known[base]


def load(kind: str, name: str, **options: object) -> Callable[..., Any]:
    """The factory of a plug-in; in `name:ARGUMENT` the argument is bound as its first one.

    Args:
        options: keyword arguments that are bound too, those of them that the factory knows.

    Raises:
        UsageError: there is none of this name, it takes no argument, or what it imports is not installed.
    """
    where = check(kind, name)
    base, colon, argument = name.partition(":")
    try:
        factory: Callable[..., Any] = EntryPoint(base, where, f"gaitreid.{kind}").load()
    except ModuleNotFoundError as error:
        raise UsageError(f"{kind} '{base}' needs the module '{error.name}', which is not installed") from error
    known = inspect.signature(factory).parameters
    bound = {key: value for key, value in options.items() if key in known}
    if colon and not _takes_text(next(iter(known.values()), None)):
        raise UsageError(f"{kind} '{base}' takes no argument: write {base} instead of {name}")
    return partial(factory, *[argument][: len(colon)], **bound) if colon or bound else factory


def _takes_text(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and (parameter.annotation is str or str in get_args(parameter.annotation))
