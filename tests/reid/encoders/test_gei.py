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
    return Clips(torch.from_numpy(masks).float(), torch.full((*size, 17, 3), torch.nan), torch.full((*size, 4), torch.nan))


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


def test_parts_are_trunk_and_shins_of_somebody_who_walks_to_the_right() -> None:
    masks = np.random.default_rng(0).random((3, 6, 64, 44)) < 0.4
    there = clips(masks)
    there.box[:2] = torch.tensor([0.0, 10, 30, 90]) + torch.arange(6)[:, None] * torch.tensor([5.0, 0, 5, 0])
    there.box[1] = there.box[1].flip(0)  # goes to the left
    there.box[:2, 2] = torch.nan
    found = GeiParts(SUBJECTS, GeiConfig(rows="lower")).vectors(there)
    assert found.shape == (3, 2 * 2 * 36 * 44)
    for row, shown in enumerate((masks[0], masks[1][:, :, ::-1], masks[2])):  # where the box is not known, nothing is mirrored
        share = shown.mean(axis=0)
        trunk, shins = found[row].view(2, -1).numpy()
        for part, rows in ((trunk, slice(0, 36)), (shins, slice(48, 64))):
            pixels = share[rows].size
            np.testing.assert_allclose(part[:pixels], np.sqrt(share[rows]).ravel(), atol=1e-6)
            np.testing.assert_allclose(part[pixels : 2 * pixels], np.sqrt(1 - share[rows]).ravel(), atol=1e-6)
            assert not part[2 * pixels :].any()
            assert (part**2).sum() == pytest.approx(pixels, rel=1e-5)  # the same for everybody


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
