"""What is done in a work folder, what is stale and why, what failed and why, and what is missing.

Nothing is written for that, so it works while a run goes on. An item is stale too where something before it is: that is what
`gaitreid run` with the same settings would do again.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gaitreid.pipeline import store
from gaitreid.pipeline.checkpoints import CHECKPOINT, read_description
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console, counted, few
from gaitreid.pipeline.extract import by_stem
from gaitreid.pipeline.extract import decides as extract_decides
from gaitreid.pipeline.files import digest, sha256
from gaitreid.pipeline.index import Index
from gaitreid.pipeline.labels import Labeller
from gaitreid.pipeline.lift import weights_of, why_not_lifted
from gaitreid.pipeline.lock import Holder, holders
from gaitreid.pipeline.split import made_of
from gaitreid.pipeline.train import WEIGHTS
from gaitreid.pipeline.versions import CODE
from gaitreid.pipeline.walk_models import made_of as made_of_vectors
from gaitreid.pipeline.walks import made_of as made_of_walks
from gaitreid.pipeline.walks import sources
from gaitreid.pipeline.work import Work, why_stale
from gaitreid.pose.arrays import Record
from gaitreid.pose.errors import FormatError
from gaitreid.reid.records import Embeddings, Sequences

State = Literal["done", "stale", "failed", "missing"]
STATES: tuple[State, ...] = ("done", "stale", "failed", "missing")
SHOWN = 5  # names a line, unless all are asked for


@dataclass(frozen=True)
class Item:
    """One video in one stage, or one file of all videos.

    Attributes:
        stage: pose2d, silhouettes, pose3d, sequences and embeddings/NAME, which have an item a video; files, models and matches.
        name: of the video, the file or the folder.
        reason: code: of what is stale code, settings, source, labels or behind; of what failed that of the failure.
        why: the same in words; empty where there is nothing to say.
    """

    stage: str
    name: str
    state: State
    reason: str = ""
    why: str = ""


@dataclass(frozen=True)
class Status:
    """A look at a work folder: its items, stage by stage, and who writes there now."""

    items: tuple[Item, ...]
    writing: tuple[Holder, ...]

    def of(self, stage: str) -> list[Item]:
        """Items of one stage."""
        return [item for item in self.items if item.stage == stage]

    @property
    def counts(self) -> dict[str, dict[State, int]]:
        """Number of items by stage and state."""
        found = Counter((item.stage, item.state) for item in self.items)
        return {stage: {state: found[stage, state] for state in STATES} for stage in dict.fromkeys(i.stage for i in self.items)}


@dataclass(frozen=True)
class Look:
    """What all looks at one work folder share.

    Attributes:
        videos: stem -> video; none: those that the files tell of.
        labeller: labels that the videos are to have; none: those that they have.
        extracting: whether videos would be extracted, so that what is behind them is stale where they are.
        verify: whether videos are hashed, however they look.
    """

    work: Work
    config: Config
    index: Index
    videos: Mapping[str, Path] | None = None
    labeller: Labeller | None = None
    extracting: bool = True
    verify: bool = False

    def stems(self) -> list[str]:
        """Videos to look at."""
        return sorted(self.videos) if self.videos is not None else self.work.stems("pose2d")


def survey(
    work: Work,
    config: Config,
    videos: Sequence[Path] = (),
    *,
    labeller: Labeller | None = None,
    extracting: bool = True,
    verify: bool = False,
) -> Status:
    """Look at everything.

    Args:
        videos: files or folders; none: the videos that the work folder knows.
        labeller, extracting, verify: as of `Look`.

    Raises:
        UsageError: a path does not exist.
        EmptyError: there is no video in these folders.
    """
    named = by_stem(work, videos) if videos else None
    look = Look(work, config, Index(work), named, labeller, extracting, verify)
    writing = tuple(holders(work.root))
    tracked = {item.name: item for item in _tracked(look)}
    lifted = {item.name: item for item in _lifted(look, tracked)}
    windows = list(_windows(look, lifted))
    whole = next((item for item in windows if item.name == work.sequences.name), None)
    outlined = {item.name: item for item in _outlined(look, tracked)}
    packed = [item for item in [_walks(look, tracked, outlined)] if item]
    models = list(_models(look, whole))
    vectors = list(_vectors(look, lifted, [*windows, *packed]))
    items = [*tracked.values(), *outlined.values(), *lifted.values(), *windows, *packed, *models, *vectors]
    return Status((*items, *_matches(look, vectors)), writing)


def show(found: Status, console: Console) -> None:
    """Print it for people: counts, and after them what needs attention."""
    counts = found.counts
    if not counts:
        console.say("status: there is nothing here yet: `gaitreid run VIDEOS...` makes it")
    wide = max(map(len, counts), default=0)
    if counts:
        console.say(f"{'':{wide}} " + "".join(f"{state:>9}" for state in STATES))
    for stage, by_state in counts.items():
        console.say(f"{stage:{wide}} " + "".join(f"{by_state[state] or '-':>9}" for state in STATES))
    groups: dict[tuple[str, State, str], list[Item]] = {}
    for item in found.items:
        if item.state != "done" or item.reason:
            groups.setdefault((item.stage, item.state, item.reason), []).append(item)
    for (stage, state, reason), items in groups.items():
        console.say(f"{stage}: {len(items)} {state}{f', {reason}' if reason else ''}: {_names(items, console.level > 0)}")
    for item in found.items:
        if item.state == "done" and not item.reason:
            console.detail(f"{item.stage}: {item.name}: done")
    for holder in found.writing:
        console.say(f"writing now: {holder}")
    if any(item.state == "failed" and item.stage == "pose2d" for item in found.items):
        console.say("status: what failed is kept: `--retry-failed` of extract and run tries it again")


def as_json(found: Status) -> dict[str, Any]:
    """The same for programs, with all items."""
    return {
        "counts": found.counts,
        "writing": [asdict(holder) for holder in found.writing],
        "items": [asdict(item) for item in found.items],
    }


def _names(items: list[Item], all_: bool) -> str:
    """Names, and the reason in words: once where it is the same for all, else that of the first."""
    if all_:
        return "".join(f"\n  {item.name}{f': {item.why}' if item.why else ''}" for item in items)
    names = few([item.name for item in items], SHOWN)
    whys = list(dict.fromkeys(item.why for item in items if item.why))
    if not whys:
        return names
    return f"{names} ({whys[0]}{f'; and {len(whys) - 1} others, which -v lists' if len(whys) > 1 else ''})"


def _item(stage: str, name: str, why: str, state: State = "stale") -> Item:
    """An item from a reason of the form `code: words`; done where there is none."""
    reason, _, words = why.partition(": ")
    return Item(stage, name, state if why else "done", reason, words)


def _behind(stage: str, name: str, before: str) -> Item:
    return Item(stage, name, "stale", "behind", f"{before} is made again")


def _tracked(look: Look) -> Iterator[Item]:
    """Videos in pose2d."""
    wanted, there = extract_decides(look.config.extract), set(look.work.stems("pose2d"))
    for stem in look.stems():
        path = look.work.pose2d(stem)
        if stem not in there:
            yield Item("pose2d", stem, "missing")
            continue
        try:
            facts = look.index.known(path, "pose2d").facts
        except FormatError as error:
            yield Item("pose2d", stem, "stale", "damaged", str(error))
            continue
        failed = str(facts.get("reason", ""))
        if "imported" in facts:
            yield _item("pose2d", stem, failed, "failed")
            continue
        made_from = str(facts.get("made_from", ""))
        video = look.videos[stem].resolve() if look.videos is not None else look.index.place(facts)
        # A video that could not even be hashed is known by its name.
        source = look.index.of_video(video, path, facts, verify=look.verify) if made_from else made_from
        why = why_stale(facts, "pose2d", wanted, source or made_from)
        if why:
            yield _item("pose2d", stem, why)
        elif look.labeller and any(facts.get(n) != v for n, v in look.labeller(video).as_dict().items()):
            yield Item("pose2d", stem, "stale", "labels", "they change, and the poses stay")
        elif failed:
            yield _item("pose2d", stem, failed, "failed")
        elif not source:
            yield Item("pose2d", stem, "done", "no-video", f"{video} is not there any more")
        else:
            yield Item("pose2d", stem, "done", *(("truncated", "the video ends early") if facts.get("truncated") else ()))


def _outlined(look: Look, tracked: Mapping[str, Item]) -> Iterator[Item]:
    """Videos in silhouettes, where these are asked for or there."""
    wanted, there = extract_decides(look.config.extract), set(look.work.stems("silhouettes"))
    for stem in sorted(set(tracked) | (there if look.videos is None else set())):
        before = tracked.get(stem)
        if stem not in there:
            if look.config.extract.silhouettes and before and before.state != "failed":
                yield Item("silhouettes", stem, "missing")
            continue
        try:
            facts = look.index.known(look.work.silhouettes(stem), "silhouettes").facts
        except FormatError as error:
            yield Item("silhouettes", stem, "stale", "damaged", str(error))
            continue
        if "imported" in facts or not before:
            yield Item("silhouettes", stem, "done")
        elif before.state == "stale":
            yield _behind("silhouettes", stem, "pose2d")
        elif before.state == "missing":
            yield Item("silhouettes", stem, "stale", "behind", "there is no pose2d of the same name")
        else:
            source = str(look.index.known(look.work.pose2d(stem), "pose2d").facts.get("made_from", ""))
            yield _item("silhouettes", stem, why_stale(facts, "silhouettes", wanted, source))


def _lifted(look: Look, tracked: Mapping[str, Item]) -> Iterator[Item]:
    """Videos in pose3d; those in which nobody was found have nothing to lift."""
    work, weights = look.work, weights_of(look.config.lift.lifter)
    others = set(work.stems("pose3d")) if look.videos is None else set()
    for stem in sorted(set(tracked) | others):
        before = tracked.get(stem)
        if before is None:
            yield _lifted_alone(look, stem)
        elif before.state == "missing" or (before.state != "failed" and not work.pose3d(stem).exists()):
            yield Item("pose3d", stem, "missing")
        elif before.state == "stale" and (look.extracting or before.reason == "damaged"):
            yield _behind("pose3d", stem, "pose2d")
        elif before.state != "failed":
            yield _item("pose3d", stem, why_not_lifted(work, look.index, look.config.lift, stem, weights))


def _lifted_alone(look: Look, stem: str) -> Item:
    """A lifted file without tracks in 2D, as data sets of skeletons give them."""
    try:
        facts = look.index.known(look.work.pose3d(stem), "pose3d").facts
    except FormatError as error:
        return Item("pose3d", stem, "stale", "damaged", str(error))
    return _item("pose3d", stem, "" if "imported" in facts else "orphan: its tracks in 2D are there no longer")


def _windows(look: Look, lifted: Mapping[str, Item]) -> Iterator[Item]:
    """sequences.h5, and the videos in it."""
    work = look.work
    whole = _sequences(look, lifted)
    if whole is None:
        return
    there = _videos_in(work.sequences, "sequences", Sequences, "/sequences")
    for stem, before in lifted.items():
        if before.state == "missing" or (stem not in there and whole.state != "done"):
            yield Item("sequences", stem, "missing")
        elif before.state == "stale":
            yield _behind("sequences", stem, "pose3d")
        elif stem not in there:
            yield Item("sequences", stem, "failed", "no-window", "none of its tracks gave a window: `gaitreid split -v` says why")
        else:
            yield Item("sequences", stem, whole.state, whole.reason, whole.why)
    yield whole


def _sequences(look: Look, lifted: Mapping[str, Item]) -> Item | None:
    """The file of windows; None where there is nothing yet that it could be made from."""
    work, name = look.work, look.work.sequences.name
    if not lifted and not work.sequences.exists():
        return None
    if not work.sequences.exists():
        return Item("files", name, "missing")
    try:
        facts = look.index.known(work.sequences, "sequences").facts
        if "imported" in facts and not lifted:
            return Item("files", name, "done")
        if coming := sum(item.state != "done" for item in lifted.values()):
            return _behind("files", name, f"pose3d of {counted(coming, 'videos')}")
        return _item("files", name, _why_windows(look, facts))
    except FormatError as error:
        return Item("files", name, "stale", "damaged", str(error))


def _why_windows(look: Look, facts: Mapping[str, store.Attribute]) -> str:
    made_from = made_of(look.work, look.index, look.work.stems("pose3d"))
    return why_stale(facts, "sequences", look.config.split, made_from)


def _walks(look: Look, tracked: Mapping[str, Item], outlined: Mapping[str, Item]) -> Item | None:
    """The file of whole walks; None where none was asked for yet."""
    work, name = look.work, look.work.walks.name
    if not work.walks.exists():
        return None
    try:
        facts = look.index.known(work.walks, "walks").facts
        before = [*tracked.values(), *outlined.values()] if look.extracting else []
        if coming := len({item.name for item in before if item.state in {"stale", "missing"}}):
            return _behind("files", name, f"pose2d or silhouettes of {counted(coming, 'videos')}")
        made_from = made_of_walks(look.index, sources(work, look.config.pack))
        return _item("files", name, why_stale(facts, "walks", look.config.pack, made_from))
    except FormatError as error:
        return Item("files", name, "stale", "damaged", str(error))


def _models(look: Look, windows: Item | None) -> Iterator[Item]:
    """Models: stale where they were trained here, on other windows than there are now."""
    for folder in sorted(path for path in (look.work.root / "models").glob("*") if path.is_dir()):
        description = read_description(folder)
        if not any(folder.glob("*.safetensors")):
            why = "its training was cut off: the same `gaitreid train` goes on" if (folder / CHECKPOINT).exists() else ""
            yield Item("models", folder.name, "missing", "cut-off" if why else "", why)
        elif not (folder / CHECKPOINT).exists() or not description:
            yield Item("models", folder.name, "done")  # it came from elsewhere
        else:
            yield _item("models", folder.name, _why_model(look, description, windows))


def _why_model(look: Look, description: Mapping[str, Any], windows: Item | None) -> str:
    if description.get("code_version", 1) != CODE["model"]:
        return f"code: made by version {description.get('code_version', 1)} of this stage, now there is {CODE['model']}"
    if "sequences" not in description or description.get("takes") == "walks":
        return ""
    if windows is not None and windows.state == "stale":
        return "behind: sequences.h5 is made again; `gaitreid train` would train it anew"
    try:
        facts = look.index.known(look.work.sequences, "sequences").facts
    except FormatError:
        return ""  # nothing to compare with
    same = all(facts.get(key) == value for key, value in dict(description["sequences"]).items())
    return "" if same else "source: the windows are others than those that it was trained on; `gaitreid train` trains it anew"


def _vectors(look: Look, lifted: Mapping[str, Item], files: Sequence[Item]) -> Iterator[Item]:
    """embeddings/NAME.h5 of each model, and the videos in it."""
    work = look.work
    for name in work.stems("embeddings"):
        whole, stage = _embeddings(look, name, files), f"embeddings/{name}"
        there = _videos_in(work.embeddings(name), "embeddings", Embeddings, "/embeddings")
        if _takes_walks(work, name):
            yield from (replace(whole, stage=stage, name=stem) for stem in sorted(there))
            yield whole
            continue
        for stem, before in lifted.items():
            if stem in there and before.state == "stale":
                yield _behind(stage, stem, "pose3d")
            elif stem in there:
                yield replace(whole, stage=stage, name=stem)
            elif before.state != "done" or whole.state != "done":
                yield Item(stage, stem, "missing")
        yield whole


def _takes_walks(work: Work, name: str) -> bool:
    return bool(read_description(work.model(name)).get("takes") == "walks")


def _embeddings(look: Look, name: str, files: Sequence[Item]) -> Item:
    """The file of one model's vectors; of several fused ones, their names are joined by +."""
    work, file = look.work, f"embeddings/{name}.h5"
    try:
        facts = look.index.known(work.embeddings(name), "embeddings").facts
        source = work.walks if _takes_walks(work, name) else work.sequences
        if any(item.stage == "files" and item.name == source.name and item.state == "stale" for item in files):
            return _behind("files", file, source.name)
        if (weights := work.model(name) / WEIGHTS).exists():
            known = look.index.known(source, source.stem).sha256
            by_walks = source == work.walks
            made_from = made_of_vectors(weights.parent, known) if by_walks else digest([sha256(weights), known])
        elif "+" in name:
            made_from = digest(look.index.known(work.embeddings(part), "embeddings").sha256 for part in name.split("+"))
        else:
            return Item("files", file, "stale", "no-model", f"there is no model '{name}' any more")
        return _item("files", file, why_stale(facts, "embeddings", look.config.encode, made_from))
    except FormatError as error:
        return Item("files", file, "stale", "damaged", str(error))


def _matches(look: Look, vectors: Sequence[Item]) -> Iterator[Item]:
    """Comparisons: stale where the vectors are others than those that were ranked."""
    files = {item.name: item for item in vectors if item.stage == "files"}
    for folder in sorted(path.parent for path in (look.work.root / "matches").glob("*/metrics.json")):
        try:
            facts = look.index.known(folder / "ranking.h5", "ranking").facts
            model = str(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["model"])
            whole = files.get(f"embeddings/{model}.h5")
            if whole is None:
                yield Item("matches", folder.name, "stale", "no-embeddings", f"there is no embeddings/{model}.h5 any more")
            elif whole.state != "done":
                yield _behind("matches", folder.name, whole.name)
            elif facts.get("made_from") != look.index.known(look.work.embeddings(model), "embeddings").sha256:
                yield Item("matches", folder.name, "stale", "source", f"{whole.name} has changed since")
            else:
                yield Item("matches", folder.name, "done")
        except (FormatError, OSError, ValueError, KeyError, TypeError) as error:
            yield Item("matches", folder.name, "stale", "damaged", str(error))


def _videos_in(path: Path, schema: str, record: type[Record], group: str) -> set[str]:
    """Names of the videos whose tracks a file holds; none where it cannot be read."""
    try:
        return set(store.column(path, schema, record, group, "video").tolist())
    except FormatError:
        return set()
