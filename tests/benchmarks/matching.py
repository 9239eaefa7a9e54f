"""Matching at the size of CASIA-B and of a million: search against faiss-cpu's flat index, and all figures, in one run.

    matching.py [--tracks 13640] [--large 1000000] [--threads N] [--rounds 3]

Made-up vectors of 256 numbers. `faiss` is IndexFlatL2 (the index is built beforehand and not counted), `ours` is
`gaitreid.reid.search` with the Euclidean distance; rounds alternate and the fastest counts. The figures are everything that
metrics.json holds. Memory is what the process takes above the vectors. Last line: one JSON object with the same figures.
"""

import argparse
import json
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import rank
from gaitreid.reid.metrics import evaluate
from gaitreid.reid.records import Embeddings
from gaitreid.reid.search import search

DIMS, TOP, PEOPLE, VIEWS = 256, 10, 124, 11


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=13_640)
    parser.add_argument("--large", type=int, default=1_000_000, help="gallery of the second search")
    parser.add_argument("--probes", type=int, default=1_000, help="probes of the second search")
    parser.add_argument("--threads", type=int, default=0, help="of faiss (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.threads:
        faiss.omp_set_num_threads(options.threads)
    of = made_up(options.tracks)
    peak = Peak()
    first = compared(of.vector, of.vector, options.rounds)
    with peak:
        search(of.vector, of.vector, TOP, "euclidean")
        began = time.perf_counter()
        every = np.arange(len(of.vector))
        evaluate(rank(of, every, every, MatchConfig(metric="euclidean")))
        figures = time.perf_counter() - began
    rng = np.random.default_rng(1)
    gallery = rng.standard_normal((options.large, DIMS), dtype=np.float32)
    probe = rng.standard_normal((options.probes, DIMS), dtype=np.float32)
    with peak:
        search(probe, gallery, TOP, "euclidean")
    second = compared(probe, gallery, options.rounds)
    result = {
        "search_13640": first,
        "search_1m": second,
        "metrics_13640_seconds": figures,
        "metrics_over_search": figures / first["ours"],
        "peak_rss_mb": peak.megabytes,
    }
    print(f"{'':34}{'ours':>10}{'faiss':>10}{'ratio':>8}  limit")
    for name, row in ((f"{options.tracks:,} x {options.tracks:,}", first), (f"{options.probes:,} x {options.large:,}", second)):
        print(f"top {TOP} of {name:27}{row['ours']:9.2f}s{row['faiss']:9.2f}s{row['ours'] / row['faiss']:8.2f}  1.1")
    print(f"{'all figures':34}{figures:9.2f}s{'':10}{figures / first['ours']:8.1f}  10 searches")
    print(f"memory above the vectors: {peak.megabytes:.0f} MB (limit 1000)")
    print(json.dumps(result))


def compared(probe: np.ndarray, gallery: np.ndarray, rounds: int) -> dict[str, float]:
    """Seconds of both, the fastest of the rounds, which alternate."""
    index = faiss.IndexFlatL2(DIMS)
    index.add(gallery)
    kinds: dict[str, Callable[[], Any]] = {
        "ours": lambda: search(probe, gallery, TOP, "euclidean"),
        "faiss": lambda: index.search(probe, TOP),
    }
    best = dict.fromkeys(kinds, float("inf"))
    for _ in range(rounds):
        for name, run in kinds.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


class Peak:
    """The most memory that a block takes above what the process held before it."""

    def __init__(self) -> None:
        self.megabytes = 0.0

    def __enter__(self) -> None:
        self._before, self._most, self._ended = _resident(), 0.0, threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()
        self.megabytes = max(self.megabytes, self._most - self._before)

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            self._most = max(self._most, _resident())


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def made_up(tracks: int) -> Embeddings:
    """CASIA-B's layout, as far as `tracks` goes: 124 people, nm 1 to 6, bg and cl 1 and 2, 11 views."""
    conditions = [("nm", n) for n in range(1, 7)] + [("bg", 1), ("bg", 2), ("cl", 1), ("cl", 2)]
    walks = [(s, c, n, v) for s in range(PEOPLE) for c, n in conditions for v in range(VIEWS)]
    walks = (walks * (tracks // len(walks) + 1))[:tracks]
    rng = np.random.default_rng(0)
    who = rng.standard_normal((PEOPLE, DIMS))
    person = np.array([walk[0] for walk in walks])
    vector = (who[person] + 1.5 * rng.standard_normal((tracks, DIMS))).astype(np.float32)
    return Embeddings(
        video=np.array([f"{k}" for k in range(tracks)]),
        track=np.ones(tracks, dtype=np.int64),
        subject=np.array([f"{s + 1:03}" for s in person]),
        condition=np.array([w[1] for w in walks]),
        number=np.array([f"{w[2]:02}" for w in walks]),
        view=np.array([f"{18 * w[3]:03}" for w in walks]),
        recording=np.array([f"{w[0]}/{w[1]}/{w[2]}" for w in walks]),
        window=vector[:1],
        window_track=np.zeros(1, dtype=np.int64),
        window_frame=np.zeros((1, 2), dtype=np.int64),
        vector=vector,
        encoder="made up",
        weights="",
        form="mean",
    )


if __name__ == "__main__":
    main()
