import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from videos import claim

from gaitreid.pose.errors import ItemError
from gaitreid.pose.video import FALLBACK_FPS, LOUDNESS, Bounds, ahead, cut, frames, hush, is_still


def mp4(path: Path, count: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    for n in range(count):
        writer.write(np.full((48, 64, 3), 2 * n, np.uint8))
    writer.release()
    return path


def with_times(path: Path, runs: list[tuple[int, float]]) -> None:
    """Give an MP4 (index at its end) other frame times: (number of frames, seconds each lasts) after one another."""
    data = path.read_bytes()
    chain, start, end = [], 0, len(data)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        at = start
        while data[at + 4 : at + 8] != kind:
            at += struct.unpack(">I", data[at : at + 4])[0]
            assert at < end
        chain.append(at)
        if kind == b"mdia":
            header = data.index(b"mdhd", at) + 4
            (scale,) = struct.unpack(">I", data[header + 12 : header + 16])
        start = at + 8
    table = struct.pack(">II", 0, len(runs)) + b"".join(struct.pack(">II", n, round(s * scale)) for n, s in runs)
    at = chain[-1]
    (old,) = struct.unpack(">I", data[at : at + 4])
    result = bytearray(data[:at] + struct.pack(">I", 8 + len(table)) + b"stts" + table + data[at + old :])
    for box in chain[:-1]:
        (size,) = struct.unpack(">I", result[box : box + 4])
        result[box : box + 4] = struct.pack(">I", size + 8 + len(table) - old)
    path.write_bytes(bytes(result))


def element(name: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return bytes.fromhex(name) + struct.pack(">Q", 1 << 56 | len(body)) + body


def webm(path: Path, times: np.ndarray, shown: tuple[int, int] = (64, 48)) -> Path:
    """Frames at these times in milliseconds, at no stated rate: what MediaRecorder writes, but for the codec.

    They have 64x48 pixels, and are to be shown at this width and height.
    """
    sizes = zip(("b0", "ba", "54b0", "54ba"), (64, 48, *shown), strict=True)
    video = element("e0", *(element(name, struct.pack(">I", size)) for name, size in sizes))
    track = element("ae", element("d7", b"\1"), element("73c5", b"\1"), element("83", b"\1"), element("86", b"V_MJPEG"), video)
    picture = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    blocks = [element("a3", struct.pack(">BhB", 0x81, time, 0x80), picture) for time in times.round().astype(int)]
    parts = [element("1549a966"), element("1654ae6b", track), element("1f43b675", element("e7", b"\0"), *blocks)]
    path.write_bytes(element("1a45dfa3", element("4282", b"matroska")) + element("18538067", *parts))
    return path


def test_variable_rate_keeps_each_frames_own_time(tmp_path: Path) -> None:
    path = mp4(tmp_path / "a.mp4", 30)
    with_times(path, [(15, 0.04), (15, 0.02)])  # no longer in all than before, or its edit list would cut it
    _, stream = frames(path)
    time = np.array([f.time for f in stream])
    np.testing.assert_allclose(time, np.concatenate([np.arange(15) * 0.04, 0.6 + np.arange(15) * 0.02]), atol=2e-3)


@pytest.mark.parametrize(("fps", "step"), [(5, 1), (25, 1), (30, 1), (50, 2), (60, 2), (240, 8)])
def test_fast_videos_are_thinned_and_slow_ones_kept(tmp_path: Path, fps: int, step: int) -> None:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for n in range(48):
        writer.write(np.full((48, 64, 3), 5 * n, np.uint8))
    writer.release()
    info, stream = frames(path)
    shown = list(stream)
    assert info.step == step
    assert [f.index for f in shown] == list(range(0, 48, step))
    np.testing.assert_allclose([f.time for f in shown], np.arange(0, 48, step) / fps, atol=1e-3)
    for f in shown:
        assert abs(float(f.image.mean()) - 5 * f.index) < 4


@pytest.mark.parametrize("apart", [33.3, 66.7])
def test_the_ticks_of_a_clock_are_no_rate(tmp_path: Path, apart: float) -> None:
    times = np.arange(48) * apart
    times[1:] += np.random.default_rng(0).uniform(-0.3, 0.3, 47) * apart
    path = webm(tmp_path / "a.webm", times)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 1000
    info, stream = frames(path)
    shown = list(stream)
    assert info.fps == pytest.approx(1000 / apart, rel=0.3)
    assert (info.step, info.frames) == (1, 0)
    assert [f.index for f in shown] == list(range(48))
    np.testing.assert_allclose([f.time for f in shown], times.round() / 1000, atol=1e-6)


@pytest.mark.parametrize(("fps", "step"), [(240, 8), (1000, 33)])
def test_fast_videos_are_believed_where_their_frames_say_the_same(tmp_path: Path, fps: int, step: int) -> None:
    info, stream = frames(webm(tmp_path / "a.webm", np.arange(100) * 1000 / fps))
    assert (info.fps, info.step) == (fps, step)
    assert [f.index for f in stream] == list(range(0, 100, step))


def test_an_absurd_rate_of_frames_without_times_is_not_believed(tmp_path: Path) -> None:
    path = webm(tmp_path / "a.webm", np.zeros(20))
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 1000
    info, stream = frames(path)
    assert (info.fps, info.step) == (FALLBACK_FPS, 1)
    np.testing.assert_allclose([f.time for f in stream], np.arange(20) / FALLBACK_FPS)


def test_items_come_ahead_in_order_and_never_more_than_asked():
    made = []

    def items():
        for n in range(20):
            made.append(n)
            yield n

    got = []
    for item in ahead(items(), 3):
        got.append(item)
        time.sleep(0.005)
        assert len(made) <= item + 6  # three wait, one is being put, one is in hand
    assert got == list(range(20))


def test_what_goes_wrong_ahead_is_raised_where_the_items_are_used():
    def items():
        yield 1
        raise ItemError("unreadable", "no more")

    stream = ahead(items(), 2)
    assert next(stream) == 1
    with pytest.raises(ItemError, match="no more"):
        next(stream)


def test_nothing_goes_on_after_the_last_item_that_is_wanted():
    before = threading.active_count()
    stream = ahead(iter(range(1000)), 2)
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before


def test_a_part_is_what_a_warp_with_carried_on_edges_gives() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows, columns, width, height = (int(n) for n in rng.integers(4, 200, 4))
        image = np.asarray(cv2.GaussianBlur(rng.integers(0, 255, (rows, columns, 3), np.uint8), (0, 0), 2), np.uint8)
        scale, centre = float(np.exp(rng.uniform(-2, 2))), rng.uniform(-0.7, 1.7, 2) * [columns, rows]
        part, shift = cut(image, centre, scale, width, height)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        expected = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        assert np.allclose(centre * scale + shift, [width / 2, height / 2])
        assert part.shape == (height, width, 3)
        assert np.abs(part.astype(int) - expected).max() <= 2  # two roundings of the same fractions of pixels


def test_what_is_no_video_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    for path in (tmp_path / "pipe.avi", Path("/dev/zero"), tmp_path):
        with pytest.raises(ItemError, match="a pipe, a device or a folder") as error:
            frames(path)
        assert error.value.reason == "not-a-file"
    with pytest.raises(ItemError, match="No such file") as error:
        frames(tmp_path / "nothing.avi")
    assert error.value.reason == "unreadable"


def test_what_ffmpeg_says_of_a_damaged_video_is_not_passed_on(tmp_path: Path) -> None:
    path, noise = tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 255, (9, 48, 64, 3), np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    for image in noise:
        writer.write(image)
    writer.release()
    damaged = bytearray(path.read_bytes())
    damaged[2000:8000:50] = bytes(120)
    path.write_bytes(damaged)
    code = "import sys, pathlib; from gaitreid.pose.video import frames; print(len(list(frames(pathlib.Path(sys.argv[1]))[1])))"
    environment = {name: value for name, value in os.environ.items() if name != LOUDNESS}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert 1 <= int(done.stdout) <= 9
    assert done.stderr == ""


@pytest.mark.parametrize("of", ["setLogLevel", "utils"])
def test_both_names_of_opencvs_log_level_do(monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    """Up to 4.12 it is cv2.setLogLevel, then cv2.utils.logging.setLogLevel; neither version has the other's."""
    levels: list[int] = []
    monkeypatch.delattr(cv2, "setLogLevel", raising=False)
    monkeypatch.delattr(cv2.utils, "logging", raising=False)
    if of == "setLogLevel":
        monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    else:
        monkeypatch.setattr(cv2.utils, "logging", SimpleNamespace(setLogLevel=levels.append), raising=False)
    hush()
    assert levels == [0]


def test_a_video_is_still_if_no_frame_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    for last, still in ((0, True), (200, False)):
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
        for level in (0, 0, 0, last):
            writer.write(np.full((48, 64, 3), level, np.uint8))
        writer.release()
        assert is_still(path) == still


@pytest.mark.parametrize(
    ("stated", "shown"),
    [((85, 48), (85, 48)), ((64, 58), (53, 48)), ((65, 48), (64, 48)), ((640, 48), (64, 48))],
)
def test_pictures_are_as_wide_as_players_show_them(tmp_path: Path, stated: tuple[int, int], shown: tuple[int, int]) -> None:
    """As of HDV and DVDs; a pixel of the scaler's rounding is not worth the work, and ten times as wide is a mistake."""
    info, stream = frames(webm(tmp_path / "a.webm", np.arange(3) * 40.0, stated))
    assert (info.width, info.height) == shown
    assert [frame.image.shape for frame in stream] == [(*shown[::-1], 3)] * 3


def ten(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for n in range(10):
        writer.write(np.full((48, 64, 3), 5 * n, np.uint8))
    writer.release()
    return path


def test_videos_beyond_the_bounds_are_refused_before_or_while_they_are_read(tmp_path: Path) -> None:
    path = ten(tmp_path / "a.avi")
    with pytest.raises(ItemError, match=r"64x48 pixels, 0\.003 megapixels are allowed") as error:
        frames(path, bounds=Bounds(pixels=3000))
    assert error.value.reason == "too-large"
    with pytest.raises(ItemError, match=r"limits.hours") as error:
        frames(path, bounds=Bounds(seconds=0.2))
    # A container that says too little is found out on the way; one that claims what cannot be in it is read as far as it goes.
    _, stream = frames(claim(ten(tmp_path / "b.avi"), 2), bounds=Bounds(seconds=0.2))
    with pytest.raises(ItemError, match=r"longer than .* h"):
        list(stream)
    info, stream = frames(claim(ten(tmp_path / "c.avi"), 1_000_000_000))
    assert info.frames > 10**6
    assert len(list(stream)) == 10
