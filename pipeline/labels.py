"""Who walks in a video, in what condition: from its name or from a table."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gaitreid.pipeline.bounds import read_text
from gaitreid.pose.errors import FormatError, UsageError

CASIA_B = r"^(?P<subject>\d{3})-(?P<condition>nm|bg|cl|day)-(?P<number>\d{2})-(?P<view>\d{3})$"
FIELDS = ("subject", "condition", "number", "view")
LARGEST_TABLE = 2**28  # bytes


@dataclass(frozen=True)
class Labels:
    """What is known of a video; an empty text is unknown."""

    subject: str = ""
    condition: str = ""
    number: str = ""
    view: str = ""

    def recording(self, video: str) -> str:
        """One walk over all its views and sensors: subject/condition/number, else the video itself.

        Without a number the clips of one subject and condition cannot be told to be one walk, so each is its own.
        """
        if self.subject and self.number:
            return f"{self.subject}/{self.condition}/{self.number}"
        return video

    def as_dict(self) -> dict[str, str]:
        """The four labels by name."""
        return asdict(self)


class Labeller:
    """Labels of videos by a table, a pattern, or CASIA-B's names.

    Args:
        pattern: regular expression searched in the stem, with groups named subject, condition, number, view (any of them).
        table: CSV file with a column `video` (stem, file name, or the end of its path) and columns named as the labels.

    Raises:
        UsageError: the pattern is no regular expression or names no label; the table cannot be read.
    """

    def __init__(self, pattern: str | None = None, table: Path | None = None) -> None:
        self.pattern = _compiled(pattern or CASIA_B)
        self.table = _read_table(table) if table else {}

    def __call__(self, video: Path) -> Labels:
        """Labels of one video, all empty where nothing is known."""
        for key in (video.as_posix(), *("/".join(video.parts[-n:]) for n in (3, 2, 1)), video.stem):
            if key in self.table:
                return self.table[key]
        found = self.pattern.search(video.stem)
        return Labels(**{k: v for k, v in found.groupdict().items() if v is not None}) if found else Labels()


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        result = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--pattern {pattern!r} is not a regular expression: {error}") from error
    unknown = set(result.groupindex) - set(FIELDS)
    if unknown or not result.groupindex:
        raise UsageError(f"--pattern {pattern!r} must name groups out of {', '.join(FIELDS)}, as in (?P<subject>\\d+)")
    return result


def _read_table(path: Path) -> Mapping[str, Labels]:
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, LARGEST_TABLE), newline=""))
        if "video" not in (rows.fieldnames or ()):
            there = ", ".join(rows.fieldnames or ())[:200] or "nothing"
            raise UsageError(f"--labels {path}: needs a column 'video', has {there}")
        return {row["video"].strip(): _labels(row) for row in rows if row["video"]}
    except FormatError as error:
        raise UsageError(f"--labels {error}") from error
    except (csv.Error, ValueError) as error:
        raise UsageError(f"--labels {path}: cannot be read: {error}") from error


def _labels(row: Mapping[str, str | None]) -> Labels:
    """Labels go into names of files, messages and reports: letters that cannot be printed are left out."""
    plain = {field: "".join(c for c in (row.get(field) or "") if c.isprintable()).strip() for field in FIELDS}
    return Labels(**plain)
