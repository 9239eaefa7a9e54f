import numpy as np
import pytest

from gaitreid.pose.estimate import Place
from gaitreid.pose.records import Silhouettes
from gaitreid.pose.silhouettes import cut_out, in_silhouettes


def body(top: int, left: int, height: int) -> np.ndarray:
    """A mask of an upright body with one arm out to the right, in a picture of 240 x 320."""
    mask = np.zeros((240, 320), np.float32)
    mask[top : top + height, left : left + height // 4] = 1
    mask[top + height // 4 : top + height // 4 + 6, left : left + 3 * height // 8] = 1
    return mask


@pytest.mark.parametrize(("top", "left", "height"), [(10, 30, 64), (3, 100, 200), (40, 200, 131), (120, 5, 70)])
def test_a_point_of_the_mask_is_where_its_pixels_went(top: int, left: int, height: int) -> None:
    mask = body(top, left, height)
    whole = cut_out(mask)
    assert whole is not None
    for row, column in [
        (top + height // 2, left + 3),
        (top + 4, left + height // 8),
        (top + height // 4 + 3, left + height // 4 + 4),
    ]:
        changed = mask.copy()
        changed[row - 2 : row + 3, column - 2 : column + 3] = 0  # a hole, which moves the body by less than a pixel
        marked = cut_out(changed)
        assert marked is not None
        moved = np.round((marked.shift - whole.shift)[0]).astype(int)
        gone = np.clip(np.roll(whole.mask, moved, axis=1).astype(float) - marked.mask, 0, None)
        rows, columns = np.indices(gone.shape)
        middle = np.array([(columns * gone).sum(), (rows * gone).sum()]) / gone.sum()
        np.testing.assert_allclose(np.array([column, row]) * marked.scale + marked.shift, middle, atol=0.35)


def test_the_first_row_and_the_last_are_the_bodys() -> None:
    found = cut_out(body(20, 40, 128))
    assert found is not None
    edges = np.array([[39.5, 19.5], [39.5 + 32, 19.5 + 128]]) * found.scale + found.shift
    np.testing.assert_allclose(edges[:, 1], [-0.5, 63.5])
    assert found.scale == pytest.approx([0.5, 0.5])
    assert (found.mask[:, round(edges[0, 0] + 0.5)] > 0).all()


def test_where_it_lies_in_the_picture_of_which_the_mask_is_a_crop() -> None:
    found = cut_out(body(20, 40, 128))
    assert found is not None
    place = Place(0.5, np.array([-30.0, 12.0]))
    seen = found.seen_from(place)
    point = np.array([150.0, 90.0])
    in_crop = point * place.scale + place.shift
    np.testing.assert_allclose(point * seen.scale + seen.shift, in_crop * found.scale + found.shift)
    assert seen.mask is found.mask


def test_points_of_the_pictures_in_silhouettes() -> None:
    masks = np.zeros((2, 64, 44), np.uint8)
    of = Silhouettes(frame=np.arange(2), mask=masks, scale=np.array([[1, 2], [3, 4]]), shift=np.array([[10, 20], [0, 0]]))
    xy = np.array([[[1, 1], [2, 2]], [[1, 1], [np.nan, 2]]], np.float32)
    np.testing.assert_array_equal(in_silhouettes(xy, of), [[[11, 22], [12, 24]], [[3, 4], [np.nan, 8]]])
    unknown = Silhouettes(frame=np.arange(2), mask=masks)
    assert np.isnan(in_silhouettes(xy, unknown)).all()
