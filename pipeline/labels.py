"""Who walks in a video, in what condition: from its name or from a table."""

import csv
import difflib
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gaitreid.pipeline.bounds import read_text
from gaitreid.pipeline.console import Console, counted, few
from gaitreid.pose.errors import FormatError, UsageError

CASIA_B = r"^(?P<subject>\d{3})-(?P<condition>nm|bg|cl|day)-(?P<number>\d{2})-(?P<view>\d{3})$"
FIELDS = ("subject", "condition", "number", "view")
LARGEST_TABLE = 2**28  # bytes
SHOWN = 3  # names in a message


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
        UsageError: the pattern is no regular expression or names no label; the table cannot be read, has no column of labels,
            or two rows of a video that differ.
    """

    def __init__(self, pattern: str | None = None, table: Path | None = None) -> None:
        self.pattern = _compiled(pattern or CASIA_B)
        self.path = table
        self.table = _read_table(table) if table else {}

    def __call__(self, video: Path) -> Labels:
        """Labels of one video, all empty where nothing is known."""
        row = self._row(video)
        if row is not None:
            return row
        found = self.pattern.search(video.stem)
        return Labels(**{k: v for k, v in found.groupdict().items() if v is not None}) if found else Labels()

    def check(self, videos: Collection[Path], console: Console | None = None) -> None:
        """Whether the table is one of these videos, which are all that a command is about; those that it does not name are told.

        Raises:
            UsageError: it names none of them.
        """
        unnamed = [video.stem for video in videos if self._row(video) is None] if self.path else []
        names = few(unnamed, SHOWN)
        if unnamed and len(unnamed) == len(videos):
            row = f"its first row is of '{next(iter(self.table))}'" if self.table else "it has no rows"
            raise UsageError(f"--labels {self.path}: names none of the {counted(len(videos), 'videos')} ({names}): {row}")
        if unnamed and console:
            console.say(f"labels: {self.path} does not name {len(unnamed)} of {counted(len(videos), 'videos')}: {names}")

    def _row(self, video: Path) -> Labels | None:
        keys = (video.as_posix(), *("/".join(video.parts[-n:]) for n in (3, 2, 1)), video.stem)
        return next((self.table[key] for key in keys if key in self.table), None)


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
        _check_columns(path, rows.fieldnames or ())
        table: dict[str, Labels] = {}
        for row in rows:
            if row["video"] and table.setdefault(name := row["video"].strip(), labels := _labels(row)) != labels:
                raise UsageError(f"--labels {path}: two rows are of '{name}' and say different things: a video has one row")
        return table
    except FormatError as error:
        raise UsageError(f"--labels {error}") from error
    except (csv.Error, ValueError) as error:
        raise UsageError(f"--labels {path}: cannot be read: {error}") from error


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    """Columns of other things may be there, but one that is a label's but for a capital or a blank is a mistake."""
    others = {column: column.strip().lower() for column in columns if column not in ("video", *FIELDS)}
    meant = [column for column, plain in others.items() if plain in FIELDS]
    if not meant and set(columns) & set(FIELDS):
        return
    near = ((column, difflib.get_close_matches(others[column], FIELDS, 1)) for column in meant or others)
    hints = [f"'{name[0]}' in place of '{column}'" for column, name in near if name]
    there = ", ".join(columns)[:200]
    hint = f": is it {' and '.join(hints)[:200]}?" if hints else ""
    raise UsageError(f"--labels {path}: needs columns out of {', '.join(FIELDS)}, has {there}{hint}")


def _labels(row: Mapping[str, str | None]) -> Labels:
    """Labels go into names of files, messages and reports: letters that cannot be printed are left out."""
    plain = {field: "".join(c for c in (row.get(field) or "") if c.isprintable()).strip() for field in FIELDS}
    return Labels(**plain)
