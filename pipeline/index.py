"""What is in the files of a work folder, remembered by their sizes and times, so that thousands of them need not be opened.

`.index.json` in the work folder holds, for every file that was looked at, its SHA-256 and root attributes, and for every video
the SHA-256 that its tracks were made from. An entry holds as long as the file has the same size and time of change. The file
saves time, and knows where videos are that were moved: it may be deleted at any time.
"""

import json
import stat
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaitreid.pipeline import store
from gaitreid.pipeline.bounds import read_bytes
from gaitreid.pipeline.files import sha256, write_text
from gaitreid.pipeline.labels import FIELDS
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import FormatError

NAME, FORMAT = ".index.json", 1
STAGES = ("pose2d", "silhouettes", "pose3d")
KEPT = ("made_from", "code_version", "reason", "tracks", "imported", "video_path", "truncated")
SETTLED = 2 * 10**9  # nanoseconds: coarse clocks of file systems do not tell two changes within that apart
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Known:
    """A file of a stage: the SHA-256 of its bytes, and what of its root attributes says whether it is up to date."""

    sha256: str
    facts: dict[str, store.Attribute]


class Index:
    """Answers from memory where a file is as it was when it was looked at last, and looks again where not."""

    def __init__(self, work: Work) -> None:
        self.root = work.root
        self._files: dict[str, tuple[Stamp, Known]] = {}
        self._videos: dict[str, tuple[Stamp, str]] = {}
        self._places: defaultdict[str, list[str]] = defaultdict(list)  # of videos, by their SHA-256
        self._changed = False
        self._load()

    def known(self, path: Path, schema: str) -> Known:
        """What is in a file of this work folder.

        Raises:
            FormatError: it is not there, damaged, or of another schema.
        """
        now, name = stamp_of(path), path.relative_to(self.root).as_posix()
        if now is None:
            raise FormatError(f"{path}: no such file")
        then, known = self._files.get(name, (None, None))
        if known is None or then != now:
            attributes = store.attributes(path, schema)
            kept = {key: attributes[key] for key in ("config", *KEPT, *FIELDS) if key in attributes}
            known = Known(sha256(path), kept)
            self._files[name] = (now, known)
            self._changed = True
        return known

    def of_video(self, video: Path, made: Path, facts: Mapping[str, store.Attribute], *, verify: bool = False) -> str:
        """SHA-256 of a video; by its bytes only where it may have changed since `made` was made from it.

        Args:
            made: the file that was made from it, and `facts` its root attributes.
            verify: go by its bytes in any case.

        Returns:
            Empty where the video is not there, or cannot be read.
        """
        now, name = stamp_of(video), str(video)
        if now is None:
            return ""
        then, found = self._videos.get(name, (None, ""))
        if then == now and not verify:
            return found
        written = stamp_of(made)
        same = then is None and name == facts.get("video_path") and written is not None and now[1] + SETTLED < written[1]
        try:
            found = str(facts.get("made_from", "")) if same and not verify else sha256(video)
        except OSError:
            return ""
        self.seen(video, now, found)
        return found

    def seen(self, video: Path, stamp: Stamp, digest: str) -> None:
        """Remember the SHA-256 of a video, and how it looked before it was hashed."""
        if self._videos.get(str(video)) != (stamp, digest) and stamp[1] + SETTLED < time.time_ns():
            self._videos[str(video)] = (stamp, digest)
            self._places[digest].append(str(video))
            self._changed = True

    def place(self, facts: Mapping[str, store.Attribute]) -> Path:
        """Where a video is: where it was when tracks were made from it, or if it is there no longer, where it was seen since.

        Args:
            facts: root attributes of what was made from it.
        """
        there, made_from = Path(str(facts.get("video_path", ""))), str(facts.get("made_from", ""))
        if not made_from or there.is_file():
            return there
        places = self._places.get(made_from, ())
        return next((Path(name) for name in places if self._videos[name] == (stamp_of(Path(name)), made_from)), there)

    def refresh(self, work: Work) -> None:
        """Look at all files of the stages that have one a video, and write what was learnt; damaged ones are left out."""
        for stage in STAGES:
            for stem in work.stems(stage):
                path = self.root / stage / f"{stem}.h5"
                with suppress(FormatError):
                    facts = self.known(path, stage).facts
                    if stage == "pose2d" and "imported" not in facts:
                        self.of_video(Path(str(facts.get("video_path"))), path, facts)
        self.save()

    def save(self) -> None:
        """Write what was learnt; what is there no longer is forgotten."""
        if not self._changed:
            return
        files = {name: entry for name, entry in self._files.items() if (self.root / name).exists()}
        configs = {config: n for n, config in enumerate(sorted({str(known.facts.get("config")) for _, known in files.values()}))}
        rows: dict[str, Any] = {}
        for name, (stamp, known) in files.items():
            facts = {key: value for key, value in known.facts.items() if key != "config"}
            rows[name] = [*stamp, known.sha256, configs[str(known.facts.get("config"))], facts]
        named, moved = ({str(known.facts.get(key)) for _, known in files.values()} for key in ("video_path", "made_from"))
        videos = {
            name: [*stamp, found]
            for name, (stamp, found) in self._videos.items()
            if name in named or (found in moved and stamp_of(Path(name)) == stamp)
        }
        text = json.dumps({"format": FORMAT, "configs": list(configs), "files": rows, "videos": videos})
        write_text(self.root / NAME, text).chmod(0o600)
        self._changed = False

    def _load(self) -> None:
        try:
            found = json.loads(read_bytes(self.root / NAME))
            if found["format"] != FORMAT:
                return
            configs = [{"config": str(text)} for text in found["configs"]]
            for name, (size, changed, digest, config, facts) in found["files"].items():
                self._files[name] = ((size, changed), Known(digest, configs[config] | facts))
            self._videos = {name: ((size, changed), digest) for name, (size, changed, digest) in found["videos"].items()}
            for name, (_, digest) in self._videos.items():
                self._places[digest].append(name)
        except (FormatError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            self._files, self._videos = {}, {}  # not there, or not whole: everything is looked at
            self._places.clear()


def stamp_of(path: Path) -> Stamp | None:
    """Size and time of change; None where there is no file (a pipe is none)."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return (facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None
