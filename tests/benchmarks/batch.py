"""Many clips in one go: throughput, what a second run costs, whether the files are the same, memory; and CASIA-B's size.

    batch.py [--clips 1000] [--parts scaling,second,dask,kills,stages,long] [--work DIR]

- scaling: rendered clips of 14 frames (a few, copied under other names with other bytes at their end) are extracted by 1 and by 2
  workers. `scaling` is the ratio of clips a second; `ceiling` that of crops a second which one and two independent processes of
  bare MediaPipe reach on this machine, before and after: two processors of one core are not worth two.
- second: the same command again, with everything up to date, as a share of the first run (2 workers); by the clock, and by
  seconds of processors, which say more on a machine that does other work, too.
- dask, kills: --repeated of the clips by a scheduler and two workers of Dask; and by runs that are killed at random moments,
  whole or one worker of them, until one ends. `identical` is whether all files of all runs have the same bytes.
- stages: 13,640 made-up tracks of 100 frames in CASIA-B's layout, imported: seconds and peak memory of split, one training epoch
  (on --share of the windows), encode and match, each a process of its own.
- long: a video of --hours at 5 frames a second with people in it, a cheap estimator: memory as it goes on.

Runs that are compared stand side by side in one table with the machine's load. Last line: one JSON object with the same figures.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from gaitreid.pipeline import extract as stage
from gaitreid.pipeline import plugins, store
from gaitreid.pipeline.config import load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.jobs import IN_PROCESS, each
from gaitreid.pipeline.labels import Labeller, Labels
from gaitreid.pipeline.limits import resident
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.estimate import Estimate
from gaitreid.pose.records import Track3D
from gaitreid.pose.render import scene
from gaitreid.pose.skeleton import BLAZEPOSE33, H36M17
from gaitreid.pose.video import Image
from gaitreid.pose.walker import BODY, walk, walker

PARTS = ("scaling", "second", "dask", "kills", "stages", "long")
RENDERED, FRAMES, FPS = 10, 14, 25.0
KILLED_RUNS = 3
SETTINGS = ("--set", "extract.min_seconds=0.1", "-q")
BARE_SECONDS, START = 8.0, 12.0  # that bare MediaPipe runs, and that its processes have to come up
CONDITIONS = [("nm", n) for n in range(1, 7)] + [("bg", 1), ("bg", 2), ("cl", 1), ("cl", 2)]
PEOPLE, VIEWS, LENGTH = 124, 11, 100


@dataclass
class Cost:
    """Of a run, in seconds: by the clock, and of processors."""

    seconds: float
    cpu: float


def main() -> None:
    """Run the parts that are asked for and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--single", type=int, help="clips that one worker does in the part scaling (default: all)")
    parser.add_argument("--repeated", type=int, default=100, help="clips of the parts dask and kills")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--tracks", type=int, default=PEOPLE * VIEWS * len(CONDITIONS), help="of the part stages")
    parser.add_argument("--share", type=float, default=1.0, help="of the windows, in the training epoch")
    parser.add_argument("--hours", type=float, default=2.0, help="length of the video of the part long")
    parser.add_argument("--work", type=Path, help="folder for everything (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown parts {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop(IN_PROCESS, None)
    with ExitStack() as stack:
        folder = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        result: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 2)}
        if {"scaling", "second", "dask", "kills"} & set(options.parts):
            result |= clips_at_once(folder, options)
        if "stages" in options.parts:
            result["stages"] = stages(folder / "casia", options.tracks, options.share)
        if "long" in options.parts:
            result["long"] = long(folder, options.hours)
        result["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(result))


def clips_at_once(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Scaling, the second run, Dask and kills."""
    videos = rendered(folder / "videos", options.clips)
    few = videos[: options.repeated]
    result: dict[str, Any] = {"clips": len(videos)}
    same = []
    print(f"{'run':28}{'clips':>7}{'seconds':>10}{'CPU s':>10}{'a second':>10}{'load':>7}", flush=True)
    before = ceiling(folder) if "scaling" in options.parts else 0.0
    two = timed("2 workers", folder / "two", videos, "--jobs", "2")
    files = contents(folder / "two")

    def of(some: Sequence[Path]) -> dict[str, str]:
        return {f"{video.stem}.h5": files[f"{video.stem}.h5"] for video in some}

    if "second" in options.parts:
        again = timed("2 workers, up to date", folder / "two", videos, "--jobs", "2")
        result |= {"first_seconds": round(two.seconds, 2), "second_seconds": round(again.seconds, 2)}
        result |= {
            "second_run_share": round(again.seconds / two.seconds, 5),
            "second_run_cpu_share": round(again.cpu / two.cpu, 5),
        }
        same.append(contents(folder / "two") == files)
    if "scaling" in options.parts:
        by_one = videos[: options.single]
        one = len(by_one) / timed("1 worker", folder / "one", by_one, "--jobs", "1").seconds
        same.append(contents(folder / "one") == of(by_one))
        rates, both = (before, ceiling(folder)), len(videos) / two.seconds
        result |= {"clips_a_second": {"1": round(one, 3), "2": round(both, 3)}, "by_one_worker": len(by_one)}
        result |= {"scaling": round(both / one, 3), "ceiling": [round(rate, 3) for rate in rates]}
        print(f"scaling {both / one:.2f} of 2; bare MediaPipe {rates[0]:.2f} before, {rates[1]:.2f} after")
    if "dask" in options.parts:
        with dask(folder) as address:
            timed("Dask, 2 workers", folder / "dask", few, "--scheduler", address)
        same.append(contents(folder / "dask") == of(few))
    if "kills" in options.parts:
        result["kills"] = killed(folder / "killed", few, random.Random(options.seed))
        same.append(contents(folder / "killed") == of(few))
    return {**result, "identical": all(same), "compared_runs": len(same)}


def rendered(folder: Path, count: int) -> list[Path]:
    """Clips of FRAMES frames of a few people; each file has other bytes at its end, which no decoder reads."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for subject in range(1, min(RENDERED, count) + 1):
        path = folder.parent / f"clip-{subject}.avi"
        images = pictures(subject)
        height, width = images[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (width, height))
        for image in images:
            writer.write(image)
        writer.release()
        made.append(path.read_bytes())
    videos = [folder / f"{n % RENDERED + 1:03d}-nm-{n // RENDERED + 1:03d}-090.avi" for n in range(count)]
    for n, video in enumerate(videos):
        video.write_bytes(made[n % len(made)] + n.to_bytes(4))
    return videos


def pictures(subject: int) -> list[Image]:
    """Of somebody who comes towards the camera, cut to them."""
    frames = list(scene([walker(0, subject)], "nm", 0, 2 * FRAMES / FPS, (0, subject, 0, 1)))[FRAMES:]
    xy = np.concatenate([frame.people[0].xy for frame in frames])
    (x1, y1), (x2, y2) = (xy.min(axis=0) - 25).astype(int).clip(0), (xy.max(axis=0) + 25).astype(int)
    return [np.asarray(cv2.resize(frame.image[y1:y2, x1:x2], (136, 240)), dtype=np.uint8) for frame in frames]


def command(work: Path, videos: Sequence[Path], *options: str) -> list[str]:
    """Extraction of these videos, as a user calls it."""
    return [sys.executable, "-m", "gaitreid.cli", "extract", *map(str, videos), "--work", str(work), *SETTINGS, *options]


def timed(what: str, work: Path, videos: Sequence[Path], *options: str) -> Cost:
    """An extraction, from the start of its process to its end, workers included."""
    began = time.perf_counter()
    usage = ended(subprocess.Popen(command(work, videos, *options)))
    cost = Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)
    rate, load = len(videos) / cost.seconds, os.getloadavg()[0]
    print(f"{what:28}{len(videos):7}{cost.seconds:10.1f}{cost.cpu:10.1f}{rate:10.2f}{load:7.1f}", flush=True)
    return cost


def ended(process: subprocess.Popen[bytes]) -> resource.struct_rusage:
    """What a process, and those that it waited for, took; it must end well."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}")
    return usage


def contents(work: Path) -> dict[str, str]:
    """What came out, by the hash of its bytes; nothing else may lie there."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (work / "pose2d").iterdir()}


def ceiling(folder: Path) -> float:
    """How many times as many crops two processes of bare MediaPipe pose as one does."""
    crops = folder / "crops.npy"
    np.save(crops, np.stack([cv2.resize(image, (384, 384)) for image in pictures(1)]))
    alone = sum(each(bare, [(crops, time.time() + START)] * 1, 2))
    return sum(each(bare, [(crops, time.time() + START)] * 2, 2)) / alone


def bare(task: tuple[Path, float]) -> int:
    """In a worker: crops posed in BARE_SECONDS from an agreed moment on."""
    from gaitreid.pose.backends.mediapipe import MediaPipe

    crops, start = task
    images, estimator = np.load(crops), MediaPipe()
    estimator(images[0])
    time.sleep(max(0.0, start - time.time()))
    end = time.time() + BARE_SECONDS
    for count in itertools.count():
        if time.time() > end:
            return count
        estimator(images[count % len(images)])
    raise AssertionError


@contextmanager
def dask(folder: Path) -> Iterator[str]:
    """A scheduler and two workers on this machine; the address."""
    said = folder / "scheduler.json"
    common = ("--scheduler-file", str(said), "--no-dashboard", "--host", "127.0.0.1")
    with ExitStack() as stack:
        log = stack.enter_context((folder / "dask.log").open("w"))
        for part in (("scheduler", "--port", "0"), *[("worker", "--nthreads", "1")] * 2):
            place = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(folder)}
            process = subprocess.Popen([sys.executable, "-m", "dask", *part, *common], stdout=log, stderr=log, env=place)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            while not said.exists():
                time.sleep(0.05)
        address = str(json.loads(said.read_text())["address"])
        from distributed import Client

        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address


def killed(work: Path, videos: Sequence[Path], rng: random.Random) -> dict[str, int]:
    """Extract; in each of a few runs kill a worker at a random moment, and the run itself at a later one; then let one end."""
    count = {"workers": 0, "runs": 0}
    step = max(1, len(videos) // (2 * KILLED_RUNS + 2))
    for _ in range(KILLED_RUNS):
        with subprocess.Popen(command(work, videos, "--jobs", "2"), start_new_session=True) as process:
            for target in count:
                enough = len(list(work.glob("pose2d/*.h5"))) + rng.randint(1, step)
                while process.poll() is None and len(list(work.glob("pose2d/*.h5"))) < enough:
                    time.sleep(0.02)
                time.sleep(rng.uniform(0, 0.5))
                if process.poll() is None:
                    os.kill(rng.choice(children(process.pid)) if target == "workers" else process.pid, signal.SIGKILL)
                    count[target] += 1
    timed(f"after {sum(count.values())} kills, the rest", work, videos, "--jobs", "2")
    return count


def children(pid: int) -> list[int]:
    """Worker processes of a run: the spawned ones."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    of_threads = [c for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    spawned = {int(c) for c in (*found, *of_threads) if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()}
    return sorted(spawned) or [pid]


def stages(folder: Path, tracks: int, share: float) -> dict[str, dict[str, float]]:
    """Seconds and peak megabytes of the later stages on made-up tracks."""
    began = time.perf_counter()
    made_up(Work(folder), tracks)
    print(f"{tracks} tracks of {LENGTH} frames made in {time.perf_counter() - began:.0f} s")
    training = ("--epochs", "1", "--set", f"train.share={share}")
    commands = {
        "split": ("split",),
        "train": ("train", *training),
        "encode": ("encode", "--name", "cage", *training[2:]),
        "match": ("match", "--name", "cage", "--probe", "nm", "--gallery", "cl", *training[2:]),
        "match_up_to_date": ("match", "--name", "cage", "--probe", "nm", "--gallery", "cl", *training[2:]),
        "status": ("status",),
    }
    result = {}
    print(f"{'stage':20}{'seconds':>10}{'CPU s':>10}{'peak MB':>10}{'load':>7}", flush=True)
    for name, arguments in commands.items():
        began = time.perf_counter()
        call = [sys.executable, "-m", "gaitreid.cli", *arguments, "--work", str(folder), "--device", "cpu", "-q"]
        usage = ended(subprocess.Popen(call, stdout=subprocess.DEVNULL))
        seconds, cpu, peak = time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        result[name] = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_rss_mb": round(peak)}
        print(f"{name:20}{seconds:10.1f}{cpu:10.1f}{peak:10.0f}{os.getloadavg()[0]:7.1f}", flush=True)
    result["train"]["share"] = share
    return result


def made_up(work: Work, tracks: int) -> None:
    """Tracks in 3D in CASIA-B's layout: people of their own gait, seen from 11 sides, with noise; as if imported."""
    rng = np.random.default_rng(0)
    walks = itertools.product(range(1, PEOPLE + 1), CONDITIONS, range(VIEWS))
    joints = [BODY.index(joint) for joint in H36M17.joints]
    time_ = np.arange(LENGTH) / FPS
    last: tuple[int, tuple[str, int]] | None = None
    body: FloatArray = np.empty(0)
    with patch("os.fsync"):  # made up anew at no cost but time
        for person, (condition, number), view in itertools.islice(walks, tracks):
            if (person, (condition, number)) != last:
                last = person, (condition, number)
                body = walk(walker(0, person), time_, np.random.default_rng((person, number)), condition)[0][:, joints]
            turn = np.deg2rad(18.0 * view)
            turned = (body - body[:, :1]) @ np.array(
                [[np.cos(turn), 0, np.sin(turn)], [0, -1, 0], [np.sin(turn), 0, -np.cos(turn)]]
            )
            labels = Labels(f"{person:03d}", condition, f"{number:02d}", f"{18 * view:03d}")
            track = Track3D(
                frame=np.arange(LENGTH),
                time=time_,
                xyz=(turned + 0.01 * rng.standard_normal(turned.shape)).astype(np.float32),
                score=np.ones((LENGTH, len(joints)), np.float32),
                skeleton=H36M17,
                lifter="made up",
            )
            attributes = {**labels.as_dict(), "imported": "made up", "config": "{}", "made_from": ""}
            stem = "-".join(labels.as_dict()[name] for name in ("subject", "condition", "number", "view"))
            store.write(work.pose3d(stem), "pose3d", {"/tracks/000001": track}, attributes)


class Bars:
    """A cheap estimator: the bright bar nearest to the middle of the crop is a person."""

    skeleton = BLAZEPOSE33

    def __init__(self, *, masks: bool = False) -> None:
        """Nothing to make."""

    def __call__(self, image: Image) -> Estimate | None:
        """The person in a crop."""
        small = (image[::4, ::4, 1] > 220).astype(np.uint8)
        count, _, stats, centres = cv2.connectedComponentsWithStats(small)
        big = [i for i in range(1, count) if stats[i, 4] > 20]
        if not big:
            return None
        x, y, w, h = 4 * stats[min(big, key=lambda k: abs(centres[k, 0] - small.shape[1] / 2)), :4]
        xy = np.stack([x + w * (np.arange(33) % 2), y + h * np.linspace(0, 1, 33)], axis=1).astype(np.float32)
        return Estimate(xy, np.ones(33, np.float32), np.zeros((33, 3), np.float32), None)

    def reset(self) -> None:
        """Nothing is remembered."""


def long(folder: Path, hours: float) -> dict[str, Any]:
    """Megabytes of this process at tenths of a long video with one person who stays and others who walk by."""
    video = streets(folder / "long.avi", hours)
    plugins.BUILT_IN["pose"]["bars"] = f"{__name__}:Bars"
    os.environ[IN_PROCESS] = "1"
    config = load(None, ["extract.pose=bars", "extract.detector=motion", "extract.max_missing=0.5"])
    seen: list[tuple[float, float]] = []

    def beat(seconds: float = 0.0) -> None:
        if seconds and (not seen or seconds - seen[-1][0] > 36 * hours):
            seen.append((seconds, resident(os.getpid()) / 1e6))

    began, work = time.perf_counter(), Work(folder / "long")
    with Peak() as peak, patch.object(stage, "beat", beat):
        stage.extract(work, config.extract, [video], Labeller(None, None), Console(-1), limits=config.limits)
    seconds = time.perf_counter() - began
    facts = store.attributes(work.pose2d("long"), "pose2d")
    tenths = [min(seen, key=lambda row: abs(row[0] - share * 360 * hours)) for share in range(1, 11)]
    print(f"{hours:g} h of video, {facts['frames_read']} frames, {facts['tracks']} tracks, {seconds:.0f} s")
    print("hours " + "".join(f"{at / 3600:8.1f}" for at, _ in tenths))
    print("MB    " + "".join(f"{held:8.0f}" for _, held in tenths) + f"   peak {peak.megabytes:.0f}")
    return {
        "hours": hours,
        "frames": int(facts["frames_read"]),
        "tracks": int(facts["tracks"]),
        "seconds": round(seconds, 1),
        "rss_mb": [round(held) for _, held in tenths],
        "peak_mb": round(peak.megabytes),
        "file_mb": round(work.pose2d("long").stat().st_size / 1e6, 1),
    }


def streets(path: Path, hours: float, fps: float = 5.0) -> Path:
    """Bars before a grey wall: one sways on its place from the third second on, and now and then others pass."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wall = np.random.default_rng(0).integers(90, 130, (96, 200, 3), dtype=np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (200, 96))
    for n in range(round(hours * 3600 * fps)):
        image = wall.copy()
        places = [30 + 8 * np.sin(n / 7)] if n > 3 * fps else []
        if 0 <= n % 150 < 48:
            places.append(195 - 2.5 * (n % 150))
        for x in places:
            cv2.rectangle(image, (int(x) - 6, 20), (int(x) + 6, 80), (250, 250, 250), -1)
        writer.write(image)
    writer.release()
    return path


class Peak:
    """The most memory that this process holds during a block."""

    def __enter__(self) -> "Peak":
        self.megabytes, self._ended = 0.0, threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            self.megabytes = max(self.megabytes, resident(os.getpid()) / 1e6)


if __name__ == "__main__":
    main()
