"""What a command would do: how many items and why, about how long that takes and how much it writes. Nothing is written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gaitreid.pipeline import disk, plugins, shipped, store
from gaitreid.pipeline.checkpoints import check_resumable, read_description
from gaitreid.pipeline.config import Config, as_dict
from gaitreid.pipeline.console import Console, few
from gaitreid.pipeline.encode import check_adopted
from gaitreid.pipeline.extract import by_stem, in_shard
from gaitreid.pipeline.labels import Labeller
from gaitreid.pipeline.lift import check_tracked
from gaitreid.pipeline.lifters import LIFTERS
from gaitreid.pipeline.rates import MODEL, Rates
from gaitreid.pipeline.silhouette_rcnn import MODEL as SILHOUETTES
from gaitreid.pipeline.status import SHOWN, Item, Status, survey
from gaitreid.pipeline.train import is_trained
from gaitreid.pipeline.walk_models import is_of_walks
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import UsageError
from gaitreid.reid.records import Sequences

STAGES = {
    "extract": ("extract",),
    "lift": ("lift",),
    "split": ("lift", "split"),
    "train": ("lift", "split", "train"),
    "encode": ("lift", "split", "train", "encode"),
    "match": ("lift", "split", "train", "encode", "match"),
    "run": ("extract", "lift", "split", "train", "encode", "match"),
}
PARALLEL = ("extract", "lift")
OWN = ("cme", "cve")  # protocols that train models of their own
OVERLAP = 2  # windows that a frame is in


@dataclass(frozen=True)
class Asked:
    """The options of a command that decide what it does.

    Attributes:
        train: whether it trains where there is a model.
        resume: whether a training goes on from its checkpoint.
        encoder: folder of a model of another work folder.
        fused: other models, as of `Session.match`.
    """

    command: str
    videos: Sequence[Path] = ()
    pattern: str | None = None
    labels: Path | None = None
    shard: str | None = None
    overwrite: bool = False
    retry_failed: bool = False
    train: bool = False
    resume: bool = False
    name: str | None = None
    encoder: Path | None = None
    protocol: str = "plain"
    fused: Sequence[str] = ()


@dataclass(frozen=True)
class Step:
    """What one stage would do.

    Attributes:
        of: items that it has in all.
        why: reason -> number of items.
        frames: to go through.
        seconds: on one core.
        bytes: to be written.
        measured: items of earlier runs that `seconds` rests on; 0: it is a guess.
    """

    stage: str
    names: tuple[str, ...]
    of: int
    why: Mapping[str, int]
    frames: float
    seconds: float
    bytes: float
    measured: int


def plan(work: Work, config: Config, asked: Asked) -> list[Step]:
    """The steps of a command that have something to do, in order.

    Raises:
        UsageError: a path does not exist, the labels are of none of the videos, or there is no such estimator, lifter or model;
            or there is no checkpoint to resume; or the model takes whole walks, or no windows to train, or the protocol trains
            models of its own, or several are fused, of which nothing is foreseen.
        EmptyError: there is no video in these folders, or nothing was ever extracted or imported here.
    """
    if asked.encoder:
        check_adopted(asked.encoder)
    if is_of_walks(work, asked.name, config.train.model, asked.encoder):
        raise UsageError("--dry-run: models of whole walks are not foreseen: `gaitreid status` says what is there")
    if asked.command == "train" and config.train.model in (*LIFTERS, SILHOUETTES):
        raise UsageError(f"--dry-run: to train '{config.train.model}' takes no windows, and is not foreseen")
    if asked.protocol in OWN or asked.fused:
        what = f"what --protocol {asked.protocol} trains" if asked.protocol in OWN else "what is fused in (--fuse)"
        raise UsageError(f"--dry-run: {what} is not foreseen: leave that option away to see what comes before")
    if asked.resume:
        check_resumable(work.model(asked.name or config.train.model))
    stages = STAGES[asked.command]
    if "extract" not in stages and (asked.command == "lift" or not work.sequences.exists()):
        check_tracked(work)
    _check_plugins(config, stages)
    every = by_stem(work, asked.videos) if asked.videos else {}
    named = {stem: video for stem, video in every.items() if not asked.shard or in_shard(stem, asked.shard)}
    labeller = None
    if "extract" in stages:
        labeller = Labeller(asked.pattern, asked.labels)
        labeller.check(every.values())
    found = survey(work, config, list(named.values()), labeller=labeller, extracting="extract" in stages)
    return list(_Planning(work, config, asked, named, found, Rates(work)).steps(stages))


def _check_plugins(config: Config, stages: Sequence[str]) -> None:
    """Those that the stages would load: without this, work of what does not exist would be foreseen."""
    if "extract" in stages:
        plugins.check("pose", config.extract.pose)
    if "lift" in stages and config.lift.lifter != "auto":
        plugins.check("lifter", config.lift.lifter)
    if "train" in stages and config.train.model not in (*LIFTERS, SILHOUETTES):
        plugins.check("encoder", config.train.model, "walk")


def check_room(work: Work, config: Config, videos: Sequence[Path], console: Console) -> None:
    """Say how much extracting these videos will write, if they are new here.

    Raises:
        UsageError: a path does not exist, or there is not so much room.
        EmptyError: there is no video in these folders.
    """
    there = set(work.stems("pose2d"))
    new = [video for stem, video in by_stem(work, videos).items() if stem not in there]
    if new:
        rates = Rates(work)
        frames = rates.frames(sum(video.stat().st_size for video in new))
        masks = rates.bytes("silhouettes", frames) if config.extract.silhouettes else 0.0
        disk.check(work.root, rates.bytes("extract", frames) + masks, config.disk, console, "extract")


def show(steps: Sequence[Step], console: Console, *, folder: Path, jobs: int) -> None:
    """Print it for people."""
    wide = max((len(step.stage) for step in steps), default=0)
    for step in steps:
        why = ", ".join(f"{count} {reason}" if step.of > 1 else reason for reason, count in step.why.items())
        count = f"{len(step.names)} of {step.of} " if step.of > 1 else ""
        costs = f"about {duration(_wall(step, jobs))}, {disk.size(step.bytes)}"
        console.say(f"{step.stage:{wide}}  {count}({why}): {few(step.names, SHOWN)}; {costs}")
    if not steps:
        console.say("dry run: everything is up to date")
        return
    time, need = sum(_wall(step, jobs) for step in steps), sum(step.bytes for step in steps)
    workers = f"{jobs} workers" if jobs > 1 else "1 worker"
    console.say(
        f"in all: about {duration(time)} with {workers}; {disk.size(need)}, {disk.size(disk.free(folder))} free in {folder}"
    )
    for known, words in (
        (True, "as long as in earlier runs here"),
        (False, "a guess, by the default settings on a core of today"),
    ):
        if told := [f"{s.stage}{f' ({s.measured} items)' if known else ''}" for s in steps if bool(s.measured) is known]:
            console.say(f"times of {', '.join(told)}: {words}")
    console.say("dry run: nothing was written")


def duration(seconds: float) -> str:
    """For people, such as 45 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _wall(step: Step, jobs: int) -> float:
    return step.seconds / min(jobs, len(step.names)) if step.stage in PARALLEL else step.seconds


@dataclass(frozen=True)
class _Planning:
    """What the steps of one plan share."""

    work: Work
    config: Config
    asked: Asked
    videos: Mapping[str, Path]
    found: Status
    rates: Rates

    def steps(self, stages: Sequence[str]) -> list[Step]:
        """Those that have something to do: all after the first that has, and what is stale by itself."""
        steps: list[Step] = []
        for stage in stages:
            step: Step | None = getattr(self, f"_{stage}")(steps)
            if step is not None and step.names:
                steps.append(step)
        return steps

    def _step(self, stage: str, items: Sequence[Item], of: int, frames: float, written: float) -> Step:
        why = Counter(item.reason or item.state for item in items)
        names = tuple(item.name for item in items)
        return Step(stage, names, of, why, frames, self.rates.seconds(stage, frames), written, self.rates.measured(stage))

    def _extract(self, steps: Sequence[Step]) -> Step:
        again = [replace(item, reason="overwrite") for item in self.found.of("pose2d")] if self.asked.overwrite else []
        items = again or [item for item in self.found.of("pose2d") if self._is_due(item)]
        masks = {item.name for item in self.found.of("silhouettes") if item.state == "missing"} - {i.name for i in items}
        items += [Item("silhouettes", name, "missing", "silhouettes") for name in sorted(masks)]
        posed = [item for item in items if item.reason != "labels"]
        frames = self.rates.frames(sum(self.videos[item.name].stat().st_size for item in posed))
        written = self.rates.bytes("extract", frames)
        if self.config.extract.silhouettes:
            written += self.rates.bytes("silhouettes", frames)
        return self._step("extract", items, len(self.found.of("pose2d")), frames, written)

    def _is_due(self, item: Item) -> bool:
        return item.state in {"missing", "stale"} or (item.state == "failed" and self.asked.retry_failed)

    def _lift(self, steps: Sequence[Step]) -> Step:
        of = self.found.of("pose3d")
        items = [item for item in of if item.state != "done"]
        due = {name for step in steps if step.stage == "extract" for name in step.names}
        items += [Item("pose3d", item.name, "stale", "behind") for item in of if item.state == "done" and item.name in due]
        new = {name for name in due if not self.work.pose2d(name).exists()}
        # A file of tracks in 2D holds so many frames; of those that are yet to come their videos tell.
        there = sum(path.stat().st_size for item in items if (path := self.work.pose2d(item.name)).exists())
        frames = there / self.rates.bytes("extract", 1) + self._frames_of(new)
        return self._step("lift", items, len(of), frames, self.rates.bytes("lift", frames))

    def _frames_of(self, names: set[str]) -> float:
        return self.rates.frames(sum(self.videos[name].stat().st_size for name in names))

    def _split(self, steps: Sequence[Step]) -> Step | None:
        return self._whole("split", self.work.sequences.name, steps, self._all_frames())

    def _all_frames(self) -> float:
        """Frames of all tracks, as far as they are there or will be."""
        there = sum(path.stat().st_size for path in (self.work.root / "pose2d").glob("*.h5"))
        new = {name for name in self.videos if not self.work.pose2d(name).exists()}
        return there / self.rates.bytes("extract", 1) + self._frames_of(new)

    def _whole(self, stage: str, name: str, steps: Sequence[Step], frames: float) -> Step | None:
        """A step that makes one file of all videos."""
        item = next((item for item in self.found.of("files") if item.name == name), Item("files", name, "missing"))
        if steps and item.state == "done":
            item = replace(item, state="stale", reason="behind")
        if item.state == "done":
            return None
        return self._step(stage, [item], 1, frames, self.rates.bytes(stage, frames))

    def _train(self, steps: Sequence[Step]) -> Step | None:
        name = self._model()
        why = self._why_train(name, steps)
        if not why:
            return None
        passes = OVERLAP * self._all_frames() * self.config.train.epochs
        return self._step("train", [Item("models", name, "missing", why)], 1, passes, MODEL)

    def _model(self) -> str:
        """Name of the model in force, as of `Session`: where none is named or trained, the one that ships if it can."""
        asked, usual = self.asked, self.config.train.model
        if asked.name or asked.encoder:
            return asked.name or (asked.encoder or Path()).name
        if asked.command == "train" or asked.train or is_trained(self.work, usual) or not self._ships():
            return usual
        return shipped.NAME

    def _ships(self) -> bool:
        """Whether the encoder that ships takes the windows: those that are there, or those that the settings will cut."""
        if any(item.name == self.work.sequences.name and item.state == "done" for item in self.found.of("files")):
            return shipped.takes(store.read(self.work.sequences, "sequences", Sequences, "/sequences"))
        cut = self.config.split
        return shipped.takes_cut(cut.length, cut.fps, cut.normalize)

    def _why_train(self, name: str, steps: Sequence[Step]) -> str:
        if self.asked.encoder or name == shipped.NAME:
            return ""
        if not is_trained(self.work, name):
            return "missing"
        if not (self.asked.train or self.asked.command == "train"):
            return ""
        if self.asked.overwrite:
            return "overwrite"
        description = read_description(self.work.model(name))
        facts: dict[str, Any] = {
            "model": self.config.train.model,
            "train": as_dict(self.config.train),
            "seed": self.config.seed,
        }
        if any(description.get(key) != value for key, value in facts.items()):
            return "settings"
        item = next((item for item in self.found.of("models") if item.name == name), None)
        return "behind" if steps else item.reason if item else ""

    def _encode(self, steps: Sequence[Step]) -> Step | None:
        return self._whole("encode", f"embeddings/{self._model()}.h5", steps, OVERLAP * self._all_frames())

    def _match(self, steps: Sequence[Step]) -> Step:
        frames = self._all_frames()
        item = Item("matches", "metrics, rankings, report", "stale", "always")
        return self._step("match", [item], 1, frames, self.rates.bytes("match", frames))
