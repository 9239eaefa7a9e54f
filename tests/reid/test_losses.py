"""Every loss against loops written from the equations, and against cases worked out by hand."""

import math

import pytest
import torch

from gaitreid.reid.losses.contrastive import contrastive_loss
from gaitreid.reid.losses.locality import locality_loss, locality_mask
from gaitreid.reid.losses.reconstruction import reconstruction_loss


def test_reconstruction():
    output, target = torch.randn(5, 3, 6, 4), torch.randn(5, 3, 6, 4)  # (f, axes, J, B)

    def of(b):
        return sum(
            0.5 * float((output[t, d, j, b] - target[t, d, j, b]) ** 2) for d in range(3) for t in range(5) for j in range(6)
        )

    assert float(reconstruction_loss(output, target)) == pytest.approx(sum(map(of, range(4))) / 4, rel=1e-5)
    counts = torch.tensor([True, False, True, False])
    assert float(reconstruction_loss(output, target, counts)) == pytest.approx((of(0) + of(2)) / 2, rel=1e-5)


@pytest.mark.parametrize(("f", "window"), [(6, 6), (6, 2), (5, 4)])
def test_locality_mask(f, window):
    mask = locality_mask(f, window)
    for t in range(1, f + 1):
        place = f - t + 1
        assert mask[t - 1, place - 1] == 1
        for j in range(1, f + 1):
            expected = math.exp(-((j - place) ** 2) / (2 * (window / 2) ** 2)) if abs(j - place) <= window else 0.0
            assert float(mask[t - 1, j - 1]) == pytest.approx(expected, abs=1e-7)


def test_locality():
    attention, mask = torch.rand(3, 2, 4, 4), locality_mask(4, 4)
    a = attention.double()
    slow = sum(
        0.5 * float((a[d, b, t, j] - a[d, b, t, j] * mask[t, j]) ** 2) / 2
        for d in range(3)
        for b in range(2)
        for t in range(4)
        for j in range(4)
    )
    assert float(locality_loss(attention, mask)) == pytest.approx(slow, rel=1e-5)
    assert float(locality_loss(torch.eye(4).flip(0).expand(3, 2, 4, 4), mask)) == 0


def slow_contrastive(z, pairs, temperature, paper):
    """Algorithm 1 in loops: both halves of the batch, partners half the batch apart."""
    interval = z.shape[1] - len(pairs)
    first = [i for i, yes in enumerate(pairs) if yes]
    rows = [i + interval for i in first] + first
    total = 0.0
    for axis in range(z.shape[0]):
        for i in range(len(rows)):
            partner = (i + len(first)) % len(rows)

            def similarity(k, axis=axis, i=i):
                a, b = z[axis, rows[i]], z[axis, rows[k]]
                return float(torch.dot(a, b) / (a.norm() * b.norm())) / temperature

            others = [k for k in range(len(rows)) if k != i and (paper or k == partner or rows[k] != rows[i])]
            total -= (similarity(partner) - math.log(sum(math.exp(similarity(k)) for k in others))) / len(rows)
    return total


@pytest.mark.parametrize("paper", [True, False])
@pytest.mark.parametrize("pairs", [[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 1, 0], [1, 1, 1, 1], [0, 1, 1], [1, 1]])
def test_contrastive_at_every_interval(paper, pairs):
    z = torch.randn(3, 6, 8, dtype=torch.float64)
    fast = contrastive_loss(z, torch.tensor(pairs, dtype=torch.bool), 0.3, paper)
    assert float(fast) == pytest.approx(slow_contrastive(z, pairs, 0.3, paper), rel=1e-9)


@pytest.mark.parametrize("paper", [True, False])
@pytest.mark.parametrize("interval", [1, 2])
def test_contrastive_within_tracks_is_algorithm_1_on_each_weighed_by_its_pairs(paper, interval):
    z, track = torch.randn(3, 10, 8, dtype=torch.float64), torch.tensor([5, 5, 5, 5, 2, 2, 2, 7, 7, 7])
    pairs = track[interval:] == track[:-interval]
    total = count = 0
    for rows in (slice(0, 4), slice(4, 7), slice(7, 10)):
        own = z[:, rows]
        every = [True] * (own.shape[1] - interval)
        total += len(every) * slow_contrastive(own, every, 0.3, paper)
        count += len(every)
    within = contrastive_loss(z, pairs, 0.3, paper, track)
    assert float(within) == pytest.approx(total / count, rel=1e-9)
    assert float(within) < float(contrastive_loss(z, pairs, 0.3, paper))  # which has more negatives


@pytest.mark.parametrize("batch", [2, 5, 128])
def test_identical_embeddings_give_the_logarithm_of_the_rows(batch):
    z = torch.ones(1, batch, 4)
    follows = torch.ones(batch - 1, dtype=torch.bool)
    assert float(contrastive_loss(z, follows, 0.1, paper=True)) == pytest.approx(math.log(2 * batch - 3), abs=1e-5)


def test_no_pairs_no_loss():
    z = torch.randn(3, 4, 5, requires_grad=True)
    loss = contrastive_loss(z, torch.zeros(3, dtype=torch.bool), 0.1, paper=True)
    loss.backward()
    assert float(loss.detach()) == 0
    assert z.grad is not None
    assert not z.grad.any()


@pytest.mark.parametrize("paper", [True, False])
def test_gradients(paper):
    z = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    follows = torch.tensor([True, False, True])
    for track in (None, torch.tensor([0, 0, 1, 1])):
        assert torch.autograd.gradcheck(lambda x, track=track: contrastive_loss(x, follows, 0.5, paper, track), z)
