import cv2
import numpy as np
import pytest

from gaitreid.pose import extract as extraction
from gaitreid.pose.detect import choose
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.estimate import BatchEstimator, Crop, Estimate, Estimators
from gaitreid.pose.extract import ExtractConfig, extract, iou, least_score, turns
from gaitreid.pose.silhouettes import in_silhouettes, silhouette
from gaitreid.pose.skeleton import BLAZEPOSE33
from gaitreid.pose.video import Bounds, frames

ROOM = np.random.default_rng(0).integers(90, 130, (120, 240, 3), dtype=np.uint8)


def write(path, images, fps=25.0):
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    for image in images:
        writer.write(image)
    writer.release()
    return path


def people(*places, level=250):
    """A room with upright bars at these columns; None is nobody."""
    image = ROOM.copy()
    for x in places:
        if x is not None:
            cv2.rectangle(image, (int(x) - 8, 30), (int(x) + 8, 100), (level, level, level), -1)
    return image


class Bars:
    """Finds the bright bar nearest to the middle of the crop and calls it a person."""

    skeleton = BLAZEPOSE33

    def __init__(self, masks=False):
        self.masks = masks

    def __call__(self, image):
        bright = image.min(axis=2) > 220
        count, labels, stats, centres = cv2.connectedComponentsWithStats(bright.astype(np.uint8))
        big = [i for i in range(1, count) if stats[i, 4] > 300]
        if not big:
            return None
        i = min(big, key=lambda k: abs(centres[k, 0] - image.shape[1] / 2))
        x, y, w, h = stats[i, :4]
        rows = np.linspace(0, 1, 33)
        xy = np.stack([x + w * (np.arange(33) % 2), y + h * rows], axis=1).astype(np.float32)
        mask = (labels == i).astype(np.float32) if self.masks else None
        return Estimate(xy, np.ones(33, np.float32), np.zeros((33, 3), np.float32), mask)

    def reset(self):
        pass


def run(path, **settings):
    estimators = Estimators(Bars, settings.get("silhouettes", False))
    return extract(path, ExtractConfig(**{"detector": "motion", **settings}), estimators)


def test_one_walker_is_one_track(tmp_path):
    images = [people(None)] * 10 + [people(20 + 3 * t) for t in range(60)] + [people(None)] * 15
    result = run(write(tmp_path / "a.avi", images))
    (track,) = result.tracks
    assert track.frame[0] <= 18
    assert track.frame[-1] in (68, 69)
    assert len(track.frame) >= 50
    middle = (track.box[:, 0] + track.box[:, 2]) / 2
    assert np.abs(middle - (20 + 3 * (track.frame - 10))).max() < 4
    np.testing.assert_allclose(track.time, track.frame / 25, atol=1e-3)
    assert result.frames_read == 85
    assert result.frames_used == len(track.frame)


def test_two_who_cross_are_never_one_track(tmp_path):
    images = [people(None)] * 8 + [people(20 + 2 * t, 210 - 2 * t) for t in range(95)]
    result = run(write(tmp_path / "a.avi", images))
    assert len(result.tracks) >= 2
    for track in result.tracks:
        way = np.diff((track.box[:, 0] + track.box[:, 2]) / 2)
        assert (np.sign(np.median(way)) * way > -3).all()  # nobody turns round


def test_who_is_hidden_for_a_moment_is_sought_where_they_go(tmp_path):
    images = [people(None)] * 8 + [people(None if 25 <= t < 31 else 20 + 3 * t) for t in range(60)]  # their own width on
    (track,) = run(write(tmp_path / "a.avi", images)).tracks
    assert np.diff(track.frame).max() == 7


def test_who_leaves_and_comes_back_may_be_another(tmp_path):
    images = [people(None)] * 8 + [people(40 + 2 * t) for t in range(40)] + [people(None)] * 20
    images += [people(60 + 2 * t) for t in range(40)]
    assert len(run(write(tmp_path / "a.avi", images)).tracks) == 2


def test_who_stays_long_is_taken_down_in_parts_that_join(tmp_path, monkeypatch):
    path = write(tmp_path / "a.avi", [people(None)] * 8 + [people(20 + 2 * t) for t in range(95)])
    (whole,) = run(path).tracks
    monkeypatch.setattr(extraction, "LONGEST", 1.0)
    seconds: list[float] = []
    estimators = Estimators(Bars)
    result = extract(path, ExtractConfig(detector="motion", min_seconds=0.2), estimators, seen=seconds.append)
    assert len(result.tracks) >= 3
    assert max(len(track.frame) for track in result.tracks) <= 27
    for field in ("frame", "time", "box", "xy", "score"):
        np.testing.assert_array_equal(np.concatenate([getattr(t, field) for t in result.tracks]), getattr(whole, field))
    assert result.frames_used == len(whole.frame)
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(102 / 25, abs=0.05)


def test_short_tracks_are_left_out_with_a_reason(tmp_path):
    images = [people(None)] * 8 + [people(40 + 4 * t) for t in range(12)] + [people(None)] * 20
    result = run(write(tmp_path / "a.avi", images))
    assert result.tracks == ()
    assert {r.reason for r in result.rejected} == {"too-short"}


def test_nobody_is_an_error_with_a_reason(tmp_path):
    with pytest.raises(ItemError) as error:
        run(write(tmp_path / "a.avi", [people(None) + 6 * (t % 2) for t in range(40)]))
    assert error.value.reason == "no-person"
    assert "interlaced" not in str(error.value)


def test_a_picture_that_never_changes_may_be_interlaced_video(tmp_path):
    with pytest.raises(ItemError, match=r"40 frames .* all one picture: if it is interlaced, deinterlace it") as error:
        run(write(tmp_path / "a.avi", [people(None)] * 40))
    assert error.value.reason == "no-person"


@pytest.mark.parametrize(("fps", "step"), [(5, 1), (25, 1), (30, 1), (50, 2), (60, 2), (120, 4), (240, 8)])
def test_frame_rates(tmp_path, fps, step):
    count = int(3 * fps)
    images = [people(None)] * max(3, fps // 3) + [people(30 + 150 * t / count) for t in range(count)]
    result = run(write(tmp_path / "a.avi", images, fps))
    assert result.info.step == step
    (track,) = result.tracks
    assert set(np.diff(track.frame)) <= {step, 2 * step}
    assert track.time[-1] - track.time[0] > 2.0
    np.testing.assert_allclose(track.time, track.frame / fps, atol=1e-3)


def test_silhouettes_go_with_their_frames(tmp_path):
    images = [people(None)] * 8 + [people(40 + 2 * t) for t in range(60)]
    result = run(write(tmp_path / "a.avi", images), silhouettes=True)
    (masks,) = result.silhouettes
    assert masks.frame.tolist() == result.tracks[0].frame.tolist()
    assert (masks.mask[:, :, 21:23] > 0).all()
    # The bar's keypoints are its left and right edges, from its first row to its last.
    found = in_silhouettes(result.tracks[0].xy, masks)
    np.testing.assert_allclose(found[:, [0, -1], 1], np.tile([0, 64], (len(found), 1)), atol=0.7)
    inside = masks.mask.any(axis=1)
    edges = np.stack([inside.argmax(axis=1), 44 - inside[:, ::-1].argmax(axis=1)], axis=1)
    np.testing.assert_allclose(found[:, :2, 0], edges, atol=1.2)


def test_portrait_phone_clips_stand_upright(tmp_path):
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 96))
    lying = np.zeros((96, 160, 3), np.uint8)
    lying[:, :40] = 255  # bright on the left, which is up or down when it stands
    for _ in range(10):
        writer.write(lying)
    writer.release()
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # version and flags, times, ids, duration, layer, group, volume; then the matrix
    one, minus = (0x00010000).to_bytes(4, "big"), (0xFFFF0000).to_bytes(4, "big")
    zero = bytes(4)
    content[at : at + 36] = zero + one + zero + minus + zero + zero + zero + zero + (0x40000000).to_bytes(4, "big")
    path.write_bytes(content)
    info, stream = frames(path)
    image = next(stream).image
    assert (info.width, info.height) == (96, 160) == image.shape[1::-1]
    assert info.rotation in (90, 270)
    rows = image.mean(axis=(1, 2))
    assert abs(rows[:30].mean() - rows[-30:].mean()) > 200


def test_the_choice_of_the_detector(tmp_path):
    still = [people(20 + 2 * t) for t in range(80)]
    assert choose(write(tmp_path / "a.avi", still))[0] == "motion"
    rng = np.random.default_rng(1)
    wide = cv2.resize(rng.integers(0, 255, (30, 200, 3), dtype=np.uint8), (1600, 120), interpolation=cv2.INTER_NEAREST)
    assert choose(write(tmp_path / "b.avi", [wide[:, 8 * t : 8 * t + 240] for t in range(80)]))[0] == "hog"
    narrow = [image[:, 80:140] for image in still]
    assert choose(write(tmp_path / "c.avi", narrow))[0] == "whole"


def test_the_choice_of_the_detector_keeps_to_the_bounds_of_the_user(tmp_path, monkeypatch):
    path = write(tmp_path / "a.avi", [people(20 + 2 * t) for t in range(80)])
    with pytest.raises(ItemError, match=r"limits\.megapixels"):
        choose(path, Bounds(pixels=20_000))
    asked = []

    def chosen(*given):
        asked.append(given)
        return choose(*given)

    monkeypatch.setattr(extraction, "choose", chosen)
    extract(path, ExtractConfig(), Estimators(Bars), bounds=Bounds(pixels=60_000_000))
    assert asked == [(path, Bounds(pixels=60_000_000))]


def test_iou():
    a = np.array([0.0, 0, 2, 2])
    assert iou(a, a) == 1
    assert iou(a, a + 1) == pytest.approx(1 / 7)
    assert iou(a, a + 5) == 0


def test_silhouette_is_cut_scaled_and_centred():
    mask = np.zeros((200, 200), np.float32)
    mask[20:180, 30:70] = 1
    result = silhouette(mask)
    assert result is not None
    assert result.shape == (64, 44)
    columns = np.flatnonzero(result.any(axis=0))
    assert result[:, 22].all()
    assert abs((columns[0] + columns[-1]) / 2 - 21.5) <= 1
    assert len(columns) == pytest.approx(16, abs=1)
    assert silhouette(np.zeros((50, 50), np.float32)) is None


def test_ranges_are_checked():
    with pytest.raises(UsageError, match="detector"):
        ExtractConfig(detector="eyes")
    with pytest.raises(UsageError, match="times"):
        ExtractConfig(min_seconds=-1)


def test_a_walk_ends_where_it_turns_back():
    time = np.arange(100) / 25
    there = np.minimum(time, 2.0) * 0.7
    assert turns(time, there) == []  # stands still at the end
    (at,) = turns(time, np.abs(time - 1.6) * 0.7)
    assert abs(time[at] - 1.6) < 0.05
    assert turns(time, 0.04 * np.sin(2 * np.pi * time)) == []  # sways, seen from the front
    assert turns(time[:1], there[:1]) == []


def test_who_is_taken_for_another_is_two_tracks(tmp_path):
    # One bar comes, the other leaves from the same place: nothing but the direction tells them apart.
    images = [people(None)] * 8 + [people(20 + 3 * t) for t in range(40)] + [people(137 - 3 * t) for t in range(40)]
    result = run(write(tmp_path / "a.avi", images))
    first, second = result.tracks
    assert first.frame[-1] < second.frame[0] <= first.frame[-1] + 3
    assert abs(int(second.frame[0]) - 48) <= 3


class Together(BatchEstimator):
    """The same bars, many crops at once; notes how many it was asked for at a time."""

    skeleton = BLAZEPOSE33
    crop = Crop(96, 128, 1.5)
    min_score = 0.4

    def __init__(self, masks=False):
        self.bars = Bars(masks)
        self.asked = []

    def batch(self, images):
        assert all(image.shape == (self.crop.height, self.crop.width, 3) for image in images)
        self.asked.append(len(images))
        return [self.bars(image) for image in images]


def together(path, **settings):
    estimators = Estimators(Together)
    result = extract(path, ExtractConfig(**{"detector": "motion", **settings}), estimators)
    assert isinstance(estimators.shared, Together)
    return result, estimators.shared.asked


def test_people_and_frames_are_posed_at_once(tmp_path):
    images = [people(None)] * 8 + [people(20 + 2 * t, 210 - 2 * t) for t in range(40)]
    path = write(tmp_path / "a.avi", images)
    result, asked = together(path)
    single = run(path)
    assert len(result.tracks) == len(single.tracks) == 2
    for a, b in zip(result.tracks, single.tracks, strict=True):
        assert a.frame.tolist() == b.frame.tolist()
        assert np.abs(a.box - b.box).max() < 1.5  # the crops are others
    # Two people, five or six frames from look to look; only where their speed is not known yet are they posed once more.
    assert max(asked) in (10, 12)
    assert len(asked) < 0.5 * sum(len(track.frame) for track in result.tracks)


def test_two_who_cross_are_never_one_track_of_a_shared_estimator(tmp_path):
    images = [people(None)] * 8 + [people(20 + 2 * t, 210 - 2 * t) for t in range(95)]
    result, _ = together(write(tmp_path / "a.avi", images))
    assert len(result.tracks) >= 3
    for track in result.tracks:
        way = np.diff((track.box[:, 0] + track.box[:, 2]) / 2)
        assert (np.sign(np.median(way)) * way > -3).all()


def test_who_is_elsewhere_than_foreseen_is_posed_again(tmp_path):
    steps = np.concatenate([np.full(30, 3.0), np.full(30, -3.0)])
    images = [people(None)] * 8 + [people(30 + x) for x in np.cumsum(steps)]
    path = write(tmp_path / "a.avi", images)
    result, asked = together(path)
    assert sum(len(track.frame) for track in result.tracks) > 50
    assert asked.count(1) > 1  # those who were posed again
    for track in result.tracks:
        middle = (track.box[:, 0] + track.box[:, 2]) / 2
        assert np.abs(middle - (30 + np.cumsum(steps)[track.frame - 8])).max() < 4


def test_one_estimator_that_poses_in_batches_serves_everybody():
    estimators = Estimators(Together)
    first, second = estimators.take(), estimators.take()
    assert first is second is estimators.shared
    estimators.give_back(first)
    assert estimators.take() is first
    followers = Estimators(Bars)
    first, second = followers.take(), followers.take()
    assert first is not second
    followers.give_back(first)
    assert followers.take() is first  # another would take as long to make as ten frames
    assert followers.take() not in (first, second)
    assert followers.shared is None


@pytest.mark.parametrize("box", [[40.0, 10, 80, 110], [100.0, 30, 220, 60], [-20.0, 50, 5, 58]])
def test_a_crop_shows_what_it_says_around_the_box(box):
    crop = Crop(96, 128, 1.5)
    part, place = crop.of(ROOM, np.array(box))
    assert part.shape == (128, 96, 3)
    around = crop.around(np.array(box))
    np.testing.assert_allclose(around.reshape(2, 2) * place.scale + place.shift, [[0, 0], [96, 128]], atol=1e-6)
    np.testing.assert_allclose(around[:2] + around[2:], np.add(box[:2], box[2:]))  # the box is in the middle
    size = np.maximum(np.subtract(box[2:], box[:2]), 16)
    assert ((around[2:] - around[:2]) / size).min() == pytest.approx(1.5)
    estimate = Estimate(np.array([[0.0, 0], [96, 128]], np.float32), np.ones(2), np.zeros((2, 3)), None)
    back = place.back(estimate)
    assert back is not None
    np.testing.assert_allclose(back.xy.ravel(), around, atol=1e-4)


@pytest.mark.parametrize("size", [(240, 320), (128, 96), (500, 60)])
def test_a_picture_of_any_size_is_brought_to_the_crop(size):
    image = np.full((*size, 3), 100, np.uint8)
    x, y = size[1] // 2, size[0] // 2
    cv2.rectangle(image, (x - 12, y - 50), (x + 12, y + 50), (250, 250, 250), -1)
    estimator = Together()
    estimator.crop = Crop(384, 512)
    estimate = estimator(image)
    assert estimate is not None
    np.testing.assert_allclose(estimate.xy.min(axis=0), [x - 12, y - 50], atol=4)
    np.testing.assert_allclose(estimate.xy.max(axis=0), [x + 12, y + 50], atol=4)


def test_the_score_that_is_asked_for_is_the_estimators_own():
    assert least_score(ExtractConfig(), Bars()) == 0.5
    assert least_score(ExtractConfig(), Together()) == 0.4
    assert least_score(ExtractConfig(min_score=0.7), Together()) == 0.7


def test_detectors_are_checked_before_any_video_is_read():
    ExtractConfig(detector="rtmdet:rtmdet_tiny_8xb32-300e_coco,weights.pth")
    with pytest.raises(UsageError, match="'rtmdt', expected auto, hog, motion, whole, rtmdet, torchvision"):
        ExtractConfig(detector="rtmdt")
    with pytest.raises(UsageError, match="'hog' takes no argument: write hog instead of hog:x"):
        ExtractConfig(detector="hog:x")
