"""Every command killed with SIGKILL at random moments and started again: the files in the end, against those of a quiet run.

    kills.py [--kills 200] [--cold 0.1] [--seed 0] [--work DIR] [--stage NAME ...]

A small project is made once without disturbance: two rendered videos, keypoints of another tool, and from them everything up to
rankings, names and a gallery. Then each command runs again from where it began, in a process of its own, which is killed: half of
the times at a moment drawn from how long the command takes, half of the times right after it has begun or ended writing a file;
now the whole process group, now the main process alone. After three kills at most it is let go to its end; the work folder must
then hold the same files with the same bytes, and no others. A share of the processes (`--cold`) is started as `python -m
gaitreid.cli`; the others are forked from one that has imported everything, and then run the same command: the seconds in which
only modules are loaded are not worth killing. Last, two runs start at once in one folder: one must end with code 2 and say who
writes there. Last line: one JSON object; exit code 1 where files differ.
"""

import argparse
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gaitreid
from gaitreid import cli
from gaitreid.pipeline.files import left_over

MOST = 3  # kills of one run
SMALL = ["--set", "train.epochs=4", "--set", "cage.hidden=16", "--set", "train.batch=16", "--seed", "3"]
POLL = 0.002  # seconds


@dataclass(frozen=True)
class Stage:
    """One command; those of the same `state` begin with what the ones before them have left."""

    name: str
    command: tuple[str, ...]
    share: int = 2


STAGES = (
    Stage("import", ("import", "openpose", "json", "--fps", "25"), 4),
    Stage("extract-1", ("extract", "videos", "--jobs", "1"), 3),
    Stage("extract-2", ("extract", "videos", "--jobs", "2", "--overwrite"), 3),
    Stage("lift", ("lift", "--jobs", "1"), 3),
    Stage("split", ("split",), 3),
    Stage("train", ("train", *SMALL), 3),
    Stage("encode", ("encode", "--name", "cage", *SMALL), 2),
    Stage("match", ("match", "--name", "cage", "--probe", "condition=nm", "--gallery", "condition=cl", *SMALL), 2),
    Stage("recognise", ("recognise", "--name", "cage", "--train", "number=01", "--test", "number=02", *SMALL), 2),
    Stage("gallery", ("gallery", "add", "Ann", "videos/001-nm-01-090.avi", "--jobs", "1"), 2),
)


@dataclass
class Tally:
    """Of one stage.

    Attributes:
        seconds: that the command takes undisturbed, forked and cold.
        cold: kills of processes that were started anew.
        writing: kills at which a file was half written.
    """

    seconds: tuple[float, float] = (0.0, 0.0)
    runs: int = 0
    kills: int = 0
    cold: int = 0
    writing: int = 0
    different: int = 0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cold", type=float, default=0.1, help="share of processes that are started anew")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--stage", action="append", choices=[stage.name for stage in STAGES], help="kill only these")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        root = (options.work or Path(temporary)).resolve()
        chosen = [stage for stage in STAGES if stage.name in (options.stage or [s.name for s in STAGES])]
        found, problems = kills(root, options.kills, options.cold, options.seed, chosen)
        at_once = two_at_once(root)
    print(f"{'stage':12}{'seconds':>9}{'runs':>6}{'kills':>7}{'cold':>6}{'writing':>9}{'different':>11}")
    for name, tally in found.items():
        print(f"{name:12}{tally.seconds[0]:9.1f}{tally.runs:6}{tally.kills:7}{tally.cold:6}{tally.writing:9}{tally.different:11}")
    for problem in [*problems, *([] if at_once == "refused" else [f"two at once: {at_once}"])]:
        print(problem)
    total = sum(tally.kills for tally in found.values())
    different = sum(tally.different for tally in found.values())
    rows = {name: vars(tally) for name, tally in found.items()}
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"kills": total, "different": different, "two_at_once": at_once, "seconds": seconds, "stages": rows}))
    sys.exit(1 if problems or at_once != "refused" else 0)


def kills(root: Path, count: int, cold: float, seed: int, chosen: list[Stage]) -> tuple[dict[str, Tally], list[str]]:
    """So many kills over the stages, by their shares; what differed, in words."""
    rng = random.Random(seed)
    found = {stage.name: Tally() for stage in chosen}
    _project(root)
    _import_everything()
    for stage in STAGES:
        shutil.copytree(root / "work", root / f"before-{stage.name}")
        began = time.monotonic()
        _run(root, stage.command)
        taken = time.monotonic() - began
        shutil.copytree(root / "work", root / f"after-{stage.name}")
        if stage.name in found:
            _put(root / f"before-{stage.name}", root / "work")
            began = time.monotonic()
            _finish(_forked(root, stage.command), stage)
            found[stage.name].seconds = (time.monotonic() - began, taken)
            if other := _differences(root / f"after-{stage.name}", root / "work"):
                raise RuntimeError(f"{stage.name} gives other files each time: {sorted(other)}")
    shares = sum(stage.share for stage in chosen)
    problems = []
    for stage in chosen:
        tally = found[stage.name]
        while tally.kills < count * stage.share / shares:
            _put(root / f"before-{stage.name}", root / "work")
            _disturbed(root, stage, tally, cold, rng)
            tally.runs += 1
            differing = sorted(_differences(root / f"after-{stage.name}", root / "work"))
            if differing:
                tally.different += 1
                problems.append(f"{stage.name}, run {tally.runs}: {', '.join(differing[:5])}")
        print(f"{stage.name}: {tally.kills} kills in {tally.runs} runs, {tally.different} different", flush=True)
    return found, problems


def two_at_once(root: Path) -> str:
    """`refused` where one of two runs did the work and the other was told who does it; else what happened."""
    _put(root / "before-extract-2", root / "work")
    command = [sys.executable, "-m", "gaitreid.cli", *STAGES[2].command]
    pair = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in pair]
    codes = [process.returncode for process in pair]
    if sorted(codes) != [0, 2]:
        return f"ended with {codes}: {said[0][1][-200:]} {said[1][1][-200:]}"
    winner, loser = codes.index(0), codes.index(2)
    if f"process {pair[winner].pid}" not in said[loser][1]:
        return f"was not told who writes: {said[loser][1]}"
    differing = _differences(root / "after-extract-2", root / "work")
    return f"left other files: {differing}" if differing else "refused"


def _disturbed(root: Path, stage: Stage, tally: Tally, cold: float, rng: random.Random) -> None:
    """Start, kill, start again, and let go to the end."""
    for _ in range(MOST):
        before = _state(root / "work")
        anew = rng.random() < cold
        on_write, moment = rng.random() < 0.5, rng.uniform(0, tally.seconds[anew])
        events, alone = rng.randrange(1, 8), rng.random() < 0.5
        pid = (_started if anew else _forked)(root, stage.command)
        began = time.monotonic()
        while (code := _ended(pid)) is None and time.monotonic() - began < (3 * tally.seconds[1] if on_write else moment):
            if on_write and (now := _state(root / "work")) != before:
                before, events = now, events - 1
                if not events:
                    break
            time.sleep(POLL)
        if code is not None:
            _check(code, stage)
            return  # it was faster
        (os.kill if alone else os.killpg)(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        tally.kills += 1
        tally.cold += anew
        tally.writing += any(".tmp" in name for name in _state(root / "work"))
        _wait_for_orphans(pid)
    _finish(_forked(root, stage.command), stage)


def _started(root: Path, arguments: tuple[str, ...]) -> int:
    """The command in a fresh interpreter, leader of a process group."""
    command = [sys.executable, "-m", "gaitreid.cli", *arguments]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=root, stdout=null, stderr=null, start_new_session=True).pid


def _forked(root: Path, arguments: tuple[str, ...]) -> int:
    """The command in a process that has everything imported already, leader of a process group."""
    pid = os.fork()
    if pid:
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)
        return pid
    code = 1
    with suppress(PermissionError):  # the parent was faster
        os.setsid()
    try:
        os.chdir(root)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        sys.argv = ["gaitreid", *arguments]
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(code)


def _ended(pid: int) -> int | None:
    """Its exit code; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _finish(pid: int, stage: Stage) -> None:
    _check(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), stage)


def _check(code: int, stage: Stage) -> None:
    if code:
        raise RuntimeError(f"{stage.name} ended with {code}")


def _import_everything() -> None:
    """What the commands import as they go."""
    for module in pkgutil.walk_packages(gaitreid.__path__, "gaitreid."):
        if not module.name.startswith("gaitreid.tests") and not module.name.endswith(("rtmlib", "mmpose", "cluster")):
            importlib.import_module(module.name)
    for name in ("mediapipe", "jinja2", "scipy.stats", "scipy.optimize", "safetensors.torch", "torch.optim", "torch._dynamo"):
        importlib.import_module(name)


def _wait_for_orphans(group: int) -> None:
    """Workers end by themselves when the main process is gone."""
    end = time.monotonic() + 60
    while any(_of_group(place, group) for place in Path("/proc").glob("[0-9]*/stat")):
        if time.monotonic() > end:
            raise RuntimeError(f"workers of the process {group} are still there a minute after it was killed")
        time.sleep(0.05)


def _of_group(place: Path, group: int) -> bool:
    """Whether a process, by its file in /proc, is of a group and alive."""
    try:
        state, _, leader = place.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(leader) == group and state != "Z"


def _run(root: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "gaitreid.cli", *arguments]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: code {result.returncode}\n{result.stdout[-2000:]}{result.stderr[-2000:]}")


def _state(work: Path) -> dict[str, tuple[int, int]]:
    """Every file by name, with its size and time of change."""
    found = {}
    for path in _files(work):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        found[str(path.relative_to(work))] = (facts.st_size, facts.st_mtime_ns)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names if name != ".lock" and Path(root).name != "logs")


def _differences(expected: Path, found: Path) -> set[str]:
    """Files that one has and the other has not, and those whose bytes differ. What only saves time may differ."""
    theirs, ours = (
        {str(p.relative_to(f)): p for p in _files(f) if ".tmp" in p.name or not p.name.startswith(".")} for f in (expected, found)
    )
    missing = {f"{name} is {'missing' if name in theirs else 'too many'}" for name in theirs.keys() ^ ours.keys()}
    changed = {name for name in theirs.keys() & ours.keys() if theirs[name].read_bytes() != ours[name].read_bytes()}
    return missing | changed | {f"{path.name} is left over" for path in left_over(found)}


def _put(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)  # with the times of change: they say what is up to date


def _project(root: Path) -> None:
    """Two rendered videos, and keypoints of twelve walks by three people."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "work").mkdir()
    walkers = ("--subjects", "2", "--views", "90", "--conditions", "nm", "--numbers", "1", "--seconds", "1.4", "--jobs", "1")
    _run(root, ("synth", "videos", *walkers))
    for subject in range(1, 4):
        for condition in ("nm", "cl"):
            for number in (1, 2):
                _keypoints(root / "json", f"{subject + 10:03d}-{condition}-{number:02d}-090", subject, number)


def _keypoints(folder: Path, name: str, subject: int, number: int) -> None:
    """A walk as OpenPose has it, of a walker made for this subject."""
    from gaitreid.pose.lifters.motions import WALK18, Camera, from_walker, see
    from gaitreid.pose.skeleton import BODY25, remap

    motion = from_walker(0, subject, 2.4)
    xy, _ = see(motion.xyz[number * 4 :], Camera(heading=np.pi / 2))
    xy, score = remap(600 * xy + [320, 240], np.ones(xy.shape[:2], np.float32), WALK18, BODY25, partial=True)
    seen = np.concatenate([np.where(np.isnan(xy), 0, xy), np.where(np.isnan(xy[..., :1]), 0, score[..., None])], axis=-1)
    folder.mkdir(exist_ok=True)
    for k, row in enumerate(seen):
        people: list[dict[str, Any]] = [{"person_id": [-1], "pose_keypoints_2d": row.ravel().round(3).tolist()}]
        (folder / f"{name}_{k:012d}_keypoints.json").write_text(json.dumps({"people": people}), encoding="utf-8")


if __name__ == "__main__":
    main()
