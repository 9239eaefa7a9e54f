"""What each pose backend costs in extraction against its bare model on the same crops, and how busy the model is.

    backends.py [--backends mediapipe,mmpose,keypointrcnn,rtmlib] [--device D] [--seconds S] [--repeat N]

A rendered walker, cut out so that one person fills the picture, is extracted (decoding, crops, batches, following, tracks; no
file is written), and then the very crops, in the very batches, go through the model alone: MediaPipe's `Pose.process`, mmpose's
preprocessor, network and head, torchvision's model, onnxruntime's session. Turn about, --repeat times; the medians count.
`ratio` is extraction over bare model and should be at most 1.15; `busy` is the share of extraction's time in which the model
was at work. Weights that are on this machine are used, else random ones, which cost the same. As random weights find nobody,
the answers are thrown away and everybody is said to stand where they were sought. Last line: one JSON object with the figures.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from gaitreid.pipeline import plugins
from gaitreid.pipeline.train import device as torch_device
from gaitreid.pose import openmmlab
from gaitreid.pose.backends.keypointrcnn import PUBLISHED
from gaitreid.pose.backends.mmpose import DEFAULT
from gaitreid.pose.errors import GaitReidError
from gaitreid.pose.estimate import BatchEstimator, Crop, Estimate, Estimators, PoseEstimator
from gaitreid.pose.extract import ExtractConfig, extract
from gaitreid.pose.render import FPS, scene
from gaitreid.pose.video import Image, cut
from gaitreid.pose.walker import walker
from gaitreid.pose.weights import locate, weight

RATIO = 1.15  # the most that is allowed
Batches = list[list[Image]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="mediapipe,mmpose,keypointrcnn,rtmlib", help="names, as --pose takes them")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=3.0, help="of video")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    device = str(torch_device(options.device))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        video = render(Path(folder) / "walker.avi", options.seconds)
        for name in options.backends.split(","):
            try:
                results[name] = measure(video, name, device, options.repeat, Path(folder))
            except GaitReidError as error:
                print(f"{name}: {error}")
    print(f"{'backend':16}{'weights':>9}{'crops':>7}{'a call':>8}{'crops/s':>9}{'bare':>9}{'ratio':>7}{'busy':>7}")
    for name, row in results.items():
        print(
            f"{name[:15]:16}{row['weights']:>9}{row['crops']:7}{row['crops_a_call']:8.1f}{row['crops_per_second']:9.1f}"
            f"{row['bare_per_second']:9.1f}{row['ratio']:7.2f}{row['busy']:7.1%}"
        )
    print(f"on {device} with {torch.get_num_threads()} thread(s); ratio should be at most {RATIO}")
    print(json.dumps({"device": device, "threads": torch.get_num_threads(), "backends": results}))


def render(path: Path, seconds: float) -> Path:
    """One person who fills the picture."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (192, 384))
    for picture in scene([walker(0, 1)], "nm", 90, seconds, (0, 1, 0, 1)):
        xy = picture.people[0].xy
        low, high = xy.min(axis=0), xy.max(axis=0)
        writer.write(cut(picture.image, (low + high) / 2, 350 / (high[1] - low[1]), 192, 384)[0])
    writer.release()
    return path


def measure(video: Path, name: str, device: str, repeat: int, folder: Path) -> dict[str, Any]:
    """One backend's figures."""
    text, kind = argument(name, folder)
    inner: PoseEstimator = plugins.load("pose", text, device=device)(masks=False)
    bare = BARE[name.partition(":")[0]](inner)
    standing = Batched(inner) if isinstance(inner, BatchEstimator) else OneByOne(inner)
    config = ExtractConfig(detector="whole")
    rounds = []
    for _ in range(repeat + 1):
        standing.forget()
        began = time.perf_counter()
        extract(video, config, Estimators(lambda masks: standing))
        whole = time.perf_counter() - began
        batches = standing.batches
        began = time.perf_counter()
        for images in batches:
            bare(images)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        rounds.append((whole, standing.busy, time.perf_counter() - began))
    whole, busy, alone = np.median(rounds[1:], axis=0)  # in the first, everything comes up
    crops = sum(map(len, batches))
    return {
        "weights": kind,
        "crops": crops,
        "crops_a_call": round(crops / len(batches), 2),
        "crops_per_second": round(crops / whole, 2),
        "bare_per_second": round(crops / alone, 2),
        "ratio": round(whole / alone, 3),
        "busy": round(busy / whole, 3),
    }


def argument(name: str, folder: Path) -> tuple[str, str]:
    """A backend with weights: its own where they are here, else random ones."""
    base, _, given = name.partition(":")
    known = {"mmpose": given.partition(",")[0] or DEFAULT, "keypointrcnn": PUBLISHED}.get(base)
    if known is None or "," in given or locate(weight(known)):
        return name, "own"
    path = folder / f"{known}.pth"
    if base == "mmpose":
        model = openmmlab.construct("mmpose", openmmlab.load_config("mmpose", known)[0])
    else:
        from torchvision.models.detection import keypointrcnn_resnet50_fpn

        model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    torch.save({"state_dict" if base == "mmpose" else "model": model.state_dict()}, path)
    return (f"mmpose:{known},{path}" if base == "mmpose" else f"keypointrcnn:{path}"), "random"


def standing_in(crop: Crop, joints: int) -> Estimate:
    """Somebody in the middle of a crop whose box is that which the crop was made for."""
    height = crop.height / crop.margin / 1.1  # boxes are larger than their keypoints by a twentieth at each end
    x = crop.width / 2 + height * np.where(np.arange(joints) % 2, -0.2, 0.2)
    y = crop.height / 2 + height * np.linspace(-0.5, 0.5, joints)
    world = np.full((joints, 3), np.nan, np.float32)
    return Estimate(np.stack([x, y], axis=1).astype(np.float32), np.ones(joints, np.float32), world, None)


class Standing:
    """Keeps what a backend is shown, and how long it takes."""

    batches: Batches
    busy: float

    def forget(self) -> None:
        self.batches, self.busy = [], 0.0

    def timed(self, images: Sequence[Image], work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        self.busy += time.perf_counter() - began
        self.batches.append(list(images))


class Batched(Standing, BatchEstimator):
    """Of a backend that poses in batches."""

    def __init__(self, inner: BatchEstimator) -> None:
        self.inner, self.skeleton, self.crop, self.min_score = inner, inner.skeleton, inner.crop, inner.min_score
        self.answer = standing_in(inner.crop, len(inner.skeleton.joints))

    def batch(self, images: Sequence[Image]) -> list[Estimate | None]:
        self.timed(images, lambda: self.inner.batch(images))
        return [self.answer] * len(images)


class OneByOne(Standing):
    """Of a backend that follows a person."""

    def __init__(self, inner: PoseEstimator) -> None:
        self.inner, self.skeleton = inner, inner.skeleton
        self.answer = standing_in(Crop(), len(inner.skeleton.joints))

    def __call__(self, image: Image) -> Estimate:
        self.timed([image], lambda: self.inner(image))
        return self.answer

    def reset(self) -> None:
        self.inner.reset()


def bare_mediapipe(_: Any) -> Callable[[list[Image]], object]:
    from mediapipe.python.solutions.pose import Pose

    pose = Pose(model_complexity=1, smooth_landmarks=False, min_detection_confidence=0.3)
    return lambda images: [pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)) for image in images]


def bare_mmpose(estimator: Any) -> Callable[[list[Image]], object]:
    model, half = estimator._model, estimator._half

    def run(images: list[Image]) -> object:
        pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        with openmmlab.quiet(), torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
            data = model.data_preprocessor({"inputs": pictures, "data_samples": []}, False)
            return model.head.forward(model.extract_feat(data["inputs"]))

    return run


def bare_keypointrcnn(estimator: Any) -> Callable[[list[Image]], object]:
    model, where = estimator._model, estimator._device

    def run(images: list[Image]) -> object:
        pixels = torch.from_numpy(np.stack(images)).to(where).flip(-1).permute(0, 3, 1, 2) / 255
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=where.type == "cuda"):
            return model(list(pixels))

    return run


def bare_rtmlib(estimator: Any) -> Callable[[list[Image]], object]:
    session = estimator._tool.session
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)})


BARE: dict[str, Callable[[Any], Callable[[list[Image]], object]]] = {
    "mediapipe": bare_mediapipe,
    "mmpose": bare_mmpose,
    "keypointrcnn": bare_keypointrcnn,
    "rtmlib": bare_rtmlib,
}


if __name__ == "__main__":
    main()
