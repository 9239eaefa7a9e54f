import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from estimators import CHECKS, Check
from onnx import TensorProto, helper

from gaitreid.pose.backends.rtmlib import RtmLib
from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.pose.video import Image

WIDTH, HEIGHT = 96, 128


def simcc(path: Path, joints: int = 17, batch: str | int = "batch", outputs: int = 2) -> Path:
    """A network whose joint k is where channel k % 3 of a picture is brightest, in SimCC's form: a value for each half pixel."""
    channels = helper.make_tensor("channels", TensorProto.INT64, [joints], [k % 3 for k in range(joints)])
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [3], [1.0, 1.0, 2.0])
    nodes = [helper.make_node("Gather", ["pictures", "channels"], ["maps"], axis=1)]
    made = []
    for name, axis, size in (("simcc_x", 2, WIDTH), ("simcc_y", 3, HEIGHT))[:outputs]:
        nodes += [
            helper.make_node("ReduceMax", ["maps"], [f"line_{name}"], axes=[axis], keepdims=0),
            helper.make_node("Resize", [f"line_{name}", "", "scales"], [name], mode="nearest", nearest_mode="floor"),
        ]
        made.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, joints, 2 * size]))
    taken = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [batch, 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "simcc", [taken], made, [channels, scales])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simcc(tmp_path_factory.mktemp("models") / "simcc.onnx")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_does_what_every_estimator_must(check: Check, model: Path, tmp_path: Path) -> None:
    check(RtmLib(str(model)), False, tmp_path)


def picture(
    red: tuple[int, int], green: tuple[int, int], blue: tuple[int, int], size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Image:
    """A dot of each colour on black."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for (x, y), channel in ((red, 2), (green, 1), (blue, 0)):
        image[y, x, channel] = 255
    return image


def test_joints_are_where_the_model_puts_them(model: Path) -> None:
    estimator = RtmLib(str(model))
    assert (estimator.crop.width, estimator.crop.height) == (WIDTH, HEIGHT)
    assert estimator.skeleton.name == "coco17"
    (found,) = estimator.batch([picture((10, 20), (60, 5), (90, 120))])
    assert found is not None
    assert found.xy.shape == (17, 2)
    np.testing.assert_allclose(found.xy[:3], [(10, 20), (60, 5), (90, 120)], atol=0.5)
    assert {str(part.dtype) for part in (found.xy, found.score, found.world)} == {"float32"}
    assert np.isnan(found.world).all()
    assert found.mask is None
    assert (found.score == 1).all()  # brighter than one after normalising


def test_the_crop_is_what_rtmlib_makes_of_the_box(model: Path) -> None:
    from rtmlib import RTMPose

    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (9, 9), 0), dtype=np.uint8)
    box = np.array([100.0, 60, 160, 200])
    estimator = RtmLib(str(model))
    part, place = estimator.crop.of(image, box)
    ours = place.back(estimator.batch([part])[0])
    xy, score = RTMPose(str(model), model_input_size=(WIDTH, HEIGHT))(image[:, :, ::-1], [box])
    assert ours is not None
    np.testing.assert_allclose(ours.xy, xy[0], atol=0.6)
    np.testing.assert_allclose(ours.score, score[0].clip(0, 1), atol=0.02)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_batch_is_each_by_itself(tmp_path: Path, batch: str | int) -> None:
    estimator = RtmLib(str(simcc(tmp_path / "model.onnx", batch=batch)))
    pictures = [picture((n, 2 * n), (30, 50), (95 - n, 7)) for n in range(1, 6)]
    for together, image in zip(estimator.batch(pictures), pictures, strict=True):
        (alone,) = estimator.batch([image])
        assert together is not None
        assert alone is not None
        np.testing.assert_array_equal(together.xy, alone.xy)
        np.testing.assert_array_equal(together.score, alone.score)
    assert estimator.batch([]) == []


def test_a_model_of_26_joints_gives_halpes(tmp_path: Path) -> None:
    estimator = RtmLib(str(simcc(tmp_path / "model.onnx", joints=26)))
    assert estimator.skeleton.name == "halpe26"
    assert estimator(picture((100, 50), (20, 30), (60, 60), (320, 240))) is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"joints": 20}, r"gives 20 keypoints, expected 17 \(coco17\) or 26 \(halpe26\)"), ({"outputs": 1}, "has 1 outputs")],
)
def test_models_of_something_else_are_refused(tmp_path: Path, changes: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        RtmLib(str(simcc(tmp_path / "model.onnx", **changes)))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(FormatError, match=r"broken\.onnx: cannot be read as an ONNX model"):
        RtmLib(str(tmp_path / "broken.onnx"))


def test_a_missing_package_is_named_with_the_command(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(UsageError, match="rtmlib: pip install --no-deps rtmlib onnxruntime"):
        RtmLib(str(model))


def test_it_says_nothing_of_its_own(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    RtmLib(str(model))
    assert capfd.readouterr() == ("", "")


def test_silhouettes_are_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="--pose mediapipe"):
        RtmLib(masks=True)
