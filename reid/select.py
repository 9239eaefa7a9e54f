"""Selectors: which tracks a probe or a gallery is, as people type it.

- `nm`: condition nm (a bare word is a condition)
- `nm|bg`: either
- `condition=nm,view=090|108,number=05`: all of these at once
- `all`, or nothing at all: every track

A comma, `|` or `=` of a value's own has a backslash before it: `subject=Doe\\, Ann`.
"""

import difflib
import re
from collections.abc import Iterable

import numpy as np

from gaitreid.pose.arrays import BoolArray, IntArray, TextArray, specs
from gaitreid.pose.errors import UsageError
from gaitreid.reid.records import Tracks

KEYS = tuple(name for name, _ in specs(Tracks))
SHOWN = 20  # values that a message lists


def select(tracks: Tracks, selector: str) -> IntArray:
    """Rows of the tracks that a selector means, rising.

    Values are compared as text, numbers by what they count where no label is just so (`90` is `090`). An empty value (`view=`)
    is an unknown label.

    Raises:
        UsageError: a key is unknown, a value is nowhere among the tracks, or no track has all that is asked.
    """
    chosen = np.ones(len(tracks.video), dtype=np.bool_)
    if _all(selector):
        return np.flatnonzero(chosen)
    for part in _cut(selector, ","):
        chosen &= _having(tracks, part, selector)
    if not chosen.any():
        raise UsageError(f"selector '{selector}': no track has all of this at once; leave a part away to see what there is")
    return np.flatnonzero(chosen)


def any_of(key: str, values: Iterable[str]) -> str:
    """The selector of the tracks that have one of these values, whatever is in them."""
    return f"{key}={'|'.join(map(_quoted, values))}"


def all_of(*selectors: str) -> str:
    """The selector of the tracks that each of these selectors means."""
    return ",".join(selector for selector in selectors if not _all(selector)) or "all"


def check(selector: str) -> None:
    """Raises: UsageError: a key is unknown; whether its values are there only the tracks tell."""
    for part in _cut(selector, ","):
        _parted(part, selector)


def _all(selector: str) -> bool:
    return selector.strip() in {"", "all"}


def _parted(part: str, selector: str) -> tuple[str, str]:
    """The key and the values of one part, `key=a|b` or `a|b`."""
    key, equals, values = part.partition("=")
    key, values = (key.strip(), values) if equals and not key.endswith("\\") else ("condition", part)
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(KEYS)}"
        raise UsageError(f"selector '{selector}': unknown key '{key}': {hint}")
    return key, values


def _having(tracks: Tracks, part: str, selector: str) -> BoolArray:
    """Which tracks have one of the values of one part."""
    key, values = _parted(part, selector)
    column: TextArray = getattr(tracks, key).astype(np.str_)
    present, place = np.unique(column, return_inverse=True)
    labels, forms = present.tolist(), [_canonical(value) for value in present]
    asked = [re.sub(r"\\([\\,|=])", r"\1", value).strip() for value in _cut(values, "|")]
    exact = set(asked) & set(labels)
    wanted, known = {_canonical(value): value for value in asked if value not in exact}, set(forms)
    if missing := [value for form, value in wanted.items() if form not in known]:
        raise UsageError(f"selector '{selector}': no track has {key} '{missing[0]}'; there are {listed(present)}")
    return np.array([label in exact or form in wanted for label, form in zip(labels, forms, strict=True)], dtype=np.bool_)[place]


def _cut(text: str, mark: str) -> list[str]:
    """What is between the marks that have no backslash before them."""
    return re.findall(rf"(?:^|[{mark}])((?:\\.|[^{mark}])*)", text)


def _quoted(value: str) -> str:
    return re.sub(r"([\\,|=])", r"\\\1", value)


def _canonical(value: str) -> str:
    text = str(value).strip()
    return str(int(text)) if text.isascii() and text.isdecimal() else text


def listed(values: TextArray) -> str:
    """The first of some labels, which are different, for a message, as a selector has them."""
    shown = ", ".join(_quoted(str(v)) or "'' (unknown)" for v in values[:SHOWN]) or "no tracks at all"
    return shown + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
