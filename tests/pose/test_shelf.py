import numpy as np
import pytest

from gaitreid.pose import shelf
from gaitreid.pose.records import Track2D
from gaitreid.pose.shelf import Shelf
from gaitreid.pose.skeleton import COCO17


def track(length: int) -> Track2D:
    ones = np.ones((length, 17), np.float32)
    return Track2D(
        frame=np.arange(length),
        time=np.arange(length) / 25,
        box=np.full((length, 4), length, np.float32),
        xy=np.full((length, 17, 2), np.nan, np.float32),
        score=ones,
        world=np.zeros((length, 17, 3), np.float32),
        skeleton=COCO17,
    )


@pytest.mark.parametrize("in_memory", [10**6, 10])
def test_records_come_back_in_any_order_from_memory_or_disk(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "IN_MEMORY", in_memory)
    tracks = [track(n) for n in (3, 0, 7)]
    kept: Shelf[Track2D] = Shelf()
    for one in tracks:
        kept.put(one)
    for found, of in ((kept, [0, 1, 2]), (kept.by([2, 0]), [2, 0]), (kept[1:], [1, 2])):
        assert len(found) == len(of)
        for one, place in zip(found, of, strict=True):
            assert one.skeleton == COCO17
            for field in ("frame", "time", "box", "xy", "score", "world"):
                np.testing.assert_array_equal(getattr(one, field), getattr(tracks[place], field))
    assert kept.by([]) == ()


def test_an_order_outlives_the_shelf_that_it_was_made_of() -> None:
    kept: Shelf[Track2D] = Shelf()
    kept.put(track(2))
    order = kept.by([0])
    del kept
    assert len(order[0].frame) == 2
