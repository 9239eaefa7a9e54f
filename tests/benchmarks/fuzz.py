"""Broken and hostile files for every reader: none may crash, hang, fill the memory, run code or leave half a result.

    fuzz.py [--cases 12000] [--seed 0] [--data DIR] [--reader NAME ...] [--keep DIR]

Half of the cases are files that this project wrote, with bytes flipped, cut, inserted, copied and spliced, mostly in their
headers; `--data` adds real files (kth/*.avi, clips/*, mocap/*.npz, kinect/*.npz, as far as they are there). The others are drawn
by hypothesis: values of any kind and size in the places of a valid file, links and claims that a careless reader would follow.
Every case runs in a process of its own kind with a limit of time; what a reader may do is to return or to raise an error of this
package. Findings are `traceback` (any other exception), `crash` (of the process), `hang`, `memory` (more than the file's share),
`escape` (something was written outside the work folder, or run) and `partial` (what is in the work folder cannot be read).
`--keep` keeps their files. Last line: one JSON object with the same figures; exit code 1 where there are findings.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from gaitreid.pipeline import checkpoints, gallery, importer, keypoints, motions, official, silhouettes, store
from gaitreid.pipeline.config import load as load_config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.index import Index
from gaitreid.pipeline.labels import Labeller
from gaitreid.pipeline.schema import SCHEMAS
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, GaitReidError
from gaitreid.pose.extract import ExtractConfig
from gaitreid.pose.records import Silhouettes, Track2D, Track3D
from gaitreid.pose.skeleton import BLAZEPOSE33, H36M17, remap
from gaitreid.pose.video import frames
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import rank
from gaitreid.reid.records import Cohort, Embeddings, Gallery, Ranking, Sequences
from gaitreid.reid.windows import SplitConfig, split_track

LIMIT = 20.0  # seconds a case
START = 180.0  # seconds until the first: what is imported and made then takes long
MEMORY = 320 * 2**20  # bytes that a case may take beside RATIO times its files
RATIO = 100
CANARY = "canary"  # is there when something ran

Files = dict[str, bytes]  # by path in the folder of a case


class Quiet(Console):
    """Says nothing, errors included."""

    def error(self, text: str) -> None:
        """Not said."""

    def _print(self, text: str) -> None:
        pass


QUIET = Quiet(-1)


@dataclass(frozen=True)
class Reader:
    """What is tried.

    Attributes:
        seeds: valid cases.
        read: reads the case in a folder; may write in the folder `work` there.
        drawn: strategy of structured cases.
        share: of all cases, in parts.
    """

    seeds: Callable[[], list[Files]]
    read: Callable[[Path], object]
    drawn: Callable[[], st.SearchStrategy[Files]] | None = None
    share: int = 4


@dataclass
class Tally:
    """Of one reader."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str]] = field(default_factory=list)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=11_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder of real files")
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="only these")
    parser.add_argument("--keep", type=Path, help="folder for the files of findings")
    options = parser.parse_args()
    began = time.monotonic()
    result = fuzz(options.cases, options.seed, options.reader or list(READERS), options.data, options.keep, sys.stdout.write)
    print(f"{'reader':14}{'cases':>8}{'read':>8}{'refused':>9}{'findings':>10}")
    for name, tally in result.items():
        print(f"{name:14}{tally.cases:8}{tally.outcomes['read']:8}{tally.outcomes['refused']:9}{len(tally.findings):10}")
    for name, tally in result.items():
        for kind, words in tally.findings:
            print(f"{name}: {kind}: {words}")
    findings = sum(len(tally.findings) for tally in result.values())
    summary = {
        "cases": sum(tally.cases for tally in result.values()),
        "findings": findings,
        "seconds": round(time.monotonic() - began, 1),
        "readers": {name: {"cases": t.cases, **t.outcomes, "findings": len(t.findings)} for name, t in result.items()},
    }
    print(json.dumps(summary))
    sys.exit(1 if findings else 0)


def fuzz(
    cases: int,
    seed: int = 0,
    names: list[str] | None = None,
    data: Path | None = None,
    keep: Path | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Tally]:
    """So many cases over readers, by their shares."""
    chosen = names or list(READERS)
    shares = sum(READERS[name].share for name in chosen)
    result = {}
    for name in chosen:
        count = max(2, round(cases * READERS[name].share / shares))
        began = time.monotonic()
        result[name] = _watch(name, count, seed, data, keep)
        say(f"{name}: {count} cases in {time.monotonic() - began:.1f} s, {len(result[name].findings)} findings\n")
    return result


def _watch(name: str, count: int, seed: int, data: Path | None, keep: Path | None) -> Tally:
    """Run a reader's cases in a child, and another child after each that crashed or hung."""
    tally = Tally()
    context = multiprocessing.get_context("fork")
    while tally.cases < count:
        ours, theirs = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
            arguments = (theirs, name, tally.cases, count, seed, data, Path(base))
            child = context.Process(target=_child, args=arguments, daemon=True)
            child.start()
            theirs.close()
            ended = _listen(ours, tally, keep, Path(base))
            if not ended:
                tally.cases += 1
                hung = child.is_alive()
                if hung:
                    child.kill()
                child.join()
                words = f"after {LIMIT:g} s" if hung else f"exit code {child.exitcode}"
                _note(tally, "hang" if hung else "crash", words, keep, Path(base) / "case")
            child.join()
    return tally


def _listen(pipe: Connection, tally: Tally, keep: Path | None, base: Path) -> bool:
    """Take note of outcomes until the child says that it is at the end; False where it does not get there."""
    limit = START
    while True:
        try:
            if not pipe.poll(limit):
                return False
            kind, words = pipe.recv()
        except (EOFError, ConnectionResetError):
            return False
        if kind == "end":
            return True
        limit = LIMIT
        if kind == "started":
            continue
        tally.cases += 1
        tally.outcomes[kind] += 1
        if kind not in ("read", "refused"):
            _note(tally, kind, words, keep, base / "found")


def _note(tally: Tally, kind: str, words: str, keep: Path | None, folder: Path) -> None:
    tally.findings.append((kind, words))
    if keep and folder.is_dir():
        target = keep / f"{kind}-{len(list(keep.glob('*'))) if keep.exists() else 0:03d}"
        shutil.copytree(folder, target, symlinks=True)
        (target / "finding.txt").write_text(words, encoding="utf-8")


def _child(pipe: Connection, name: str, first: int, count: int, seed: int, data: Path | None, base: Path) -> None:
    """Cases from `first` on: those mutated, then those drawn."""
    with suppress(BrokenPipeError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)  # FFmpeg and libpng talk
        os.chdir(base)
        for number, files in enumerate(_cases(name, first, count, seed, data, pipe, base), first):
            del number, files
        pipe.send(("end", ""))


def _cases(
    name: str, first: int, count: int, seed_: int, data: Path | None, pipe: Connection, base: Path
) -> Iterator[tuple[int, Files]]:
    reader = READERS[name]
    mutated = count if reader.drawn is None else count // 2
    seeds = reader.seeds() + _real(name, data)
    _one(reader, seeds[0], base, pipe, warm=True)
    pipe.send(("started", ""))
    for number in range(first, mutated):
        rng = random.Random(f"{name} {seed_} {number}")
        files = mutate(rng.choice(seeds), rng, seeds)
        _one(reader, files, base, pipe)
        yield number, files
    left = count - max(first, mutated)
    if reader.drawn is None or left <= 0:
        return
    run = partial(_one, reader, base=base, pipe=pipe)
    # Where a child died the next one draws others.
    _draw(reader.drawn(), run, left, seed_ * 1_000_003 + first)


def _draw(strategy: st.SearchStrategy[Files], run: Callable[[Files], None], count: int, number: int) -> None:
    """As many cases as asked for: hypothesis ends earlier where it knows no more."""
    done = 0
    while done < count:
        before = done

        @seed(number + done)
        @settings(
            max_examples=count - done,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def each(files: Files) -> None:
            nonlocal done
            if done < count:
                done += 1
                run(files)

        each()
        if done == before:
            return


def _one(reader: Reader, files: Files, base: Path, pipe: Connection, *, warm: bool = False) -> None:
    """One case: what came of it goes through the pipe."""
    case = base / "case"
    shutil.rmtree(case, ignore_errors=True)
    size = 0
    for name, content in files.items():
        path = case / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        size += len(content)
    before = _names(base)
    held = _peak(reset=True)
    kind, words = _outcome(reader, case)
    taken = _peak() - held
    if kind in ("read", "refused"):
        extra = sorted(_names(base) - before - {f"case/{n}" for n in _names(case) if n.split("/")[0] == "work"})
        if extra:
            kind, words = "escape", f"wrote {', '.join(extra[:3])}"
        elif taken > MEMORY + RATIO * size and not warm:
            kind, words = "memory", f"{taken / 2**20:.0f} MiB for {size} bytes"
        elif broken := _broken(case / "work"):
            kind, words = "partial", broken
    if warm:
        assert kind == "read", f"a valid case is no good: {kind} {words}"
        return
    if kind not in ("read", "refused"):
        shutil.rmtree(base / "found", ignore_errors=True)
        shutil.copytree(case, base / "found", symlinks=True)
        for name in _names(base) - before:
            if not name.startswith("case/"):
                with suppress(OSError):
                    (base / name).unlink()
    pipe.send((kind, words))


def _outcome(reader: Reader, case: Path) -> tuple[str, str]:
    try:
        reader.read(case)
    except GaitReidError as error:
        if isinstance(error.__cause__, MemoryError):
            return "memory", f"asked for too much: {error}"[:200]
        return ("refused", "") if str(error).strip() else ("traceback", "an error without words")
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "gaitreid" in f.filename or "/pipeline/" in f.filename]
        inner = ours[-1] if ours else place
        words = f"{type(error).__name__}: {str(error)[:120]} ({Path(inner.filename).name}:{inner.lineno} {inner.name})"
        return "traceback", words.replace("\n", " ")
    return "read", ""


def _names(folder: Path) -> set[str]:
    found = set()
    for root, _, names in os.walk(folder):
        found |= {os.path.relpath(os.path.join(root, name), folder) for name in names}  # noqa: PTH118
    return {name for name in found if not name.startswith("found/")}


def _peak(*, reset: bool = False) -> int:
    """The most memory that this process held since the last reset, in bytes."""
    if reset:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _broken(work: Path) -> str:
    """What in a work folder is half a file, or is none of ours."""
    for path in sorted(p for p in work.rglob("*") if p.is_file()):
        if ".tmp" in path.name:
            return f"left {path.name}"
        if path.suffix == ".h5":
            try:
                store.describe(path)
            except GaitReidError as error:
                return f"{path.name}: {error}"
    return ""


# --- bytes ---

INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0" * 8)


def mutate(files: Files, rng: random.Random, seeds: list[Files]) -> Files:
    """A case with one of its files damaged, now and then several times."""
    result = dict(files)
    name = rng.choice(sorted(result))
    content = bytearray(result[name])
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _damage(content, rng, list(rng.choice(seeds).values()))
    result[name] = bytes(content)
    return result


def _damage(content: bytearray, rng: random.Random, others: list[bytes]) -> None:
    size = len(content)
    if not size:
        content += rng.randbytes(rng.randrange(64))
        return
    # Headers and the indices at the end decide most.
    at = rng.choice(
        (
            rng.randrange(min(size, 64)),
            rng.randrange(min(size, 2048)),
            rng.randrange(size),
            size - 1 - rng.randrange(min(size, 512)),
        )
    )
    length = rng.choice((1, 2, 4, 8, 32, rng.randrange(1, 512)))
    match rng.randrange(9):
        case 0:
            content[at] ^= 1 << rng.randrange(8)
        case 1:
            content[at] = rng.randrange(256)
        case 2 | 3:
            value = rng.choice(INTERESTING)
            content[at : at + len(value)] = value[: size - at]
        case 4:
            del content[at : None if rng.random() < 0.3 else at + length]
        case 5:
            content[at:at] = rng.randbytes(length)
        case 6:
            content[at:at] = content[at : at + length] * rng.choice((1, 2, 50))
        case 7:
            other = rng.choice(others)
            start = rng.randrange(len(other) or 1)
            content[at : at + length] = other[start : start + length]
        case 8:
            start = rng.randrange(size)
            content[at : at + length] = content[start : start + length]


def _real(name: str, data: Path | None) -> list[Files]:
    """Real files of a reader's kind: of the large ones few, as every case is a copy."""
    if data is None:
        return []
    where = {
        "video": ["kth/person01_walking_d1_uncomp.avi", "clips/090_001_nm-01.avi", "clips/sports2d_side_walk.mp4"],
        "motions": ["mocap/cmu_walk.npz"],
        "kinect": ["kinect/normal_gait.npz"],
        "labels": ["kth/segments_auto.csv"],
    }
    files = [data / path for path in where.get(name, ()) if (data / path).is_file()]
    if name == "kinect":
        return [_few_walks(path) for path in files]
    return [{next(iter(READERS[name].seeds()[0])).rpartition("/")[0] + path.name: path.read_bytes()} for path in files]


def _few_walks(path: Path) -> Files:
    """The first walks of a large archive."""
    with np.load(path, allow_pickle=False) as archive:
        starts = archive["starts"][:4]
        few = {name: archive[name][:3] for name in ("subject", "trial", "sensor")}
        return {"k.npz": _npz(joints=archive["joints"][: starts[-1]], starts=starts, **few)}


# --- valid files ---


def _written(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="fuzz-seed-") as folder:
        path = Path(folder) / "file.h5"
        write(path)
        return path.read_bytes()


def _npz(**arrays: Any) -> bytes:
    stream = BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _npy(value: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


@cache
def walk(count: int = 40, joints: int = 17) -> Any:
    """(count, joints, 3) metres of somebody who sways."""
    rng = np.random.default_rng(0)
    phase = np.arange(count)[:, None, None] * 0.3
    body = rng.uniform(-0.8, 0.8, (joints, 3))
    return (body + 0.2 * np.sin(phase + np.arange(joints)[:, None])).astype(np.float32)


def _track2d(count: int = 30) -> Track2D:
    xy = 100 + 80 * walk(count, 33)[..., :2]
    xy[3, 4] = np.nan
    score = np.where(np.isnan(xy).any(axis=-1), 0, 0.9).astype(np.float32)
    box = np.concatenate([np.nanmin(xy, axis=1), np.nanmax(xy, axis=1)], axis=1)
    frame = np.arange(count)
    return Track2D(frame=frame, time=frame / 25, box=box, xy=xy, score=score, world=walk(count, 33), skeleton=BLAZEPOSE33)


def _track3d(count: int = 40) -> Track3D:
    frame, ones = np.arange(count), np.ones((count, 17), np.float32)
    return Track3D(frame=frame, time=frame / 25, xyz=walk(count), score=ones, skeleton=H36M17, lifter="world")


def _columns(count: int = 3) -> dict[str, Any]:
    texts = [f"{n:03d}" for n in range(count)]
    names = ("video", "subject", "condition", "number", "view", "recording")
    return {"track": np.ones(count, np.int64), **{name: np.array(texts) for name in names}}


def _embeddings() -> Embeddings:
    rng = np.random.default_rng(0)
    return Embeddings(
        **_columns(),
        window=rng.normal(size=(6, 8)).astype(np.float32),
        window_track=np.arange(6) // 2,
        window_frame=np.array([[0, 19]] * 6),
        vector=rng.normal(size=(3, 8)).astype(np.float32),
        encoder="made-up",
        weights="00",
        form="mean",
    )


def _gallery_groups() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    names = np.array(["Ann", "Ann", "Bob", "Eve"])
    of = Gallery(
        name=names,
        video=names,
        track=np.ones(4, np.int64),
        source=np.array(["a", "b", "c", "d"]),
        windows=np.full(4, 3),
        vector=rng.normal(size=(4, 8)).astype(np.float32),
        encoder="made-up",
        weights="00",
        form="mean",
        whiten=0.5,
    )
    return {"/gallery": of, "/cohort": Cohort(vector=rng.normal(size=(5, 8)).astype(np.float32))}


LABELS = {"subject": "001", "condition": "nm", "number": "01", "view": "090", "config": "{}", "made_from": "00"}


def _records(schema: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Groups and attributes of a valid file."""
    sequences = Sequences(
        **_columns(1), xyz=walk(), frame=np.arange(40), start=np.array([0, 10]), window_track=np.zeros(2, np.int64),
        length=20, fps=25.0, normalize="gait", skeleton=H36M17,
    )  # fmt: skip
    ranking = Ranking(
        order=np.array([[1, 2], [0, -1]]),
        distance=np.array([[0.1, 0.2], [0.3, np.nan]]),
        probe=np.arange(2),
        gallery=np.arange(3),
        excluded=np.zeros(2, np.int64),
        unit="track",
        metric="cosine",
    )
    masks = Silhouettes(frame=np.arange(12), mask=np.tile(np.eye(64, 44, dtype=np.uint8) * 255, (12, 1, 1)))
    facts = {"video": "v.avi", "video_path": "", "fps": 25.0, "tracks": 1, "reason": ""}
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "pose2d": ({"/tracks/000001": _track2d(), "/tracks/000002": _track2d(9)}, {**LABELS, **facts}),
        "pose3d": ({"/tracks/000001": _track3d()}, LABELS),
        "silhouettes": ({"/tracks/000001": masks}, LABELS),
        "sequences": ({"/sequences": sequences}, {**LABELS, "left_out": "{}"}),
        "embeddings": ({"/embeddings": _embeddings()}, LABELS),
        "gallery": (_gallery_groups(), {"metric": "cosine", "calibration": ""}),
        "ranking": ({"/ranking": ranking}, LABELS),
    }
    return found[schema]


@cache
def _hdf5(schema: str) -> bytes:
    groups, attributes = _records(schema)
    return _written(lambda path: store.write(path, schema, groups, attributes))


@cache
def _sleap() -> bytes:
    tracks = np.full((1, 2, 17, 30), np.nan)
    tracks[0] = (100 + 80 * walk(30)[..., :2]).transpose(2, 1, 0)
    names = list(H36M17.joints)
    arrays = {
        "tracks": tracks,
        "node_names": names,
        "track_names": ["one"],
        "edge_inds": np.array(H36M17.edges),
        "video_path": "v",
    }
    return _written(lambda path: store.write_sleap(path, arrays))


def _people(count: int = 30) -> list[list[float]]:
    xy = 100 + 80 * walk(count)[..., :2]
    return [np.concatenate([row, np.full((17, 1), 0.9)], axis=1).ravel().round(2).tolist() for row in xy]


def _json(name: str, frame: int = 0) -> Any:
    """A valid document of a keypoint format."""
    rows = _people()
    if name == "openpose":
        return {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": (rows[frame] * 2)[:75]}]}
    if name == "alphapose":
        return [
            {"image_id": f"{k}.jpg", "category_id": 1, "keypoints": row, "score": 2.5, "idx": 1} for k, row in enumerate(rows)
        ]
    if name == "coco":
        images = [{"id": k, "file_name": f"v/{k:04d}.jpg", "width": 640, "height": 480} for k in range(len(rows))]
        people = [
            {"id": k, "image_id": k, "category_id": 1, "keypoints": row, "bbox": [20, 20, 160, 160]} for k, row in enumerate(rows)
        ]
        category = {"id": 1, "name": "person", "keypoints": list(H36M17.joints), "skeleton": [[1, 2], [2, 3]]}
        return {"images": images, "annotations": people, "categories": [category]}
    shaped = [np.array(row).reshape(-1, 3) for row in rows]
    people = [{"keypoints": r[:, :2].tolist(), "keypoint_scores": r[:, 2].tolist(), "bbox": [[20, 20, 180, 180]]} for r in shaped]
    return {"meta_info": {}, "instance_info": [{"frame_id": k + 1, "instances": [p]} for k, p in enumerate(people)]}


def _json_files(name: str, document: Any) -> Files:
    if name == "openpose":
        others = {f"in/v_{k:012d}_keypoints.json": _dumped(_json(name, k)) for k in range(1, 30)}
        return {"in/v_000000000000_keypoints.json": _dumped(document), **others}
    return {
        {"alphapose": "in/alphapose-results.json", "coco": "in/a.json", "mmpose": "in/results_v.json"}[name]: _dumped(document)
    }


def _dumped(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode("utf-8", "surrogatepass")


def _rows(kind: str, joints: int) -> str:
    xyz = walk(1, joints)[0] + [0, 0, 3]
    if kind == "biwi":
        return "".join(f"1,{x:.3f},{y:.3f},{z:.3f},100,100,2,0.9,0\n" for x, y, z in xyz)
    if kind == "kgbd":
        return "".join(f"Head;{x:.3f};{y:.3f};{z:.3f}\n" for x, y, z in xyz) * 4
    return "".join(f"J{k} {x:.3f} {y:.3f} {z:.3f}\n" for k, (x, y, z) in enumerate(xyz))


def _skeleton_files(kind: str, text: str) -> Files:
    content = text.encode("utf-8", "surrogatepass")
    if kind == "kgbd":
        return {"in/Person001/1.txt": content}
    if kind == "ks20":
        return {f"in/frontal/a_gc01_body02_{k}_x.txt": content for k in range(4)}
    return {f"in/Training/001/{k:03d}_skel.txt": content for k in range(4)}


def _kinect() -> Files:
    joints = walk(30, 25) + np.array([0, 0, 1], np.float32)
    return {"k.npz": _npz(joints=joints, starts=[0, 15, 30], subject=[1, 2], trial=[1, 1], sensor=[1, 2], gait=["n", "n"])}


def _motions() -> Files:
    arrays = {"starts": [0, 40], "subject": ["s"], "fps": 30.0, "up_axis": "y", "joint_names": list(H36M17.joints)}
    return {"m.npz": _npz(joints=walk(), **arrays)}


def _official(ids: object = None) -> Files:
    flat = walk(40, 14)
    axes = {
        f"in/source_{axis}_DATA_20.npy": _npy(np.ascontiguousarray(flat[..., k], dtype=float)) for k, axis in enumerate("xyz")
    }
    return {**axes, "in/ids_DATA_20.npy": _npy(np.array(ids or {"1": [0], "2": [1]}, dtype=object))}


@cache
def _png() -> bytes:
    picture = np.zeros((120, 90), np.uint8)
    cv2.ellipse(picture, (45, 60), (15, 50), 0, 0, 360, 255, -1)
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def _pngs(content: bytes | None = None) -> Files:
    return {f"in/001/nm-01/090/{k:03d}.png": content or _png() for k in range(3)}


@cache
def _videos() -> tuple[Files, ...]:
    found = []
    with tempfile.TemporaryDirectory(prefix="fuzz-seed-") as folder:
        for ending, codec in (("avi", "MJPG"), ("mp4", "mp4v"), ("mkv", "MJPG")):
            path = Path(folder) / f"v.{ending}"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
            for k in range(12):
                writer.write(np.full((48, 64, 3), 20 * k, np.uint8))
            writer.release()
            found.append({f"v.{ending}": path.read_bytes()})
    return tuple(found)


@cache
def _model() -> Files:
    from gaitreid.pipeline.shipped import folder

    return {f"m/{name}": (folder() / name).read_bytes() for name in ("config.yaml", "encoder.safetensors")}


@cache
def _lifter() -> Files:
    import torch
    from safetensors.torch import save

    from gaitreid.pose.lifters.tcn import Net

    torch.manual_seed(0)
    return {"l/lifter.safetensors": save(Net(8).state_dict())}


@cache
def _library() -> Files:
    from safetensors.numpy import save

    return {"l/library.safetensors": save({"poses": walk(20, 14)})}


@cache
def _checkpoint() -> Files:
    import torch

    stream = BytesIO()
    net = torch.nn.Linear(4, 4)
    optimiser = torch.optim.Adam(net.parameters())
    torch.save({"encoder": net.state_dict(), "optimiser": optimiser.state_dict(), "epoch": 2}, stream)
    return {"checkpoint.pt": stream.getvalue()}


def _config() -> Files:
    text = "_base_: base.yaml\nseed: 3\nsplit: {length: 30, trim: 5, fps: null}\ntrain: {model: cage, epochs: 3}\n"
    return {"c.yaml": text.encode(), "base.yaml": b"cage:\n  hidden: 16\nmatch: {metric: cosine, top: 3}\n"}


LABEL_ROWS = "video,subject,condition,number,view\nv.avi,001,nm,01,090\n'b/c.mp4',\"002\",cl,02,\n"


# --- drawn values ---

WORDS = st.sampled_from(
    ["", "..", "../../escape", "/escape", "\0", "a\nb", "\ud800", "x" * 5000, "NUL", "-1", "é", "\u202e", "$(touch canary)"]
)
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**30, 1e300, -0.0, 1e-300, 0.5]), st.integers(-3, 40), st.floats()
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _places(value, (*path, key))
    elif isinstance(document, list):
        for k, value in enumerate(document[:3]):
            yield from _places(value, (*path, k))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """A document with some of its values replaced, taken away or made many."""
    result = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_places(result))))
        value = draw(VALUES)
        if not path:
            return value if draw(st.integers(0, 9)) == 0 else result
        inner = result
        for key in path[:-1]:
            inner = inner[key]
        action = draw(st.integers(0, 5))
        if action == 0:
            del inner[path[-1]]
        elif action == 1:
            inner[path[-1]] = [inner[path[-1]]] * draw(st.sampled_from([0, 2, 1000]))
        else:
            inner[path[-1]] = value
    return result


RAW_JSON = st.sampled_from(
    [
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 900 + b"]" * 900,
        b"NaN",
        b"[1e999]",
        b"-" + b"9" * 10_000,
        b"",
        b"\xff\xfe[",
        b'{"people": [], "people": 3}',
        b'[{"image_id": 1, "image_id": [], "keypoints": []}]',
        b"[" + b"{}," * 30_000 + b"{}]",
    ]
)


def _drawn_json(name: str) -> st.SearchStrategy[Files]:
    raw = RAW_JSON.map(partial(_json_files, name))
    return st.one_of(
        changed(_json(name)).map(partial(_json_files, name)), changed(_json(name)).map(partial(_json_files, name)), raw
    )


CELLS = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(["", "nan", "inf", "1e400", "1_0", "x", "²", "9" * 5000, "\0", "Head"]),
)


@st.composite
def _drawn_rows(draw: st.DrawFn, kind: str, joints: int) -> Files:
    lines = _rows(kind, joints).splitlines()
    separator = {"biwi": ",", "kgbd": ";", "ks20": " "}[kind]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                lines[at] = separator.join(draw(st.lists(CELLS, max_size=12)))
            case 1:
                cells = lines[at].split(separator)
                cells[draw(st.integers(0, len(cells) - 1))] = draw(CELLS)
                lines[at] = separator.join(cells)
            case 2:
                lines[at : at + 1] = [lines[at]] * draw(st.sampled_from([0, 2, 50]))
                lines = lines or [""]
            case 3:
                lines[at] = draw(
                    st.sampled_from(["\n" * 20_000, " " * 20_000, ";" * 5000, "\r\x0b\x0c\x85\u2028", "\ufeff" + lines[at]])
                )
            case 4:
                lines[at] += draw(st.text(max_size=10))
    return _skeleton_files(kind, "\n".join(lines))


DTYPES = ("f4", "f8", "f2", "i8", "i1", "u8", "?", "c8", "S3", "M8[s]", "V4", "O")


@st.composite
def _drawn_hdf5(draw: st.DrawFn, valid: bytes) -> Files:
    """A valid file in which datasets, attributes or links were changed to something that HDF5 allows."""
    with tempfile.TemporaryDirectory(prefix="fuzz-seed-") as folder:
        path = Path(folder) / "f.h5"
        path.write_bytes(valid)
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            for _ in range(draw(st.integers(1, 2))):
                name = draw(st.sampled_from(names))
                with suppress(
                    OSError, RuntimeError, KeyError, TypeError, ValueError
                ):  # what an earlier change left cannot be changed
                    if name in file:
                        _change(draw, file, name, names)
        return {"f.h5": path.read_bytes()}


def _change(draw: st.DrawFn, file: Any, name: str, names: list[str]) -> None:
    item = file[name]
    match draw(st.integers(0, 9)):
        case 0:
            del file[name]
        case 1:
            where = file if draw(st.booleans()) else item
            keys = list(where.attrs)
            key = draw(st.sampled_from(keys)) if keys else "x"
            with suppress(TypeError, ValueError, OverflowError, UnicodeEncodeError, RuntimeError, OSError):
                value = draw(VALUES)
                where.attrs[key] = json.dumps(value) if isinstance(value, dict | list) else value
        case 2:
            other = draw(st.sampled_from(["elsewhere", "../other.h5", "f.h5"]))
            link = draw(st.sampled_from([h5py.SoftLink("/" + name), h5py.SoftLink("/"), h5py.ExternalLink(other, "/")]))
            del file[name]
            file[name] = link
        case 3:
            target = draw(st.sampled_from(names))
            if target in file and target != name and not name.startswith(f"{target}/"):
                held = file[target]
                del file[name]
                file[name] = held  # the same again
        case _ if isinstance(item, h5py.Dataset):
            _replace(draw, file, name, item)


def _replace(draw: st.DrawFn, file: Any, name: str, item: Any) -> None:
    """Another dataset of the same name: of another shape, dtype or layout, or with values that cannot be."""
    shape, dtype = item.shape, item.dtype
    if item.nbytes > 2**20:  # claimed by an earlier change
        return
    values = item[()]
    del file[name]
    size = draw(st.sampled_from([0, 1, 7, 10**6, 10**9, 10**12]))
    match draw(st.integers(0, 7)):
        case 0:
            file.create_dataset(
                name, shape=(size, *shape[1:]), dtype="f4" if dtype.kind == "O" else dtype
            )  # claimed, not written
        case 1:
            packed = {"chunks": (min(max(size, 1), 10**6), *shape[1:]), "compression": "gzip"}
            file.create_dataset(name, shape=(min(size, 10**9), *shape[1:]), maxshape=(None, *shape[1:]), dtype="f4", **packed)
        case 2:
            layout = h5py.VirtualLayout(shape=(max(size, 1),), dtype="f4")
            layout[:1] = h5py.VirtualSource("elsewhere", "x", shape=(1,))
            file.create_virtual_dataset(name, layout)
        case 3:
            file.create_dataset(name, shape=(64,), dtype="u1", external=[("elsewhere", 0, 64)])
        case 4:
            code = draw(st.sampled_from(DTYPES))
            with suppress(TypeError, ValueError):
                file.create_dataset(name, data=np.zeros(shape, code) if code != "O" else ["x" * 1000] * 5)
        case 5 if dtype.kind in "fiu" and values.size:
            places = draw(st.lists(st.integers(0, values.size - 1), min_size=1, max_size=3))
            values = np.array(values)
            for place in places:
                with suppress(OverflowError, ValueError):
                    values.flat[place] = draw(NUMBERS)
            file[name] = values
        case 6:
            text = draw(st.sampled_from(["../../escape", "x" * 100_000, "a\nb", ""]))
            file.create_dataset(name, data=[text] * max(shape[0] if shape else 1, 1), dtype=h5py.string_dtype())
        case 7:
            file.create_dataset(name, data=h5py.Empty("f4"))
        case _:
            file.create_dataset(name, data=values[:1] if shape else values)


@st.composite
def _drawn_arrays(draw: st.DrawFn, files: Files) -> Files:
    """Archives or arrays with one array replaced, or with a header that claims another."""
    name = draw(st.sampled_from(sorted(files)))
    if name.endswith(".npy"):
        return {**files, name: draw(_array(files[name]))}
    with zipfile.ZipFile(BytesIO(files[name])) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    for _ in range(draw(st.integers(1, 2))):
        member = draw(st.sampled_from(sorted(members)))
        if draw(st.integers(0, 9)) == 0:
            del members[member]
            break
        members[member] = draw(_array(members[member]))
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", draw(st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED]))) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return {**files, name: stream.getvalue()}


@st.composite
def _array(draw: st.DrawFn, content: bytes) -> bytes:
    shape = draw(
        st.sampled_from([(), (0,), (3,), (10**12,), (2, 0, 3), (-1,), (2**40, 2**40), (1,) * 40, (20, 25, 3), (40, 17, 3)])
    )
    code = draw(st.sampled_from(["<f4", "<f8", "<i8", "|b1", "<U3", "|O", "<U1000000", "<c16", "|V9", "<M8[s]", "x", ">i2"]))
    match draw(st.integers(0, 5)):
        case 0:
            header = f"{{'descr': {code!r}, 'fortran_order': {draw(st.booleans())}, 'shape': {shape}, }}"
            return _with_header(header, draw(st.binary(max_size=200)))
        case 1:
            header = draw(
                st.sampled_from(
                    ["(" * 4000, "{}", "{'descr': []}", "-" * 9000, "'" * 9, "{'descr': 'f4', 'shape': [1]}", "9" * 9000]
                )
            )
            return _with_header(header, content)
        case 2:
            return _with_header(
                f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**22},), }}", b"\0" * 2**22
            )  # unfolds from little
        case 3:
            with suppress(ValueError, TypeError, OverflowError):
                return _npy(np.array(draw(st.lists(NUMBERS, max_size=6))))
            return b""
        case 4:
            return _npy(np.array(draw(st.lists(WORDS.map(lambda w: w.replace("\ud800", "")), max_size=4)), dtype=np.str_))
        case _:
            with suppress(ValueError):
                values = np.array(np.load(BytesIO(content), allow_pickle=False))
                if values.size and values.dtype.kind in "fiu":
                    with suppress(OverflowError, ValueError):
                        values.flat[draw(st.integers(0, values.size - 1))] = draw(NUMBERS)
                    return _npy(values)
            return content[: len(content) // 2]


def _with_header(header: str, data: bytes) -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(text) + 1, 65535)) + text[:65534] + b"\n" + data


class _Runs:
    """A pickle that would leave the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY} ../{CANARY}",)


OPCODES = st.sampled_from(
    [
        b"(",
        b")",
        b"]",
        b"}",
        b"l",
        b"d",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"e",
        b"a",
        b"s",
        b"u",
        b"R",
        b"b",
        b"0",
        b"N",
        b"\x88",
        b"K\x01",
        b"M\xff\xff",
        b"J\xff\xff\xff\x7f",
        b"\x8a\x09" + b"\xff" * 9,
        b"cnumpy\nndarray\n",
        b"cnumpy\ndtype\n",
        b"cnumpy.core.multiarray\nscalar\n",
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"U\x02i8",
        b"X\x05\0\0\0touch",
        b"q\0",
        b"h\0",
        b"r\xff\xff\xff\x7f",
        b"C\x08\0\0\0\0\0\0\0\0",
        b"\x8e" + b"\xff" * 7 + b"\x7f",
        b"\x96" + b"\xff" * 6 + b"\0\0",
        b"2",
        b"I99999999999\n",
        b"\x94",
        b"\x93",
        b"\x81",
        b"\x92",
        b"P1\n",
        b"Q",
    ]
)


@st.composite
def _drawn_official(draw: st.DrawFn) -> Files:
    files = _official()
    if draw(st.booleans()):
        return draw(_drawn_arrays({name: content for name, content in files.items() if "source" in name} | files))
    head = _with_header("{'descr': '|O', 'fortran_order': False, 'shape': (), }", b"")
    match draw(st.integers(0, 3)):
        case 0:
            body = b"\x80\x02" + b"".join(draw(st.lists(OPCODES, max_size=30))) + b"."
        case 1:
            body = pickle.dumps(_Runs(), protocol=draw(st.integers(0, 5)))
        case 2:
            people = {draw(WORDS) or "1": draw(VALUES), "2": [_Runs()] if draw(st.booleans()) else [0]}
            body = pickle.dumps(np.array(people, dtype=object), protocol=draw(st.integers(2, 4)))
        case _:
            many = list(range(2)) * draw(st.sampled_from([1, 1000]))
            body = pickle.dumps({str(k): many for k in range(draw(st.sampled_from([1, 1000])))})
    return {**files, "in/ids_DATA_20.npy": head + body}


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
RAW_YAML = st.sampled_from(
    [
        LAUGHS,
        LAUGHS.replace("a: &a", "seed: &a"),
        "split: {length: &a [*a]}",
        "!!python/object/apply:os.system ['touch canary']\n",
        "_base_: /etc/hostname.yaml",
        "_base_: c.yaml",
        "_base_: ../../x.yaml",
        "[" * 5000,
        "{a: " * 3000,
        "seed: " + "9" * 9000,
        "seed: 0x" + "f" * 9000,
        "seed: 2001-99-99",
        "seed: !!int ''",
        "seed: !!float ''",
        "seed: !!bool x",
        "seed: !!timestamp x",
        "seed: !!binary '*'",
        "? [a]\n: 1",
        "? {a: 1}\n: 1",
        "seed: .nan",
        "split: {fps: .nan}",
        "split: {fps: .inf}",
        "seed: 1:" + "59:" * 2000 + "1",
        "---\na: 1\n---\nb: 2",
        "extract: {trust_config: true}",
        "lift: {trust_config: 1}",
        "\0",
        "%YAML 9.9\n---\n",
        "!!set {a, b}",
        "<<: 3",
        "<<: [1]",
        "seed: !!str",
        "_base_: [1]",
        "_base_: 3",
        '_base_: "a\\0b.yaml"',
    ]
)


def _drawn_config() -> st.SearchStrategy[Files]:
    document = {
        "seed": 0,
        "split": {"length": 20, "fps": 25.0},
        "cage": {"hidden": 4},
        "train": {"subjects": "1-3"},
        "_base_": "base.yaml",
    }
    drawn = changed(document).map(lambda value: yaml.safe_dump(value).encode("utf-8", "surrogatepass"))
    return st.one_of(drawn, drawn, RAW_YAML.map(str.encode)).map(lambda text: {**_config(), "c.yaml": text})


def _drawn_labels() -> st.SearchStrategy[Files]:
    cell = st.one_of(WORDS, st.text(max_size=5), st.sampled_from(['"', '"a\n', "'", ",", "x" * 200_000, "video"]))
    row = st.lists(cell, max_size=7).map(",".join)
    tables = st.lists(row, max_size=5).map(lambda rows: "\n".join(["video,subject,condition,number,view", *rows]))
    return st.one_of(tables, st.text(max_size=50)).map(lambda text: {"l.csv": text.encode("utf-8", "surrogatepass")})


def _drawn_model() -> st.SearchStrategy[Files]:
    description = yaml.safe_load(_model()["m/config.yaml"])
    small = {**description, "subjects": description["subjects"][:2]}
    return changed(small).map(lambda value: {**_model(), "m/config.yaml": yaml.safe_dump(value).encode("utf-8", "surrogatepass")})


@st.composite
def _drawn_tensors(draw: st.DrawFn, files: Files) -> Files:
    """Safetensors whose header claims something else."""
    name = next(n for n in files if n.endswith(".safetensors"))
    content = files[name]
    (size,) = struct.unpack("<Q", content[:8])
    header = draw(changed(json.loads(content[8 : 8 + size])))
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    length = draw(st.sampled_from([len(text), 0, 2**63, len(text) + 1]))
    return {**files, name: struct.pack("<Q", length) + text + content[8 + size :]}


PLAYLISTS = st.sampled_from(
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.avi\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile other.avi\n",
        b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 26\n",
        b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>",
        b"http://127.0.0.1:9/x.avi\n",
        b"",
        b"RIFF",
        b"\x1a\x45\xdf\xa3" + b"\xff" * 40,
        b"\0\0\0\x18ftypisom" + b"\xff" * 40,
    ]
)


@st.composite
def _drawn_video(draw: st.DrawFn) -> Files:
    """Fields of an AVI's headers (sizes, rates, counts) that cannot be, or another format under a video's name."""
    avi = _videos()[0]["v.avi"]
    if draw(st.integers(0, 3)) == 0:
        return {f"v.{draw(st.sampled_from(['avi', 'mp4', 'm3u8', 'mkv']))}": draw(PLAYLISTS), "other.avi": avi}
    content = bytearray(avi)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(8, 80)) * 4
        content[place : place + 4] = struct.pack(
            "<I", draw(st.sampled_from([0, 1, 2**31 - 1, 2**32 - 1, 65_535, 30_000, 10**9, 7]))
        )
    return {"v.avi": bytes(content)}


def _drawn_png() -> st.SearchStrategy[Files]:
    sizes = st.sampled_from([0, 1, 44, 8192, 8193, 30_000, 2**31 - 1, 2**32 - 1])
    resized = st.tuples(sizes, sizes).map(lambda wh: _with_crc(_png()[:16] + struct.pack(">II", *wh) + _png()[24:]))
    others = st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"BM" + b"\xff" * 60, b"GIF89a" + b"\xff" * 30, b"\xff\xd8\xff\xe0" + b"\xff" * 30]
    )
    return st.one_of(resized, others).map(_pngs)


def _with_crc(png: bytes) -> bytes:
    import zlib

    return png[:29] + struct.pack(">I", zlib.crc32(png[12:29])) + png[33:]


# --- reading ---


def _read_schema(schema: str, case: Path) -> None:
    """Every record, and what the next stage does with it."""
    path = case / "f.h5"
    store.describe(path)
    store.attributes(path, schema)
    for name, cls in SCHEMAS[schema].groups.items():
        if not name.endswith("/*"):
            found = store.read(path, schema, cls, name)
            if isinstance(found, Embeddings):
                every = np.arange(len(found.vector))
                with suppress(EmptyError):
                    rank(found, every, every, MatchConfig(exclude="nothing"))
            continue
        for track in store.read_all(path, schema, cls).values():
            if isinstance(track, Track3D):
                split_track(track, SplitConfig(normalize="none"))
            elif isinstance(track, Track2D):
                remap(track.xy, track.score, track.skeleton, H36M17, partial=True)
    store.relabel(_copied(path, case), schema, {"subject": "002"})


def _copied(path: Path, case: Path) -> Path:
    target = case / "work" / path.name
    target.parent.mkdir(exist_ok=True)
    return Path(shutil.copy(path, target))


def _read_gallery(case: Path) -> None:
    book = gallery.read(case / "f.h5")
    book.people, book.describe(0.05)


def _import_keypoints(name: str, case: Path) -> None:
    keypoints.bring_in(Work(case / "work"), ExtractConfig(), name, [case / "in"], Labeller(), QUIET, None)


def _import_sleap(case: Path) -> None:
    keypoints.bring_in(Work(case / "work"), ExtractConfig(), "sleap", [case / "f.h5"], Labeller(), QUIET, None)


def _import_skeletons(name: str, place: str, case: Path) -> None:
    importer.bring_in(Work(case / "work"), name, [case / place], QUIET)


def _read_video(case: Path) -> None:
    path = next(p for p in sorted(case.iterdir()) if p.stem == "v" or p.name != "other.avi")
    info, found = frames(path)
    last, size = -1.0, 0
    for frame in found:
        assert frame.time > last or frame.index == 0, f"time {frame.time} after {last}"
        assert np.isfinite(frame.time)
        assert frame.image.shape[:2] == (info.height, info.width), f"{frame.image.shape} after {info.height}, {info.width}"
        last, size = frame.time, size + 1
        if size >= 40:
            break
    found.close()  # type: ignore[attr-defined]


def _read_model(case: Path) -> None:
    from gaitreid.pipeline.train import load

    load(case / "m")


def _read_lifter(case: Path) -> None:
    from gaitreid.pose.lifters.tcn import Tcn

    Tcn(str(case / "l"))


def _read_library(case: Path) -> None:
    from gaitreid.pose.lifters import matching

    matching._load(case / "l")


def _read_index(case: Path) -> None:
    (case / "work").mkdir(exist_ok=True)
    (case / ".index.json").replace(case / "work/.index.json")
    Index(Work(case / "work"))
    (case / "work/.index.json").unlink()


def _schema_reader(schema: str) -> Reader:
    return Reader(
        lambda: [{"f.h5": _hdf5(schema)}],
        _read_gallery if schema == "gallery" else partial(_read_schema, schema),
        lambda: _drawn_hdf5(_hdf5(schema)),
        4,
    )


def _json_reader(name: str) -> Reader:
    return Reader(
        lambda: [_json_files(name, _json(name))],
        partial(_import_keypoints, name),
        lambda: _drawn_json(name),
        1 if name == "openpose" else 2,
    )


def _rows_reader(kind: str, joints: int) -> Reader:
    place = {"biwi": "in", "kgbd": "in", "ks20": "in"}[kind]
    seeds = lambda: [_skeleton_files(kind, _rows(kind, joints))]  # noqa: E731
    return Reader(seeds, partial(_import_skeletons, kind, place), lambda: _drawn_rows(kind, joints))


def _index_seed() -> list[Files]:
    return [
        {
            ".index.json": json.dumps(
                {
                    "format": 1,
                    "configs": ["{}"],
                    "files": {"pose2d/a.h5": [1, 2, "00", 0, {"tracks": 1}]},
                    "videos": {"v": [1, 2, "00"]},
                }
            ).encode()
        }
    ]


READERS: Mapping[str, Reader] = {
    **{
        schema: _schema_reader(schema)
        for schema in ("pose2d", "pose3d", "silhouettes", "sequences", "embeddings", "gallery", "ranking")
    },
    "sleap": Reader(lambda: [{"f.h5": _sleap()}], _import_sleap, lambda: _drawn_hdf5(_sleap()), 2),
    **{name: _json_reader(name) for name in ("openpose", "alphapose", "coco", "mmpose")},
    "biwi": _rows_reader("biwi", 20),
    "kgbd": _rows_reader("kgbd", 20),
    "ks20": _rows_reader("ks20", 25),
    "kinect": Reader(lambda: [_kinect()], partial(_import_skeletons, "kinect", "k.npz"), lambda: _drawn_arrays(_kinect()), 2),
    "motions": Reader(
        lambda: [_motions()], lambda case: motions.read(motions.find([case])), lambda: _drawn_arrays(_motions()), 2
    ),
    "official": Reader(
        lambda: [_official()], lambda case: official.bring_in(Work(case / "work"), [case / "in"], QUIET), _drawn_official, 4
    ),
    "png": Reader(
        lambda: [_pngs()], lambda case: silhouettes.bring_in(Work(case / "work"), [case / "in"], Labeller(), QUIET), _drawn_png
    ),
    "video": Reader(lambda: list(_videos()), _read_video, _drawn_video, 16),
    "model": Reader(lambda: [_model()], _read_model, _drawn_model, 1),
    "lifter": Reader(lambda: [_lifter()], _read_lifter, lambda: _drawn_tensors(_lifter()), 1),
    "library": Reader(lambda: [_library()], _read_library, lambda: _drawn_tensors(_library()), 4),
    "checkpoint": Reader(lambda: [_checkpoint()], lambda case: checkpoints._load(case / "checkpoint.pt"), None, 2),
    "config": Reader(lambda: [_config()], lambda case: load_config(case / "c.yaml"), _drawn_config, 8),
    "labels": Reader(lambda: [{"l.csv": LABEL_ROWS.encode()}], lambda case: Labeller(None, case / "l.csv"), _drawn_labels, 6),
    "index": Reader(_index_seed, _read_index, None, 3),
}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
