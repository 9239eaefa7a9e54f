"""YAML from anyone, as plain values: no tags that make objects, no aliases, by which a page unfolds to more than memory holds."""

import re
from pathlib import Path
from typing import Any

import yaml

from gaitreid.pipeline.bounds import read_text
from gaitreid.pose.errors import FormatError

LARGEST = 2**20  # bytes


class _Plain(yaml.SafeLoader):
    """Refuses aliases."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read: write the value out", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that `_Plain` would read as numbers."""


# YAML 1.1, which PyYAML reads, knows 1.0e-4 only: in YAML 1.2 as in Python 1e-4, too, is a number.
for _kind in (_Plain, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$", re.ASCII), list("-+0123456789")
    )


def read(path: Path) -> Any:
    """What a file holds.

    Raises:
        FormatError: it cannot be read, or is not YAML.
    """
    return parse(read_text(path, LARGEST), str(path))


def parse(text: str, where: str) -> Any:
    """What a text holds.

    Raises:
        FormatError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Plain)
    except RecursionError as error:
        raise FormatError(f"{where}: not YAML: nested too deeply") from error
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:  # PyYAML checks numbers and dates little
        raise FormatError(f"{where}: not YAML: {error}") from error


def text(values: Any) -> str:
    """Plain values as YAML that `parse` reads as the same, keys in their order."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False))
