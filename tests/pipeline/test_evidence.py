import base64
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from galleries import casia, embeddings, euclidean, rows

from gaitreid.pipeline import store
from gaitreid.pipeline.evidence import FRAMES, KIND, STILL, UNIT, Figure, Frames, Pair, evidence
from gaitreid.pipeline.files import sha256
from gaitreid.pipeline.index import Index, stamp_of
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import COCO17, H36M17, Skeleton
from gaitreid.pose.video import Bounds, frames
from gaitreid.reid.match import Matches, rank
from gaitreid.reid.records import Embeddings, Sequences

NOWHERE = Work(Path("/nowhere"))


def sequences(of: Embeddings, windows: int = 1, **changes: Any) -> Sequences:
    """Windows of 20 frames that overlap by half, as the made-up embeddings have them; the first coordinate is the track's row."""
    count, frames = len(of.video), 10 * windows + 10
    xyz = np.random.default_rng(0).normal(size=(count * frames, 17, 3)).astype(np.float32)
    xyz[:, 0, 0] = np.repeat(np.arange(count), frames) / 100
    labels = {name: getattr(of, name) for name in ("video", "track", "subject", "condition", "number", "view", "recording")}
    facts = {
        "xyz": xyz,
        "frame": np.tile(np.arange(frames), count),
        "start": (np.arange(count)[:, None] * frames + 10 * np.arange(windows)).ravel(),
        "window_track": np.repeat(np.arange(count), windows),
        "length": 20,
        "fps": 25.0,
        "normalize": "gait",
        "skeleton": H36M17,
    }
    return Sequences(**{**labels, **facts, **changes})


def matched(of: Embeddings, **config: Any) -> Matches:
    return rank(of, rows(of, condition="nm"), rows(of, condition="cl"), euclidean(**config))


def coordinates(figure: Figure, joints: int = 17) -> FloatArray:
    return np.frombuffer(base64.b64decode(figure.xyz), dtype="<i2").reshape(figure.frames, joints, 3) / UNIT


def roles(pair: Pair) -> list[tuple[str, str, int]]:
    return [(f.role, f.item.subject, f.rank) for f in pair.figures]


def of_kind(pairs: Sequence[Pair], kind: str) -> list[Pair]:
    return [pair for pair in pairs if pair.kind == kind]


@pytest.fixture
def of() -> Embeddings:
    """Probes a, b and c: a's nearest is b, b's is b, c's is a; c's own is the last of four."""
    walks = [(s, "nm", "1", "") for s in "abc"] + [(s, "cl", "1", "") for s in "abca"]
    return embeddings(walks, np.array([[1.6], [2.1], [0.4], [1.0], [2.0], [9.0], [0.0]]))


def test_misses_and_hits_by_hand(of: Embeddings) -> None:
    pairs = evidence(NOWHERE, of, matched(of), sequences(of))
    assert [(pair.kind, pair.first) for pair in pairs] == [("miss", 2), ("miss", 4), ("hit", 1)]
    assert roles(pairs[0]) == [("probe", "a", 0), ("nearest", "b", 1), ("right", "a", 2)]
    assert roles(pairs[1]) == [("probe", "c", 0), ("nearest", "a", 1), ("right", "c", 4)]
    assert roles(pairs[2]) == [("probe", "b", 0), ("nearest", "b", 1)]
    assert [f.item.distance for f in pairs[0].figures] == pytest.approx([0, 0.4, 0.6])
    assert [f.item.hit for f in pairs[0].figures] == [False, False, True]
    shown = [[round(100 * coordinates(f)[0, 0, 0]) for f in pair.figures] for pair in pairs]
    assert shown == [[0, 4, 3], [2, 6, 5], [1, 4]]  # rows of their tracks


def test_right_one_beyond_the_ranks_is_left_out(of: Embeddings) -> None:
    pairs = evidence(NOWHERE, of, matched(of, top=2), sequences(of))
    assert [len(pair.figures) for pair in pairs] == [3, 2, 2]
    assert pairs[1].first == 4


def test_few_of_each_kind_and_of_different_people() -> None:
    of = casia(subjects=20, noise=1.6)
    matches = matched(of)
    pairs = evidence(NOWHERE, of, matches, sequences(of))
    misses, hits = of_kind(pairs, "miss"), of_kind(pairs, "hit")
    assert len(misses) == len(hits) == KIND
    assert len({tuple(f.item.subject for f in pair.figures[:2]) for pair in misses}) == KIND
    assert len({pair.figures[0].item.subject for pair in hits}) == KIND
    for found in (misses, hits):
        apart = [pair.figures[1].item.distance for pair in found]
        assert apart == sorted(apart)
    right = matches.ranking.distance[matches.hit_probe[matches.hit_rank == 1], 0]
    assert hits[0].figures[1].item.distance == pytest.approx(right.min())
    assert hits[-1].figures[1].item.distance > np.quantile(right, 0.9)
    assert evidence(NOWHERE, of, matches, sequences(of)) == pairs


def test_without_labels_each_pair_once() -> None:
    of = embeddings([("", "", "", "")] * 30, np.random.default_rng(0).normal(size=(30, 3)))
    pairs = evidence(NOWHERE, of, rank(of, np.arange(30), np.arange(30), euclidean()), sequences(of))
    assert [pair.kind for pair in pairs] == ["pair"] * 2 * KIND
    assert len({frozenset(f.item.video for f in pair.figures) for pair in pairs}) == 2 * KIND


def test_tracks_that_are_not_there(of: Embeddings) -> None:
    all_of_them = sequences(of)
    without = replace(all_of_them, video=np.where(of.video == of.video[6], "other", of.video))  # whom c is taken for
    assert [roles(pair)[0][1] for pair in evidence(NOWHERE, of, matched(of), without)] == ["a", "b"]
    without = replace(all_of_them, video=np.where(of.video == of.video[3], "other", of.video))  # a's own
    assert [len(pair.figures) for pair in evidence(NOWHERE, of, matched(of), without)] == [2, 3, 2]
    nothing = replace(all_of_them, video=np.char.add(of.video, "-"))
    assert evidence(NOWHERE, of, matched(of), nothing) == []


def test_at_most_sixty_frames_up_to_a_gap(of: Embeddings) -> None:
    found = evidence(NOWHERE, of, matched(of), sequences(of, windows=9))
    assert {(f.frames, f.first_frame, f.last_frame) for pair in found for f in pair.figures} == {(FRAMES, 0, FRAMES - 1)}
    gaps = sequences(of, windows=9)
    kept = np.tile(np.arange(9) != 1, len(of.video)) & np.tile(np.arange(9) != 2, len(of.video))
    gaps = replace(gaps, start=gaps.start[kept], window_track=gaps.window_track[kept])
    assert {f.frames for pair in evidence(NOWHERE, of, matched(of), gaps) for f in pair.figures} == {20}


def test_windows_with_missing_joints_are_passed_over(of: Embeddings) -> None:
    broken = sequences(of, windows=3)
    broken.xyz[5, 3] = np.nan  # a's first window
    pair = evidence(NOWHERE, of, matched(of), broken)[0]
    assert [(f.first_frame, f.frames) for f in pair.figures] == [(10, 30), (0, 40), (0, 40)]
    assert pair.frames == 30


def test_windows_are_found_by_their_frames() -> None:
    of = embeddings([(s, c, "1", "") for c in ("nm", "cl") for s in "abc"], np.array([[0], [3], [6], [0.1], [4], [5]]), windows=4)
    matches = matched(of, unit="window")
    pairs = evidence(NOWHERE, of, matches, sequences(of, windows=4))
    assert {pair.kind for pair in pairs} <= {"hit", "miss"}
    for pair in pairs:
        for figure in pair.figures:
            assert figure.frames == 20
            assert figure.last_frame - figure.first_frame == 19
    places = {(f.item.subject, f.first_frame) for pair in pairs for f in pair.figures}
    assert len({frame for _, frame in places}) > 1
    other = replace(sequences(of, windows=4), frame=np.tile(np.arange(50), 6) + 1000)
    assert evidence(NOWHERE, of, matches, other) == []


@pytest.mark.parametrize("kind", ["root", "none"])
def test_camera_axes_are_turned_upright(of: Embeddings, kind: str) -> None:
    camera = sequences(of, normalize=kind)
    if kind == "none":
        camera.xyz[:] += np.array([2, 3, 50], np.float32)  # somewhere before the camera
    found = evidence(NOWHERE, of, matched(of), camera)[0].figures[0]
    expected = (camera.xyz[:20] - camera.xyz[:20, :1]) * [1, -1, -1]
    np.testing.assert_allclose(coordinates(found), expected, atol=0.6 / UNIT)


def test_body_axes_stay(of: Embeddings) -> None:
    body = sequences(of)
    pair = evidence(NOWHERE, of, matched(of), body)[0]
    np.testing.assert_allclose(coordinates(pair.figures[0]), body.xyz[:20], atol=0.6 / UNIT)
    assert pair.stage.ahead


def test_sides_by_name(of: Embeddings) -> None:
    stage = evidence(NOWHERE, of, matched(of), sequences(of))[0].stage
    names = {(H36M17.joints[a], H36M17.joints[b]): side for a, b, side in stage.edges}
    assert names["left_hip", "left_knee"] == -1
    assert names["right_elbow", "right_wrist"] == 1
    assert names["pelvis", "left_hip"] == names["thorax", "nose"] == 0
    assert [H36M17.joints[k] for k in stage.head] == ["nose", "head"]


def test_any_skeleton(of: Embeddings) -> None:
    chain = Skeleton("chain", tuple(f"joint{k}" for k in range(17)), ((0, 1), (1, 2)))
    pair = evidence(NOWHERE, of, matched(of), sequences(of, normalize="none", skeleton=chain))[0]
    assert pair.stage.edges == [(0, 1, 0), (1, 2, 0)]
    assert pair.stage.head == []


HEADS = [k for k, name in enumerate(COCO17.joints) if name.split("_")[-1] in ("nose", "eye", "ear")]


def film(folder: Path, of: Embeddings, *, head_score: float = 1.0, bystander: bool = False) -> Work:
    """Noisy videos of the same frame, and one track each whose box is 80 x 200; the middle of the head is at (160, 60)."""
    work, rng = Work(folder / "work"), np.random.default_rng(0)
    image = rng.integers(0, 256, size=(240, 320, 3), dtype=np.uint8)
    source = folder / "walk.avi"
    video = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"FFV1"), 25, (320, 240))
    for _ in range(20):
        video.write(image)
    video.release()

    def track(x: float) -> Track2D:
        xy = np.tile(np.array([x, 150.0], np.float32), (20, 17, 1))
        xy[:, HEADS] = np.array([x, 60]) + rng.uniform(-6, 6, size=(len(HEADS), 2))
        score = np.ones((20, 17), np.float32)
        score[:, HEADS] = head_score
        return Track2D(
            frame=np.arange(20),
            time=np.arange(20) / 25,
            box=np.tile(np.array([x - 40, 20, x + 40, 220], np.float32), (20, 1)),
            xy=xy,
            score=score,
            world=np.zeros((20, 17, 3), np.float32),
            skeleton=COCO17,
        )

    tracks = {"/tracks/000001": track(160.0), **({"/tracks/000002": track(190.0)} if bystander else {})}
    for name in of.video.tolist():
        store.write(work.pose2d(name), "pose2d", tracks, {"config": "{}", "made_from": "", "video_path": str(source)})
    return work


def picture(figure: Figure) -> FloatArray:
    coded = re.fullmatch(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", figure.still)
    assert coded
    image = cv2.imdecode(np.frombuffer(base64.b64decode(coded[1]), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image.astype(np.float64)


def stills(work: Work, of: Embeddings, manner: Any) -> list[Figure]:
    return [
        f
        for pair in evidence(work, of, matched(of), sequences(of), frames=Frames(manner, Bounds()) if manner else None)
        for f in pair.figures
    ]


def sharp(part: FloatArray) -> float:
    """How much neighbours differ, in grey levels."""
    return float(np.abs(np.diff(part, axis=1)).mean())


def test_no_frames_unless_asked_for(of: Embeddings, tmp_path: Path) -> None:
    assert {f.still for f in stills(film(tmp_path, of), of, None)} == {""}


def test_heads_are_blurred(of: Embeddings, tmp_path: Path) -> None:
    work = film(tmp_path, of)
    blurred, plain = (picture(stills(work, of, manner)[0]) for manner in ("blurred", "plain"))
    assert blurred.shape == plain.shape == (300, 180)
    scale = 300 / 220  # the box of 200 px and a tenth
    head = (slice(int(150 - 80 * scale), int(150 - 40 * scale)), slice(int(90 - 20 * scale), int(90 + 20 * scale)))
    trunk = (slice(140, 200), slice(60, 120))
    assert sharp(plain[head]) > 10
    assert sharp(blurred[head]) < 3
    assert sharp(blurred[trunk]) > 0.7 * sharp(plain[trunk])
    assert sharp(blurred[:, :20]) < 3  # beside the box
    assert sharp(plain[:, :20]) > 10


def test_without_a_head_to_go_by_the_upper_quarter(of: Embeddings, tmp_path: Path) -> None:
    found = picture(stills(film(tmp_path, of, head_score=0.1), of, "blurred")[0])
    scale = 300 / 220
    assert sharp(found[: int(150 - 55 * scale)]) < 3
    assert sharp(found[int(150 - 40 * scale) : 200, 60:120]) > 10


def test_heads_of_bystanders_are_blurred(of: Embeddings, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    scale = 300 / 220
    at = (slice(int(150 - 70 * scale), int(150 - 45 * scale)), slice(int(90 + 28 * scale), int(90 + 38 * scale)))
    alone = picture(stills(film(tmp_path / "one", of), of, "blurred")[0])
    beside = picture(stills(film(tmp_path / "two", of, bystander=True), of, "blurred")[0])
    assert sharp(alone[at]) > 10
    assert sharp(beside[at]) < 4


def test_stills_are_small_and_may_be_missing(of: Embeddings, tmp_path: Path) -> None:
    work = film(tmp_path, of)
    assert all(0 < len(f.still) <= STILL for manner in ("blurred", "plain") for f in stills(work, of, manner))
    (tmp_path / "walk.avi").write_bytes(b"damaged")
    assert {f.still for f in stills(work, of, "blurred")} == {""}
    (tmp_path / "walk.avi").unlink()
    assert {f.still for f in stills(work, of, "blurred")} == {""}
    assert {f.still for f in stills(NOWHERE, of, "blurred")} == {""}


def test_a_video_is_read_once_for_all_stills_of_it(of: Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame n of the video has the grey level 3 n, and the track of row n is shown at its frames from 5 n on."""
    work, source = film(tmp_path, of), tmp_path / "walk.avi"
    video = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"FFV1"), 25, (320, 240))
    for n in range(80):
        video.write(np.full((240, 320, 3), 3 * n, np.uint8))
    video.release()
    one = store.read_all(work.pose2d(str(of.video[0])), "pose2d", Track2D)["000001"]
    tracks = {f"/tracks/{number:06d}": one for number in range(1, 8)}
    store.write(work.pose2d("long"), "pose2d", tracks, {"config": "{}", "made_from": "", "video_path": str(source)})
    beside = replace(of, video=np.full(7, "long"), track=np.arange(1, 8))
    walks = sequences(beside, frame=np.ravel(5 * np.arange(7)[:, None] + np.arange(20)))
    read: list[Path] = []

    def counted(path: Path, *options: Any) -> Any:
        read.append(path)
        return frames(path, *options)

    monkeypatch.setattr("gaitreid.pipeline.evidence.frames", counted)
    pairs = evidence(work, beside, matched(beside), walks, frames=Frames("plain", Bounds()))
    shown = {f.item.track: picture(f).mean() for pair in pairs for f in pair.figures}
    assert len(shown) > 3
    assert {track: round(grey / 3) for track, grey in shown.items()} == {track: 5 * (track - 1) + 10 for track in shown}
    assert read == [source]


def test_stills_of_videos_that_were_moved(of: Embeddings, tmp_path: Path) -> None:
    work, source = film(tmp_path, of), tmp_path / "walk.avi"
    for name in of.video.tolist():
        store.relabel(work.pose2d(name), "pose2d", {"made_from": sha256(source)})
    before = [f.still for f in stills(work, of, "plain")]
    (tmp_path / "new").mkdir()
    moved = source.rename(tmp_path / "new/walk.avi")
    assert {f.still for f in stills(work, of, "plain")} == {""}
    os.utime(moved, (1e9, 1e9))
    index = Index(work)
    index.refresh(work)
    index.seen(moved, stamp_of(moved) or (0, 0), sha256(moved))
    index.save()
    assert [f.still for f in stills(work, of, "plain")] == before


def test_stills_of_videos_within_the_bounds_in_force(of: Embeddings, tmp_path: Path) -> None:
    work = film(tmp_path, of)
    for pixels, there in ((320 * 240, True), (320 * 240 - 1, False)):
        found = evidence(work, of, matched(of), sequences(of), frames=Frames("plain", Bounds(pixels=pixels)))
        assert {bool(f.still) for pair in found for f in pair.figures} == {there}
