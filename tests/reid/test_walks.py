from dataclasses import replace

import numpy as np
import pytest
import torch
from made_walks import masks, walks

from gaitreid.pose.arrays import take
from gaitreid.pose.errors import UsageError
from gaitreid.reid.config import WalksConfig
from gaitreid.reid.walks import HIPS, Clips, Packed, Sampler, body_keypoints

CPU = torch.device("cpu")


def sampler(start, length, subject, seed=0, **options):
    config = WalksConfig(**{"people": 3, "walks": 2, "frames": 6, **options})
    return Sampler(np.array(start), np.array(length), np.array(subject), config, seed)


def test_what_is_unpacked_is_what_was_packed():
    whole = masks(9, 6, 8, 1.0)
    one = walks(1, 2, 9)
    packed = Packed(
        take(one, "F", slice(None), silhouette=np.packbits(np.resize(whole, (19, 64, 44)).reshape(19, -1), axis=1)), CPU
    )
    clips = packed.clips(np.array([[0, 3, 5], [8, 8, 0]]))
    assert clips.silhouettes.shape == (2, 3, 64, 44)
    assert clips.silhouettes.dtype == torch.float32
    np.testing.assert_array_equal(clips.silhouettes[0], whole[[0, 3, 5]])
    np.testing.assert_array_equal(clips.silhouettes[1], whole[[8, 8, 0]])
    np.testing.assert_array_equal(clips.keypoints[1, 0], one.keypoints[8])


def test_a_step_holds_p_people_with_k_walks_and_frames_in_a_row():
    start, length = np.arange(12) * 20, np.full(12, 20)
    subject = np.repeat(np.arange(4), 3)
    of = sampler(start, length, subject)
    seen = set()
    for step in range(60):
        rows, who = of.step(step)
        assert rows.shape == (6, 6)
        assert (np.diff(rows, axis=1) == 1).all()
        walk = rows // 20
        assert (walk == walk[:, :1]).all()
        assert (subject[walk[:, 0]] == who).all()
        assert len(set(walk[:, 0].tolist())) == 6  # enough walks: none twice
        assert len(set(who.tolist())) == 3
        assert (who.reshape(3, 2) == who.reshape(3, 2)[:, :1]).all()
        seen |= set(rows[:, 0] % 20)
    assert seen == set(range(15))  # every place where a clip can begin, the last one too


def test_the_seed_and_the_number_of_the_step_decide():
    def of(seed, step):
        return sampler(np.arange(12) * 20, np.full(12, 20), np.repeat(np.arange(4), 3), seed).step(step)[0].tolist()

    assert of(0, 7) == of(0, 7)
    assert of(0, 7) != of(0, 8)
    assert of(0, 7) != of(1, 7)


def test_short_walks_are_repeated_and_few_walks_drawn_again():
    rows, who = sampler([0, 4, 10], [4, 6, 6], [0, 1, 1], people=8, walks=3).step(0)
    assert sorted(who.tolist()) == [0, 0, 0, 1, 1, 1]  # two people are there, not eight
    assert rows[who == 0].tolist() == [[0, 1, 2, 3, 0, 1]] * 3
    assert set(rows[who == 1][:, 0].tolist()) <= {4, 10}


def test_one_person_teaches_nothing():
    with pytest.raises(UsageError, match="two or more known subjects"):
        sampler([0, 9], [9, 9], [4, 4])


def test_keypoints_are_of_the_body_and_not_of_the_picture():
    keypoints = torch.rand(2, 3, 17, 3) * 50 + 10
    keypoints[..., 2] = 0.8
    box = torch.tensor([5.0, 10.0, 45.0, 90.0]).expand(2, 3, 4)
    there = Clips(torch.zeros(2, 3, 64, 44), keypoints, box, torch.zeros(2, 3))
    here = body_keypoints(there)
    moved = keypoints * torch.tensor([2.0, 2, 1]) + torch.tensor([7.0, -3, 0])
    other = body_keypoints(replace(there, keypoints=moved, box=box * 2 + torch.tensor([7.0, -3, 7, -3])))
    torch.testing.assert_close(here, other, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(here[..., HIPS, :2].mean(dim=-2), torch.zeros(2, 3, 2), atol=1e-6, rtol=0)
    a, b = (keypoints[0, 0, k, :2] for k in (0, 15))
    torch.testing.assert_close(here[0, 0, 15, :2] - here[0, 0, 0, :2], (b - a) / 80)


def test_missing_joints_are_zero_with_score_zero():
    keypoints = torch.full((1, 3, 17, 3), 40.0)
    keypoints[..., 2] = 0.5
    keypoints[0, 0, 3] = torch.tensor([torch.nan, torch.nan, 0])
    keypoints[0, 1, HIPS] = torch.tensor([torch.nan, torch.nan, 0])
    keypoints[0, 2] = torch.tensor([torch.nan, torch.nan, 0])
    box = torch.tensor([10.0, 0, 50, 80]).repeat(1, 3, 1)
    box[0, 2] = torch.nan
    found = body_keypoints(Clips(torch.zeros(1, 3, 64, 44), keypoints, box, torch.zeros(1, 3)))
    assert found[0, 0, 3].tolist() == [0, 0, 0]
    assert found[0, 1, 0].tolist() == [10 / 80, 0, 0.5]  # from the middle of the box, as no hip is seen
    assert not found[0, 2].any()
    assert torch.isfinite(found).all()
