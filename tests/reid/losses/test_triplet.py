import pytest
import torch

from gaitreid.reid.losses.triplet import triplet_loss

MARGIN = 0.2


def made(strips=3, people=4, each=3, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(strips, people, 1, width, generator=generator)
    embedding = (centre + 0.8 * torch.randn(strips, people, each, width, generator=generator)).flatten(1, 2)
    return embedding.requires_grad_(), torch.arange(people).repeat_interleave(each)


def oracle(embedding, subject, kind):
    """The equations, anchor by anchor and strip by strip."""
    losses = []
    for strip in embedding:
        costs = []
        for a in range(len(subject)):
            positives = [p for p in range(len(subject)) if subject[p] == subject[a] and p != a]
            negatives = [n for n in range(len(subject)) if subject[n] != subject[a]]
            if not positives or not negatives:
                continue
            ap = torch.stack([(strip[a] - strip[p]).norm() for p in positives])
            an = torch.stack([(strip[a] - strip[n]).norm() for n in negatives])
            if kind == "all":
                costs += [torch.relu(MARGIN + p - n) for p in ap for n in an]
            elif kind == "hard":
                costs.append(torch.relu(MARGIN + ap.max() - an.min()))
            else:
                wp, wn = (ap.exp() / ap.exp().sum()).detach(), ((-an).exp() / (-an).exp().sum()).detach()
                costs.append(torch.relu(MARGIN + (wp * ap).sum() - (wn * an).sum()))
        cost = torch.stack(costs)
        losses.append(cost[cost > 0].mean() if kind == "all" and (cost > 0).any() else cost.mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["adaptive", "all", "hard"])
@pytest.mark.parametrize("each", [2, 3])
def test_it_is_what_the_equations_say(kind, each):
    found, subject = made(each=each)
    expected, _ = made(each=each)
    loss, truth = triplet_loss(found, subject, kind, MARGIN), oracle(expected, subject, kind)
    assert truth > 0
    torch.testing.assert_close(loss, truth)
    loss.backward()
    truth.backward()
    torch.testing.assert_close(found.grad, expected.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["all", "hard"])
def test_pytorch_metric_learning_finds_the_same(kind):
    from pytorch_metric_learning import distances, losses, miners, reducers

    embedding, subject = made(people=6, each=4, seed=3)
    distance = distances.LpDistance(normalize_embeddings=False)
    reducer = reducers.AvgNonZeroReducer() if kind == "all" else reducers.MeanReducer()
    theirs = losses.TripletMarginLoss(MARGIN, distance=distance, reducer=reducer)
    mine = miners.BatchHardMiner(distance=distance) if kind == "hard" else lambda *_: None
    each = [theirs(strip, subject, mine(strip, subject)) for strip in embedding.detach()]
    torch.testing.assert_close(triplet_loss(embedding, subject, kind, MARGIN).detach(), torch.stack(each).mean())


@pytest.mark.parametrize("kind", ["adaptive", "all", "hard"])
def test_order_does_not_matter_and_distance_apart_costs_nothing(kind):
    embedding, subject = made()
    order = torch.randperm(len(subject), generator=torch.Generator().manual_seed(1))
    mixed = triplet_loss(embedding[:, order], subject[order], kind, MARGIN)
    torch.testing.assert_close(mixed, triplet_loss(embedding, subject, kind, MARGIN))
    apart = embedding.detach() * 0.01 + 9 * subject[None, :, None]
    assert triplet_loss(apart, subject, kind, MARGIN) == 0


@pytest.mark.parametrize("kind", ["adaptive", "all", "hard"])
def test_anchors_without_company_do_not_count(kind):
    embedding, subject = made(people=3, each=2)
    alone = torch.cat([embedding, embedding[:, :1] + 0.1], dim=1)
    expected = oracle(alone, torch.cat([subject, torch.tensor([9])]), kind)
    torch.testing.assert_close(triplet_loss(alone, torch.cat([subject, torch.tensor([9])]), kind, MARGIN), expected)
    for nobody in (torch.zeros(6, dtype=torch.long), torch.arange(6)):  # all of one person, all of different ones
        loss = triplet_loss(embedding, nobody, kind, MARGIN)
        assert loss == 0
        loss.backward(retain_graph=True)
        assert embedding.grad is not None
        assert torch.isfinite(embedding.grad).all()


@pytest.mark.parametrize("kind", ["adaptive", "all", "hard"])
def test_copies_of_one_clip_have_a_gradient(kind):
    embedding = torch.zeros(2, 4, 3, requires_grad=True)
    loss = triplet_loss(embedding, torch.tensor([0, 0, 1, 1]), kind, MARGIN)
    assert float(loss.detach()) == pytest.approx(MARGIN)
    loss.backward()
    assert embedding.grad is not None
    assert torch.isfinite(embedding.grad).all()


def test_the_hardest_cost_more_than_those_weighed():
    embedding, subject = made(strips=1, people=2, each=4)
    assert triplet_loss(embedding, subject, "adaptive", 9.0) < triplet_loss(embedding, subject, "hard", 9.0)


@pytest.mark.parametrize("kind", ["adaptive", "all", "hard"])
def test_a_step_draws_no_negative_nearer(kind):
    place = torch.tensor([0.0, 1.0, 3.0, 5.0, 9.0])  # two of one person, and others farther and farther to their right
    embedding = torch.stack([place, torch.zeros(5)], dim=1)[None].requires_grad_()
    triplet_loss(embedding, torch.tensor([0, 0, 1, 2, 3]), kind, 99.0).backward()
    assert embedding.grad is not None
    towards = -embedding.grad[0, 2:, 0]
    assert (towards >= 0).all()
    assert towards[0] > 0
