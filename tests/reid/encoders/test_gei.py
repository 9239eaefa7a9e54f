import made_walks
import numpy as np
import pytest
import torch

from gaitreid.pose.errors import UsageError
from gaitreid.reid.config import GeiConfig
from gaitreid.reid.encoders.gei import Gei, GeiLda, GeiParts, discriminants, whole_cycles
from gaitreid.reid.walks import Clips, Packed, encode

CPU = torch.device("cpu")
SUBJECTS = ("001", "002", "003")
WALKS = made_walks.walks(3, 4)
PACKED = Packed(WALKS, CPU)
ROWS = np.arange(len(WALKS.video))
WHO = np.unique(WALKS.subject, return_inverse=True)[1]


def clips(masks: np.ndarray) -> Clips:
    """Clips (B, T, 64, 44) without keypoints."""
    size = masks.shape[:2]
    nowhere = [torch.full((*size, *rest), torch.nan) for rest in ((17, 3), (4,), ())]
    return Clips(torch.from_numpy(masks).float(), *nowhere)


def walking(masks: np.ndarray, pixels: float = 5.0, broad: float = 0.0, fps: float = 25.0) -> Clips:
    """Somebody 80 px tall whose box moves so many pixels a frame; shoulders so broad, in trunks, the left one on the right."""
    frames = len(masks)
    there = clips(masks[None])
    time = torch.arange(frames) / fps
    there.time[0] = time
    there.box[0] = torch.tensor([0.0, 10, 30, 90]) + torch.arange(frames)[:, None] * torch.tensor([pixels, 0, pixels, 0])
    for joint, x, y in ((5, broad * 24, 26.0), (6, 0.0, 26.0), (11, broad * 12, 50.0), (12, broad * 12, 50.0)):
        there.keypoints[0, :, joint] = torch.tensor([x, y, 0.9])
    return there


def test_it_is_the_mean_of_the_silhouettes_that_there_are() -> None:
    masks = np.random.default_rng(0).random((2, 6, 64, 44)) < 0.4
    masks[1, 2:4] = False  # frames without a silhouette
    found = Gei(SUBJECTS).vectors(clips(masks))
    np.testing.assert_allclose(found[0], masks[0].mean(axis=0).ravel(), atol=1e-6)
    np.testing.assert_allclose(found[1], masks[1, [0, 1, 4, 5]].mean(axis=0).ravel(), atol=1e-6)
    by_cycles = Gei(SUBJECTS, GeiConfig(frames="cycles")).vectors(clips(masks))  # too short for one
    torch.testing.assert_close(by_cycles, found)
    lower = Gei(SUBJECTS, GeiConfig(rows="lower")).vectors(clips(masks))
    np.testing.assert_array_equal(lower, found.view(2, 64, 44)[:, 32:].flatten(1))


def test_parts_are_twice_the_trunk_and_twice_the_shins_of_somebody_who_walks_to_the_right() -> None:
    masks = np.random.default_rng(0).random((3, 6, 64, 44)) < 0.4
    there = clips(masks)
    there.box[:2] = torch.tensor([0.0, 10, 30, 90]) + torch.arange(6)[:, None] * torch.tensor([5.0, 0, 5, 0])
    there.time[:2] = torch.arange(6) / 25
    there.box[1] = there.box[1].flip(0)  # goes to the left
    there.box[:2, 2] = torch.nan
    found = GeiParts(SUBJECTS, GeiConfig(rows="lower")).vectors(there)
    assert found.shape == (3, 4 * (2 * 18 * 22 + 2))
    for row, shown in enumerate((masks[0], masks[1][:, :, ::-1], masks[2])):  # where the box is not known, nothing is mirrored
        columns = np.arange(44)
        middle = [(frame[36:].sum(axis=0) * columns).sum() / frame[36:].sum() for frame in shown]
        legs = np.zeros(shown.shape, bool)
        for frame, (image, at) in enumerate(zip(shown, middle, strict=True)):
            off = int(np.floor(at - 21))
            for column in range(max(0, -off), min(44, 44 - off)):
                legs[frame, :, column] = image[:, column + off]
        trunk, again, shins, shins_again = found[row].view(4, -1).numpy()
        np.testing.assert_array_equal((trunk, shins), (again, shins_again))
        for part, of, rows in ((trunk, shown, slice(0, 36)), (shins, legs, slice(48, 64))):
            share = of.mean(axis=0)[rows].reshape(-1, 2, 22, 2).mean(axis=(1, 3))
            pixels = share.size
            roots = np.concatenate([np.sqrt(share).ravel(), np.sqrt(1 - share).ravel()])
            np.testing.assert_allclose(part[: 2 * pixels], roots * 5 / np.sqrt(pixels), atol=1e-6)
            assert not part[2 * pixels : -2].any()
            assert np.linalg.norm(part[:-2]) == pytest.approx(5, rel=1e-5)  # the same for everybody


def test_who_comes_straight_is_not_mirrored_by_chance() -> None:
    masks = made_walks.masks(20, 6, 8, 0.0)
    masks[:, :20, :20] = False  # the left half of the head
    still, left, right = (GeiParts(SUBJECTS).vectors(walking(masks, sideways)) for sideways in (0.0, -0.2, 0.2))
    torch.testing.assert_close(left[0, :-2], right[0, :-2])
    torch.testing.assert_close(left[0, :-2], still[0, :-2])
    assert (GeiParts(SUBJECTS).vectors(walking(masks, -2.0)) - left).norm() > 0.5


def test_a_bag_that_moves_the_middle_of_the_body_leaves_the_legs() -> None:
    masks = made_walks.masks(20, 6, 8, 0.0)
    other = np.roll(masks, 5, axis=2)  # as far as the middle moves
    other[:, :36, :10] = True
    one, two = (GeiParts(SUBJECTS).vectors(walking(shown)).view(4, -1) for shown in (masks, other))
    torch.testing.assert_close(one[2:], two[2:])
    assert (one[0] - two[0]).norm() > 0.5


@pytest.mark.parametrize("sideways", [1, -1])
@pytest.mark.parametrize("fps", [25.0, 50.0])
def test_parts_say_from_where_and_at_which_pace_they_were_seen(sideways: int, fps: float) -> None:
    masks = made_walks.masks(20, 6, 8, 0.0)
    speed = 5.0 * 25 / 80  # heights a second
    for broad in (0.0, 0.4, -0.4):
        of = walking(masks, sideways * 125 / fps, broad, fps)
        trunk, _, legs, _ = GeiParts(SUBJECTS).vectors(of)[0].view(4, -1)[:, -2:].numpy()
        assert trunk == pytest.approx([broad / 0.25, 0], abs=1e-4)
        along = np.log(speed / np.sqrt(1 - (broad / 0.8) ** 2)) / 0.25
        assert legs == pytest.approx([broad / 0.25, along], abs=1e-4)
    unknown = GeiParts(SUBJECTS).vectors(clips(masks[None]))[0].view(4, -1)[:, -2:]
    assert not unknown.any()


@pytest.mark.parametrize("step", [9, 12, 16])
@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_whole_cycles_are_two_steps_each(step: int, phase: float) -> None:
    """The legs of a made-up walker are as broad again after half a turn of the sine that swings them."""
    frames = 5 * step
    y, x = np.mgrid[:64, :44]
    swing = 10 * np.sin(phase + np.pi * np.arange(frames) / step)[:, None, None] * np.clip(y - 30, 0, None) / 34
    masks = (np.abs(x - 22 - swing) < 3) | (np.abs(x - 22 + swing) < 3)
    counted = whole_cycles(torch.from_numpy(masks[None]).float())[0]
    assert counted.tolist() == [True] * 4 * step + [False] * step


def test_all_frames_count_where_no_cycle_is_to_be_seen() -> None:
    still = np.zeros((1, 60, 64, 44), bool)
    still[:, :, :, 15:30] = True
    assert whole_cycles(torch.from_numpy(still).float()).all()
    short = torch.from_numpy(made_walks.masks(12, 6, 8, 0.0)[None]).float()
    assert whole_cycles(short).all()
    walk = made_walks.masks(40, 6, 8, 0.0)  # 0.5 radians a frame: a step is 2 pi frames, too short for one
    image = Gei(SUBJECTS, GeiConfig(frames="cycles")).vectors(clips(walk[None]))
    counted = whole_cycles(torch.from_numpy(walk[None]).float())[0].numpy()
    np.testing.assert_allclose(image[0], walk[counted].mean(axis=0).ravel(), atol=1e-6)


def test_discriminants_part_people_and_not_their_walks() -> None:
    """Against LDA by hand, where there is enough data that shrinking hardly matters."""
    rng = np.random.default_rng(0)
    centre = rng.normal(0, 3, (3, 6))
    who = np.repeat(np.arange(3), 400)
    spread = np.diag([1, 1, 2, 2, 1, 1])
    images = centre[who] + rng.normal(size=(1200, 6)) @ spread
    mean, directions = discriminants(images, who, 0.9999)
    assert mean.shape == (6,)
    assert directions.shape == (6, 2)
    np.testing.assert_allclose(mean, images.mean(axis=0), atol=1e-5)
    means = np.stack([images[who == k].mean(axis=0) for k in range(3)])
    within = sum(np.cov(images[who == k].T, bias=True) for k in range(3)) / 3
    between = np.cov(means.T, bias=True)
    values, vectors = np.linalg.eig(np.linalg.solve(within, between))
    best = vectors[:, np.argsort(-values.real)[:2]].real
    overlap = np.linalg.svd(np.linalg.qr(best)[0].T @ np.linalg.qr(directions)[0])[1]
    assert overlap.min() > 0.995  # the same plane
    spread_within = np.cov(((images - means[who]) @ directions).T, bias=True)
    np.testing.assert_allclose(spread_within, np.eye(2), atol=0.15)


def test_lda_is_learnt_from_walks_and_brought_back_by_its_tensors() -> None:
    model = GeiLda(SUBJECTS)
    model.prepare((PACKED.walk(int(row)), int(who)) for row, who in zip(ROWS, WHO, strict=True))
    assert not list(model.parameters())
    vectors = encode(model, PACKED, ROWS, CPU)
    assert vectors.shape == (12, 2)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    same = WHO[:, None] == WHO[None]
    assert apart[same].max() < apart[~same].min()
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-3 * np.abs(vectors).max())  # from the middle of who was learnt
    other = GeiLda(SUBJECTS)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(encode(other, PACKED, ROWS, CPU), vectors)


def test_lda_needs_two_people_and_two_walks_of_somebody() -> None:
    with pytest.raises(UsageError, match="two or more known subjects"):
        GeiLda(("001",))
    with pytest.raises(UsageError, match="two of somebody"):
        GeiLda(SUBJECTS).prepare((PACKED.walk(row), who) for who, row in enumerate((0, 4, 8)))
    with pytest.raises(UsageError, match=r"gei\.variance"):
        GeiConfig(variance=1.0)
