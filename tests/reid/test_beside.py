import made_walks
import numpy as np
import pytest
import torch

from gaitreid.reid.beside import Beside, scales
from gaitreid.reid.compare import Against, neither
from gaitreid.reid.encoders.gei import GeiParts
from gaitreid.reid.walks import Packed

WALKS = made_walks.walks(3, 4)
PACKED = Packed(WALKS, torch.device("cpu"))
SKELETONS = np.random.default_rng(0).normal(size=(12, 24))
PLAIN = Beside(np.ones(4))
IMAGES = np.stack([PLAIN.images(PACKED.walk(row)) for row in range(12)])


def test_scales_are_mean_distances_between_people() -> None:
    found = scales(SKELETONS, IMAGES)
    for part, vectors in enumerate([SKELETONS, *IMAGES[:, :, :-2].transpose(1, 0, 2)]):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        apart = [np.linalg.norm(unit[i] - unit[j]) for i in range(12) for j in range(12) if i != j]
        assert found[part] == pytest.approx(np.mean(apart), rel=1e-4)


def test_a_distance_is_the_mean_over_skeleton_and_images() -> None:
    beside = Beside(scales(SKELETONS, IMAGES))
    joined = np.stack([beside.join(*both) for both in zip(SKELETONS, IMAGES, strict=True)]).astype(float)
    assert joined.shape == (12, beside.parts * GeiParts.width)
    found = Against(joined, "robust", beside.parts, beside.context)(joined)
    for i, j in ((0, 1), (0, 5), (3, 11)):
        each = []
        for part, (a, b) in enumerate([(SKELETONS[i], SKELETONS[j]), *zip(IMAGES[i], IMAGES[j], strict=True)]):
            context = 2 if part else 0
            own, other = (v[: len(v) - context] for v in (a, b))
            apart = np.linalg.norm(own / np.linalg.norm(own) - other / np.linalg.norm(other)) / beside.scales[part]
            alike = np.exp(-((a[len(own) :] - b[len(own) :]) ** 2).sum())
            each.append(alike * np.log(1 + 20 * apart) + (1 - alike) * np.log(21))
        assert found[i, j] == pytest.approx(np.mean(each), abs=1e-4)


def test_without_silhouettes_the_skeleton_decides() -> None:
    beside = Beside(scales(SKELETONS, IMAGES))
    gallery = np.stack([beside.join(*both) for both in zip(SKELETONS, IMAGES, strict=True)]).astype(float)
    alone = np.stack([beside.join(skeleton, None) for skeleton in SKELETONS]).astype(float)
    unit = SKELETONS / np.linalg.norm(SKELETONS, axis=1, keepdims=True)
    apart = np.log(1 + 20 * np.linalg.norm(unit[:, None] - unit[None], axis=2) / beside.scales[0])
    for probe, others in ((alone, gallery), (gallery, alone), (alone, alone)):
        found = Against(others, "robust", beside.parts, beside.context)(probe)
        np.testing.assert_allclose(found, (apart + 3 * neither("robust")) / 4, atol=2e-3)
