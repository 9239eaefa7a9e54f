"""Whether everything is here that gaitreid needs, which weights are, and what mends what is not; weights fetched when asked."""

import ctypes
import hashlib
import http.client
import os
import re
import shlex
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.version import Version

from gaitreid import __version__
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import left_over, replacing
from gaitreid.pipeline.jobs import cores
from gaitreid.pipeline.lock import holders
from gaitreid.pose import weights
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.weights import Weight

Level = Literal["fine", "warning", "problem"]

# The latest versions of what matters most with which all tests were run (those of requirements.lock): later ones may well work.
TRIED = {
    "faiss-cpu": "1.15",
    "h5py": "3.16",
    "mediapipe": "0.10",
    "mmcv-lite": "2.1",
    "mmdet": "3.3",
    "mmengine": "0.10",
    "mmpose": "1.3",
    "numpy": "2.4",
    "opencv-python": "4.14",
    "scikit-learn": "1.9",
    "scipy": "1.17",
    "torch": "2.15",
    "torchvision": "0.29",
}
# Extras that are not had by installing their packages: with what rtmlib asks for, a second OpenCV would come over the first.
OPTIONAL = {"rtmlib": "pip install --no-deps rtmlib onnxruntime"}
DEFAULT_CHAIN = ("mediapipe-detection", "mediapipe-landmarks", "shipped-encoder", "shipped-cohort")
TIGHT, FULL = 2 * 2**30, 100 * 2**20  # bytes left on the disk that are worth a warning, and too few to work
TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: python, packages, optional, device, video, work or weights.
        what: what was found.
        level: a problem keeps the default chain from running, a warning does not.
        remedy: the command or step that mends it; empty where all is fine.
    """

    topic: str
    what: str
    level: Level = "fine"
    remedy: str = ""


@dataclass(frozen=True)
class Presence:
    """Weights, and whether this machine has them: present, absent or damaged (their hash is wrong)."""

    weight: Weight
    path: Path | None
    state: Literal["present", "absent", "damaged"]


@dataclass(frozen=True)
class Examination:
    """All that was looked at."""

    findings: tuple[Finding, ...]
    weights: tuple[Presence, ...]

    @property
    def healthy(self) -> bool:
        """Whether the default chain can run."""
        return all(finding.level != "problem" for finding in self.findings)


def examine(work: Path, device: str = "auto") -> Examination:
    """Look at everything.

    Args:
        work: the work folder; it need not be there yet.
        device: the one that is to be used: auto, cpu, cuda or cuda:N.
    """
    present = tuple(_presence(weight) for weight in weights.KNOWN.values())
    parts = (_python(), _packages(), _device(device), _video(), _work(work), _weights(present))
    return Examination(tuple(dict.fromkeys(finding for part in parts for finding in part)), present)


def download(name: str, console: Console) -> Path:
    """Fetch weights into their folder, unless they are here.

    Raises:
        UsageError: there are none of this name, or they cannot be downloaded: a package carries them, or their hash is unknown.
        EmptyError: the publisher cannot be reached.
        FormatError: what came, or what is here, is not what it must be; nothing of it is kept.
    """
    weight = weights.weight(name)
    path = weights.locate(weight)
    if path:
        weights.verify(weight, path)
        console.say(f"doctor: {name} is here: {path}")
        return path
    if weight.embedded or weight.hash_kind == "unknown":
        raise UsageError(f"weights '{name}' cannot be downloaded: {weights.remedy(weight)}")
    folder = weights.folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _fetch(weight, folder / weight.file, console)
    console.say(f"doctor: {name} from {weight.source}: {folder / weight.file} [{weight.licence}; trained on {weight.data}]")
    return folder / weight.file


def show(found: Examination, console: Console) -> None:
    """Print it for people; warnings and problems go to stderr."""
    for topic in dict.fromkeys(finding.topic for finding in found.findings):
        lines = [finding.what for finding in found.findings if finding.topic == topic and finding.level == "fine"]
        if lines:
            console.say(f"{topic:9} " + ", ".join(lines))
    for presence in found.weights:
        _show_weight(presence, console)
    console.say("  (`gaitreid doctor --download NAME` fetches one; -v says where each comes from)")
    for finding in found.findings:
        if finding.level != "fine":
            console.error(f"{finding.level}: {finding.topic}: {finding.what}: {finding.remedy}")
    console.say("doctor: the default chain can run" if found.healthy else "doctor: the default chain cannot run")


def as_json(found: Examination) -> dict[str, Any]:
    """The same for programs."""
    present = [
        {**asdict(p.weight), "hash": p.weight.hash_kind, "path": str(p.path) if p.path else None, "state": p.state}
        for p in found.weights
    ]
    findings = [asdict(finding) for finding in found.findings]
    return {"healthy": found.healthy, "version": __version__, "findings": findings, "weights": present}


def _show_weight(presence: Presence, console: Console) -> None:
    weight = presence.weight
    size = f"{weight.size:.1f} MiB, " if weight.size else ""
    digits = {"whole": weight.sha256, "prefix": f"{weight.sha256}... (no more is published)", "unknown": "not published"}
    console.say(f"  {presence.state:8} {weight.name}: {size}{weight.licence}, trained on {weight.data}")
    more = console.detail if presence.state == "absent" else console.say
    more(f"           for {weight.use}, from {weight.source}, SHA-256 {digits[weight.hash_kind]}")
    if presence.path:
        console.say(f"           {presence.path}")


def _python() -> Iterator[Finding]:
    wanted = str(metadata.metadata("gaitreid")["Requires-Python"])
    found = ".".join(map(str, sys.version_info[:3]))
    if Requirement(f"python{wanted}").specifier.contains(found):
        yield Finding("python", found)
    else:
        yield Finding("python", f"{found}, wanted {wanted}", "problem", "make clean; make install PYTHON=python3.12")


def _packages() -> Iterator[Finding]:
    """Every package that gaitreid asks for, against what it asks for and against what was tried."""
    missing = []
    for requirement in map(Requirement, metadata.requires("gaitreid") or ()):
        version, extra = _version(requirement.name), re.search(r"extra == ['\"]([\w-]+)", str(requirement.marker or ""))
        plain = f"{requirement.name}{requirement.specifier}"
        remedy = f"pip install --no-deps '{plain}'"
        topic = "optional" if extra else "packages"
        if version is None and extra:
            # Not 'gaitreid[EXTRA]': pip would resolve all of gaitreid, whose numpy>=2 and mediapipe's numpy<2 exclude each other.
            how = OPTIONAL.get(extra[1], f"pip install '{plain}'")
            missing.append(f"{requirement.name} ({how})")
        elif version is None:
            yield Finding(topic, f"{requirement.name} is not installed", "problem", remedy)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding(topic, f"{requirement.name} {version}, wanted {requirement.specifier}", "warning", remedy)
        elif _later(version, TRIED.get(requirement.name)):
            tried = TRIED[requirement.name]
            remedy = f"if something fails, pip install --no-deps '{requirement.name}=={tried}.*'"
            yield Finding(
                topic, f"{requirement.name} {version} is later than {tried}, the last that was tried", "warning", remedy
            )
        else:
            yield Finding(topic, f"{requirement.name} {version}")
    if missing:
        yield Finding("optional", f"not installed: {', '.join(dict.fromkeys(missing))}")


def _version(package: str) -> str | None:
    twins = ("opencv-python-headless", "opencv-contrib-python") if package == "opencv-python" else ()
    for name in (package, *twins):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _later(version: str, tried: str | None) -> bool:
    return tried is not None and Version(version).release[:2] > Version(tried).release


def _device(asked: str) -> Iterator[Finding]:
    driver = asked != "cpu" and _has_driver()
    try:
        found = _gpus() if driver else []
    except (ImportError, OSError) as error:
        yield Finding(
            "device", f"torch cannot be imported ({error})", "problem", "pip install --force-reinstall torch torchvision"
        )
        return
    if driver and not found:
        what = "a CUDA driver is here, but torch finds no device that it can use"
        yield Finding(
            "device", what, "warning", "run nvidia-smi; if it lists a GPU, install a torch that was built for its driver"
        )
    yield Finding(
        "device", ", ".join([*(found or ["no GPU is used" if asked == "cpu" else "no CUDA device"]), f"{cores()} cores"])
    )
    if asked.startswith("cuda") and int(asked.partition(":")[2] or 0) >= len(found):
        yield Finding("device", f"there is no CUDA device for --device {asked}", "problem", "--device cpu")


def _gpus() -> list[str]:
    import torch  # takes seconds, which only machines with a driver need to wait

    facts = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return [f"cuda:{n} {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for n, gpu in enumerate(facts)]


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _video() -> Iterator[Finding]:
    """Whether OpenCV writes and reads what `synth`, `identify --overlay` and users need."""
    try:
        import cv2
    except ImportError as error:
        remedy = "apt-get install libgl1, or pip install --no-deps opencv-python-headless"
        yield Finding("video", f"OpenCV cannot be imported ({error})", "problem", remedy)
        return
    good = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in ((".avi", "MJPG"), (".mp4", "mp4v")):
            if _survives(cv2, Path(folder) / f"clip{suffix}", codec):
                good.append(f"{suffix} ({codec})")
            else:
                remedy = "pip install --no-deps --force-reinstall opencv-python"
                what = f"OpenCV {cv2.__version__} does not write and read {suffix} ({codec})"
                yield Finding("video", what, "problem" if suffix == ".avi" else "warning", remedy)
    if good:
        yield Finding("video", f"OpenCV {cv2.__version__} writes and reads {', '.join(good)}")


def _survives(cv2: Any, path: Path, codec: str) -> bool:
    """Whether a short clip comes back as it was written: its size, its length, its brightness frame by frame."""
    import numpy as np

    levels = range(40, 240, 20)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, (64, 48))
    for level in levels:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    reader = cv2.VideoCapture(str(path))
    frames = [image for ok, image in (reader.read() for _ in range(len(levels) + 1)) if ok]
    reader.release()
    same = [f.shape == (48, 64, 3) and abs(float(f.mean()) - level) < 8 for f, level in zip(frames, levels, strict=False)]
    return len(frames) == len(levels) and all(same)


def _work(work: Path) -> Iterator[Finding]:
    place = next(folder for folder in (work.absolute(), *work.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        yield Finding("work", f"{work} cannot be written: {error.strerror}", "problem", "--work DIR, or GAITREID_WORK")
        return
    what = f"{work} can be written, {free / 2**30:.1f} GiB free"
    if free < TIGHT:
        yield Finding("work", what, "problem" if free < FULL else "warning", f"make room on the disk of {place}, or --work DIR")
    else:
        yield Finding("work", what)
    yield from _inside(work)


def _inside(work: Path) -> Iterator[Finding]:
    """What runs have left in a work folder: folders that cannot be written, unfinished files, a run that goes on."""
    for folder in sorted(path for path in work.glob("*") if path.is_dir()):
        if not os.access(folder, os.W_OK | os.X_OK):
            yield Finding("work", f"{folder} cannot be written", "problem", f"chmod -R u+rwX {shlex.quote(str(folder))}")
    for holder in holders(work):
        yield Finding("work", f"{holder} is writing there")
    if left := left_over(work) if work.is_dir() else []:
        size = sum(path.stat().st_size for path in left) / 2**20
        what = f"{len(left)} unfinished files of runs that were killed, {size:.1f} MiB, such as {left[0]}"
        yield Finding(
            "work", what, "warning", f"any run that writes there removes them: gaitreid lift --work {shlex.quote(str(work))}"
        )


def _presence(weight: Weight) -> Presence:
    path = weights.locate(weight)
    if path is None:
        return Presence(weight, None, "absent")
    try:
        weights.verify(weight, path)
    except (FormatError, OSError):
        return Presence(weight, path, "damaged")
    return Presence(weight, path, "present")


def _weights(present: tuple[Presence, ...]) -> Iterator[Finding]:
    yield Finding("weights", f"looked for in {weights.folder()} and in the caches of torch hub and rtmlib")
    for presence in present:
        weight, needed = presence.weight, presence.weight.name in DEFAULT_CHAIN
        if presence.state == "damaged":
            what = f"{presence.path} is not what it must be: its SHA-256 does not begin with {weight.sha256[:8]}"
            yield Finding("weights", what, "problem" if needed else "warning", f"delete it and {weights.remedy(weight)}")
        elif presence.state == "absent" and needed:
            yield Finding("weights", f"{weight.name} is missing", "problem", weights.remedy(weight))


def _fetch(weight: Weight, target: Path, console: Console) -> None:
    request = urllib.request.Request(weight.source, headers={"User-Agent": f"gaitreid/{__version__}"})
    digest, done = hashlib.sha256(), 0
    with replacing(target, private=False) as temporary:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, temporary.open("wb") as file:
                size = int(answer.headers.get("Content-Length") or 0)
                with console.progress(f"download {weight.name}", size / 2**20, "MiB") as progress:
                    while chunk := answer.read(2**20):
                        file.write(chunk)
                        digest.update(chunk)
                        done += len(chunk)
                        progress(done / 2**20)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the connection
            raise EmptyError(
                f"{weight.source}: cannot be downloaded: {error}; or put {target.name} into {target.parent}"
            ) from error
        if done < size:
            raise EmptyError(f"{weight.source}: cut off after {done} of {size} bytes: give the same command again")
        if not digest.hexdigest().startswith(weight.sha256):
            raise FormatError(
                f"{weight.source}: what came has the SHA-256 {digest.hexdigest()}, expected {weight.sha256}: not kept; "
                "try again, and if it stays so do not use these weights"
            )
