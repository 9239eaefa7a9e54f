"""The k nearest gallery vectors of every probe, exactly, in memory that does not grow with the gallery."""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.reid.compare import NEAR, SATURATING, SATURATION, THREADS, like_with_like, neither, saturated

CHUNK = 2**15  # gallery vectors at a time
PAIRS = 2**24  # distances that torch has at a time
MEASURED = 2**24  # numbers of gallery vectors that a thread holds to measure distances to them
Metric = Literal["cosine", "euclidean", "robust", "alike"]
Who = tuple[IntArray, IntArray]


def search(
    probe: FloatArray,
    gallery: FloatArray,
    k: int,
    metric: Metric = "cosine",
    *,
    parts: int = 1,
    context: int = 0,
    strangers: Who | None = None,
    device: str = "cpu",
) -> tuple[NDArray[np.float32], IntArray]:
    """Exact search; items equally far are in the order of their rows, and which of those as far as the last are found is open.

    On a CPU FAISS does the products and keeps the best, which is two to three times as fast as torch's product and topk; on
    other devices, and for a mean of parts' distances, torch does. What is found is measured again by
    differences, since products lose half the digits of close vectors.

    Args:
        probe, gallery: (P, D), (G, D).
        k: at most G are found.
        parts: stretches of equal length that a vector has; the distance is the mean over them.
        context: numbers at the end of each that say how a walk was seen (`robust`, `alike`).
        strangers: who each probe and gallery item is of (P,), (G,), as numbers: those of the same one are infinitely far.
        device: of torch, such as `cpu` or `cuda:0`.

    Returns:
        Distances (P, k), rising (`reid.compare.Against`), and rows of the gallery (P, k).
    """
    k = min(k, len(gallery))
    summed = metric == "cosine" or (parts == 1 and not context)  # one product gives the whole distance, or its order
    nearest = _faiss if device == "cpu" and summed and strangers is None else _torch
    if not k or not len(probe):
        return np.empty((len(probe), k), dtype=np.float32), np.empty((len(probe), k), dtype=np.int64)
    best: NDArray[np.float32] = np.empty((len(probe), 0), dtype=np.float32)
    rows: IntArray = np.empty((len(probe), 0), dtype=np.int64)
    queries = _prepared(probe, metric, parts)
    for first in range(0, len(gallery), CHUNK):
        chunk = gallery[first : first + CHUNK]
        against = _prepared(chunk, metric, parts)
        who = (strangers[0], strangers[1][first : first + CHUNK]) if strangers else None
        places = nearest(queries, against, min(k, len(chunk)), metric, parts, context, device, who)
        found = _measured(queries, against, places, metric, parts, context)
        if who:
            found[who[1][places] == who[0][:, None]] = np.inf
        best, rows = _merged(best, rows, found, places + first, k)
    return best, rows


def _prepared(vectors: FloatArray, metric: Metric, parts: int) -> NDArray[np.float32]:
    """What the products are taken of; without a copy where it can be done without."""
    if metric != "cosine":
        return np.ascontiguousarray(vectors, dtype=np.float32)
    split = np.ascontiguousarray(vectors, dtype=np.float32).reshape(len(vectors), parts, vectors.shape[1] // parts)
    result = np.empty_like(split)

    def shorten(first: int) -> None:
        block = slice(first, first + 4096)
        length = np.sqrt(np.einsum("npd,npd->np", split[block], split[block]))[:, :, None]
        np.multiply(split[block], 1 / np.where(length > 0, length, 1), out=result[block])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(shorten, range(0, len(split), 4096)))
    return result.reshape(vectors.shape)


def _faiss(
    probe: NDArray[np.float32],
    gallery: NDArray[np.float32],
    k: int,
    metric: Metric,
    parts: int,
    context: int,
    device: str,
    strangers: Who | None,
) -> IntArray:
    import faiss

    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    found: IntArray = faiss.knn(probe, gallery, k, metric=kind)[1]
    return found


def _torch(
    probe: NDArray[np.float32],
    gallery: NDArray[np.float32],
    k: int,
    metric: Metric,
    parts: int,
    context: int,
    device: str,
    strangers: Who | None,
) -> IntArray:
    import torch

    against = torch.as_tensor(gallery, device=device).view(len(gallery), parts, -1).transpose(0, 1)  # (parts, G, d)
    wide = against.shape[2] - context
    size = max(1, PAIRS // len(gallery))
    places = []
    for first in range(0, len(probe), size):
        block = torch.as_tensor(probe[first : first + size], device=device)
        block = block.view(len(block), parts, -1).transpose(0, 1)
        if metric == "cosine":
            distance = -(block @ against.mT).mean(0)
        else:
            apart = torch.cdist(block[..., :wide], against[..., :wide])
            if metric == "robust":
                apart = (SATURATION * apart).log1p_()
            elif metric == "alike":
                apart = 1 - NEAR**2 / (apart**2 + NEAR**2)
            if context:
                known = block[..., :wide].any(2)[:, :, None] & against[..., :wide].any(2)[:, None]
                alike = known * (-(torch.cdist(block[..., wide:], against[..., wide:]) ** 2)).exp()
                apart = alike * apart + (1 - alike) * neither(metric)
            distance = apart.mean(0)
        if strangers:
            of_probe, of_item = (
                torch.as_tensor(who, device=device) for who in (strangers[0][first : first + size], strangers[1])
            )
            distance[of_probe[:, None] == of_item] = torch.inf
        places.append(distance.topk(k, dim=1, largest=False).indices.cpu().numpy())
    return np.concatenate(places)


def _measured(
    probe: NDArray[np.float32], gallery: NDArray[np.float32], rows: IntArray, metric: Metric, parts: int, context: int
) -> NDArray[np.float32]:
    """Distances to these rows (P, k), from differences; unit vectors' 1 - cosine is half the square of theirs."""
    result = np.empty(rows.shape, dtype=np.float32)
    size = min(256, max(1, MEASURED // max(1, rows.shape[1] * probe.shape[1])))

    def measure(first: int) -> None:
        block = slice(first, first + size)
        mine = probe[block].reshape(-1, 1, parts, probe.shape[1] // parts)
        near = gallery[rows[block]].reshape(*rows[block].shape, parts, -1)
        wide = near.shape[3] - context
        known = np.asarray(mine[..., :wide].any(axis=3) & near[..., :wide].any(axis=3))
        near -= mine
        square = np.einsum("bkpd,bkpd->bkp", near[..., :wide], near[..., :wide])
        distance = square / 2 if metric == "cosine" else np.sqrt(square)
        if metric in SATURATING:
            distance = saturated(distance, metric)
        if context:
            distance = like_with_like(distance, np.einsum("bkpd,bkpd->bkp", near[..., wide:], near[..., wide:]), known, metric)
        if metric == "cosine":
            distance[~known] = 1  # a zero vector has no direction
        result[block] = distance.mean(axis=2)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(measure, range(0, len(probe), size)))
    return result


def _merged(
    best: NDArray[np.float32], rows: IntArray, found: NDArray[np.float32], places: IntArray, k: int
) -> tuple[NDArray[np.float32], IntArray]:
    """The k nearest of two lists."""
    distance, row = np.concatenate([best, found], axis=1), np.concatenate([rows, places], axis=1)
    order = np.lexsort((row, distance), axis=1)[:, :k]
    return np.take_along_axis(distance, order, 1), np.take_along_axis(row, order, 1)
