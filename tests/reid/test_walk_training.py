from typing import Any

import numpy as np
import pytest
import torch
from made_walks import walks
from torch import nn

from gaitreid.pose.arrays import take
from gaitreid.pose.errors import UsageError
from gaitreid.pose.rounds import rounds, steps_done
from gaitreid.reid.adam import Adam
from gaitreid.reid.config import AttentionConfig, GaitGlConfig, GaitTakeConfig, WalksConfig
from gaitreid.reid.encoders.gaitgl import GaitGl
from gaitreid.reid.encoders.gaittake import GaitTake
from gaitreid.reid.walk_training import train
from gaitreid.reid.walks import Packed, Sampler, encode, usable

CPU = torch.device("cpu")
WALKS = walks()
ROWS = np.arange(len(WALKS.video))
SUBJECT = ROWS // 4
TINY: dict[str, Any] = {"channels": (2, 4, 4, 4), "shrink": 4, "partitions": 4, "embed_dim": 8}
STEPS: dict[str, Any] = {
    "people": 3,
    "walks": 2,
    "frames": 6,
    "iterations": 6,
    "every": 2,
    "learning_rate": 1e-3,
    "milestones": (4,),
}


def made(kind=GaitTake, seed=0):
    torch.manual_seed(seed)
    if kind is GaitGl:
        return GaitGl(("1", "2", "3"), GaitGlConfig(**TINY))
    attention = AttentionConfig(hidden=8, pose_hidden=4)
    return GaitTake(("1", "2", "3"), GaitTakeConfig(**TINY, clip_len=3, attention=attention, ce_weight=0.5))


def run(encoder, state=None, stop=None, seed=0, **options):
    losses = []
    config = WalksConfig(**{**STEPS, **options})
    for number, parts, snapshot in train(encoder, Packed(WALKS, CPU), ROWS, SUBJECT, config, CPU, seed, state):
        losses.append(parts)
        state = snapshot()
        if number == stop:
            break
    return losses, state


def weights(encoder):
    return torch.cat([value.flatten().float() for value in encoder.state_dict().values()])


@pytest.mark.parametrize("kind", [GaitGl, GaitTake])
def test_same_seed_same_weights(kind):
    a, b, c = made(kind), made(kind), made(kind)
    losses, _ = run(a)
    run(b)
    run(c, seed=1)
    assert torch.equal(weights(a), weights(b))
    assert not torch.equal(weights(a), weights(c))
    assert [parts["iteration"] for parts in losses] == [2, 4, 6]
    assert {"loss", "triplet", "cross_entropy"} <= set(losses[0])


def test_going_on_equals_no_interruption(tmp_path):
    whole, half = made(), made()
    run(whole)
    _, state = run(half, stop=2)
    torch.save(state, tmp_path / "c.pt")
    resumed = made(seed=5)
    losses, _ = run(resumed, torch.load(tmp_path / "c.pt", weights_only=True))
    assert len(losses) == 1
    assert torch.equal(weights(whole), weights(resumed))


@pytest.mark.parametrize(
    ("iterations", "every", "now_every", "ends"),
    [(4, 3, 3, [7, 9]), (6, 3, 1, [7, 8, 9]), (6, 3, 6, [9])],
)
def test_more_steps_go_on_from_the_last_one(iterations, every, now_every, ends, monkeypatch):
    """However many there are in a round before and after; each is done once."""
    whole, resumed = made(GaitGl), made(GaitGl, seed=5)
    run(whole, iterations=9, every=3)
    _, state = run(made(GaitGl), iterations=iterations, every=every)
    seen = []
    step = Sampler.step

    def watched(self, number):
        seen.append(number)
        return step(self, number)

    monkeypatch.setattr(Sampler, "step", watched)
    losses, last = run(resumed, state, iterations=9, every=now_every)
    assert seen == list(range(iterations, 9))
    assert [parts["iteration"] for parts in losses] == ends
    assert last["epoch"] == rounds(WalksConfig(iterations=9, every=now_every), state) == 2 + len(ends)
    assert torch.equal(weights(whole), weights(resumed))


def test_fewer_steps_than_are_done_are_refused():
    _, state = run(made(GaitGl))
    with pytest.raises(UsageError, match="5 are asked for, and 6 steps are done"):
        run(made(GaitGl), state, iterations=5)


def test_a_snapshot_of_an_earlier_version_names_the_round_alone():
    config = WalksConfig(iterations=5, every=2)
    assert [steps_done({"epoch": number}, config) for number in (1, 2, 3)] == [2, 4, 5]
    assert steps_done(None, config) == 0


def test_the_last_round_may_be_shorter():
    losses, _ = run(made(GaitGl), iterations=5, every=3)
    assert [parts["iteration"] for parts in losses] == [3, 5]
    assert rounds(WalksConfig(iterations=5, every=3)) == 2


def test_the_rate_falls_at_the_milestones(monkeypatch):
    seen: list[float] = []
    step = Adam.step

    def watched(self: Adam) -> None:
        seen.append(self.rate)
        step(self)

    monkeypatch.setattr(Adam, "step", watched)
    run(made(GaitGl), milestones=(2, 5), decay=0.5)
    assert seen == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 5e-4, 2.5e-4])


def test_people_are_learnt_apart():
    encoder = made()
    losses, _ = run(encoder, iterations=60, every=20, learning_rate=5e-3, milestones=())
    assert losses[-1]["loss"] < 0.8 * losses[0]["loss"]
    vectors = encode(encoder, Packed(WALKS, CPU), ROWS, CPU)
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=2) + np.diag(np.full(len(vectors), np.inf))
    assert (SUBJECT[distance.argmin(axis=1)] == SUBJECT).all()


def test_half_precision_is_near_and_losses_are_whole():
    a, b, c = made(GaitGl), made(GaitGl), made(GaitGl)
    (full, _), (half, _) = run(a), run(b, precision="bfloat16")
    run(c, precision="bfloat16")
    assert torch.equal(weights(b), weights(c))
    assert not torch.equal(weights(a), weights(b))
    assert half[0]["loss"] == pytest.approx(full[0]["loss"], rel=0.05)
    assert all(p.dtype == torch.float32 for p in b.parameters())


def test_what_is_encoded_together_does_not_matter(monkeypatch):
    encoder: Any = made()
    packed = Packed(WALKS, CPU)
    encoder.scale.running_mean.uniform_(-1, 1)
    together = encode(encoder, packed, ROWS, CPU)
    monkeypatch.setattr("gaitreid.reid.walks.AT_ONCE", 1)
    np.testing.assert_allclose(encode(encoder, packed, ROWS, CPU), together, atol=1e-5)
    np.testing.assert_allclose(encode(encoder, packed, ROWS[::-1][:5], CPU), together[::-1][:5], atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(encoder.vectors(packed.walk(7))[0], together[7], atol=1e-5)


def test_of_a_very_long_walk_the_first_frames_count(monkeypatch):
    encoder: Any = made()
    monkeypatch.setattr("gaitreid.reid.walks.LONGEST", 25)
    packed = Packed(WALKS, CPU)
    assert packed.seen[:4].tolist() == [24, 25, 25, 25]
    assert packed.length[:4].tolist() == [24, 25, 26, 27]  # training takes clips from all of it
    with torch.no_grad():
        first = encoder.eval().vectors(packed.clips(packed.start[3] + np.arange(25)[None]))
    np.testing.assert_allclose(encode(encoder, packed, ROWS, CPU)[3], first[0], atol=1e-5)


class Mean(nn.Module):
    """Without parameters: what `prepare` took."""

    needs, parts = ("silhouettes",), 1
    mean: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(64, 44))

    def prepare(self, walks):
        seen = [(clips.silhouettes.mean(dim=(0, 1)), who) for clips, who in walks]
        assert [who for _, who in seen] == SUBJECT.tolist()
        self.mean.copy_(torch.stack([mean for mean, _ in seen]).mean(dim=0))

    def vectors(self, clips):
        return (clips.silhouettes.mean(dim=1) - self.mean).flatten(1)


def test_a_model_without_weights_is_only_prepared():
    encoder: Any = Mean()
    losses, state = run(encoder)
    assert losses == [{"loss": 0.0}]
    assert state["epoch"] == 1
    whole = Packed(WALKS, CPU).walk(0).silhouettes.mean(dim=(0, 1))
    assert encoder.mean.max() > 0
    assert not torch.equal(encoder.mean, whole)
    assert encode(encoder, Packed(WALKS, CPU), ROWS, CPU).shape == (12, 64 * 44)


def test_a_model_takes_walks_that_have_what_it_needs():
    few = take(WALKS, "K", slice(3), outlined=np.array([4, 0, 4]), posed=np.array([0, 4, 4]))
    assert usable(few, ("silhouettes",)).tolist() == [True, False, True]
    assert usable(few, ("keypoints",)).tolist() == [False, True, True]
    assert usable(few, ("silhouettes", "keypoints")).tolist() == [False, False, True]
