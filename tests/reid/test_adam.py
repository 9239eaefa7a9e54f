"""Adam, against torch's."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from gaitreid.reid.adam import Adam

SHAPES = ((3, 40, 7), (5,), (1, 1), (300, 300))


def pair(steps=0):
    """The same parameters twice, and an optimiser for each: torch's and ours."""
    torch.manual_seed(1)
    ours = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    result = theirs, torch.optim.Adam(theirs, lr=0.01, fused=True), ours, Adam(ours, 0.01, regularisation=0.3, clip=0.5)
    for number in range(steps):
        walk(*result, number)
    return result


def walk(theirs, of_torch, ours, adam, number):
    """One step of both."""
    generator = torch.Generator().manual_seed(number)
    for a, b in zip(theirs, ours, strict=True):
        gradient = torch.randn(a.shape, generator=generator)
        with torch.no_grad():
            a.grad, b.grad = (gradient + 0.3 * a).clamp(-0.5, 0.5), gradient
    of_torch.step()
    adam.step()


def test_it_does_what_torch_does_with_gradients_that_were_added_to_and_cut():
    theirs, _, ours, _ = pair(steps=5)
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-7)


def test_the_rate_may_change():
    theirs, of_torch, ours, adam = pair()
    for number, rate in enumerate((0.01, 0.001)):
        of_torch.param_groups[0]["lr"] = adam.rate = rate
        walk(theirs, of_torch, ours, adam, number)
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("number", [1, 3])
def test_it_goes_on_from_its_own_state_and_from_torchs(number):
    result = theirs, of_torch, ours, _ = pair(steps=3)
    fresh = Adam(ours, 0.01, regularisation=0.3, clip=0.5)
    fresh.load_state_dict(result[number].state_dict())
    walk(theirs, of_torch, ours, fresh, 3)
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-7)


def test_a_loaded_state_is_a_copy():
    _, of_torch, ours, _ = pair(steps=1)
    fresh = Adam(ours, 0.01)
    fresh.load_state_dict(of_torch.state_dict())
    before = of_torch.state_dict()["state"][0]["exp_avg"].clone()
    ours[0].grad = torch.ones(SHAPES[0])
    fresh.step()
    assert torch.equal(of_torch.state_dict()["state"][0]["exp_avg"], before)


def test_what_has_no_gradient_stays():
    parameters = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))]
    adam = Adam(parameters, 0.1, regularisation=1.0)
    adam.step()
    parameters[1].grad = torch.ones(3)
    adam.step()
    assert torch.equal(parameters[0], torch.ones(3))
    assert (parameters[1] < 1).all()
    adam.zero_grad()
    assert parameters[1].grad is None


def test_a_state_of_other_parameters_is_refused():
    *_, adam = pair(steps=1)
    for others in ([nn.Parameter(torch.ones(3))], [nn.Parameter(torch.ones(2)) for _ in SHAPES]):
        with pytest.raises(ValueError, match="other parameters"):
            Adam(others, 0.1).load_state_dict(adam.state_dict())


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, torch; from gaitreid.reid.adam import Adam; p = torch.nn.Linear(2, 2); adam = Adam(p.parameters(), 0.1);"
        "p(torch.ones(1, 2)).sum().backward(); adam.step(); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
