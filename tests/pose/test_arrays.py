import numpy as np
import pytest

from gaitreid.pose.arrays import take
from gaitreid.pose.errors import ItemError, ShapeError
from gaitreid.pose.records import Silhouettes


def masks(frames=3, height=64, dtype=np.uint8):
    return Silhouettes(frame=np.arange(frames), mask=np.zeros((3, height, 44), dtype))


def test_wrong_sizes_name_field_axis_and_sizes():
    with pytest.raises(ShapeError, match=r"mask: axis 0 \(T\) is 3, expected 2"):
        masks(frames=2)
    with pytest.raises(ShapeError, match=r"mask: axis 1 \(64\) is 60, expected 64"):
        masks(height=60)
    with pytest.raises(ShapeError, match=r"shape \(3,\), expected axes"):
        Silhouettes(frame=np.arange(3), mask=np.zeros(3, np.uint8))


def test_unsafe_dtypes_are_refused_and_safe_ones_converted():
    with pytest.raises(ShapeError, match="dtype is float64"):
        masks(dtype=np.float64)
    assert masks().frame.dtype == np.int64


def test_arrays_that_may_be_left_away_have_the_size_of_the_others():
    assert masks().scale.shape == (3, 2)
    assert np.isnan(masks().shift).all()
    with pytest.raises(ShapeError, match=r"scale: axis 0 \(T\) is 2, expected 3"):
        Silhouettes(frame=np.arange(3), mask=np.zeros((3, 64, 44), np.uint8), scale=np.zeros((2, 2)))


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        masks().frame = np.arange(3)


def test_take_goes_along_every_axis_of_that_name():
    part = take(masks(), "T", slice(1, None))
    assert part.frame.tolist() == [1, 2]
    assert part.mask.shape == (2, 64, 44)


def test_item_errors_survive_a_process_border():
    import pickle

    error = pickle.loads(pickle.dumps(ItemError("no-person", "nobody")))
    assert (error.reason, str(error)) == ("no-person", "nobody")
