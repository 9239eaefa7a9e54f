import numpy as np

from gaitreid.pose.metrics import joint_errors, mpjpe, pmpjpe

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
