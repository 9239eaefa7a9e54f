import numpy as np
import pytest

from gaitreid.pose.metrics import joint_errors, mpjpe, nmpjpe, pmpjpe, scaled, velocity_error

RNG = np.random.default_rng(0)


def test_hand_worked():
    truth = np.zeros((1, 2, 3))
    found = np.array([[[1.0, 0, 0], [1.0, 3, 4]]])
    assert joint_errors(found, truth).tolist() == [[1.0, np.sqrt(26)]]
    assert mpjpe(found, truth) == 2.5  # the root agrees after alignment, the other is 5 off


def test_missing_joints_are_left_out():
    truth = np.zeros((1, 3, 3))
    found = np.array([[[0.0, 0, 0], [3.0, 0, 0], [np.nan] * 3]])
    assert mpjpe(found, truth) == 1.5


def test_procrustes_undoes_similarities_but_no_mirror():
    truth = RNG.normal(size=(4, 17, 3))
    q, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    assert pmpjpe(2.5 * truth @ q + 7, truth) < 1e-9
    assert pmpjpe(truth * [-1, 1, 1], truth) > 0.1


def test_nmpjpe_takes_the_best_scale_of_every_frame():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(6, 5, 3))
    sizes = rng.uniform(0.5, 2, (6, 1, 1))
    assert nmpjpe(sizes * truth + [1.0, 2.0, 3.0], truth) == pytest.approx(0, abs=1e-9)
    found = truth + rng.normal(0, 0.2, truth.shape)
    a, b = found - found[:, :1], truth - truth[:, :1]
    slow = []
    for x, y in zip(a, b, strict=True):  # the scale by search, not by formula
        grid = np.linspace(0.3, 2, 20001)
        best = grid[[((g * x - y) ** 2).sum() for g in grid].index(min(((g * x - y) ** 2).sum() for g in grid))]
        slow.append(np.linalg.norm(best * x - y, axis=-1).mean())
    assert nmpjpe(found, truth) == pytest.approx(np.mean(slow), rel=1e-3)


def test_missing_joints_do_not_count():
    truth = np.random.default_rng(0).normal(size=(3, 4, 3))
    found = 2 * truth
    found[1, 2] = np.nan
    assert nmpjpe(found, truth) == pytest.approx(0, abs=1e-9)
    assert np.isnan(scaled(found, truth)[1, 2]).all()


def test_velocity_error_is_that_of_the_differences():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(9, 4, 3))
    assert velocity_error(truth + 7.0, truth, 25.0) == pytest.approx(0, abs=1e-9)
    drift = np.zeros_like(truth)
    drift[:, 1, 0] = 0.1 * np.arange(9)  # one joint of four drifts by 0.1 a frame
    assert velocity_error(truth + drift, truth, 25.0) == pytest.approx(0.1 * 25 / 4)
