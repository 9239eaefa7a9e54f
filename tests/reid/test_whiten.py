import numpy as np
import pytest

from gaitreid.reid.whiten import FLOOR, moments, whiten

RNG = np.random.default_rng(0)
VECTORS = (RNG.normal(size=(500, 6)) * [9, 3, 1, 1, 0.5, 0.1] + 4) @ np.linalg.qr(RNG.normal(size=(6, 6)))[0]


def test_full_whitening_gives_equal_variances_and_none_only_centres() -> None:
    of = moments(VECTORS)
    flat = np.linalg.eigvalsh(np.cov(whiten(VECTORS, of, 1.0).T))
    assert flat[-1] / flat[1] < 1.5  # all but the one that is below the floor
    np.testing.assert_allclose(whiten(VECTORS, of, 0.0), VECTORS - VECTORS.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("power", [0.3, 0.5, 1.0])
def test_variance_of_each_direction_is_the_power_of_what_it_was(power: float) -> None:
    of = moments(VECTORS)
    values, directions = np.linalg.eigh(of.covariance.astype(float))
    white = whiten(VECTORS, of, power) @ directions
    np.testing.assert_allclose(white.var(axis=0), values * (values / values[-1] + FLOOR) ** -power, rtol=1e-3)


def test_a_common_factor_changes_nothing_for_angles() -> None:
    a, b = whiten(VECTORS, moments(VECTORS), 0.5), whiten(100 * VECTORS, moments(100 * VECTORS), 0.5)
    np.testing.assert_allclose(a / np.linalg.norm(a, axis=1)[:, None], b / np.linalg.norm(b, axis=1)[:, None], atol=1e-4)


def test_a_single_vector_becomes_zero() -> None:
    of = moments(VECTORS[:1])
    np.testing.assert_allclose(whiten(VECTORS[:1], of, 0.5), 0, atol=1e-5)
