"""Views: the whole as the paper sees it, and crops that were not resized; none of them holds on to a large picture."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from PIL import Image

from moderation.images import square, views_of
from moderation.images.views import native_crops, places

SIZE = 32


def _picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_without_crops_there_is_the_whole_alone() -> None:
    views = views_of(_picture(90, 70), SIZE)
    assert views.native is None
    assert np.array_equal(views.whole, square(_picture(90, 70), SIZE))


@pytest.mark.parametrize("size", [(90, 70), (SIZE, 200), (33, 32)])
def test_a_native_crop_is_a_piece_of_the_picture_as_it_is(size: tuple[int, int]) -> None:
    picture = _picture(*size)
    pixels = np.asarray(picture)
    native = views_of(picture, SIZE, 5).native
    assert native is not None
    assert native.shape == (5, SIZE, SIZE, 3)
    assert native.dtype == np.uint8
    for (left, top), crop in zip(places(picture.size, SIZE, 5), native, strict=True):
        assert np.array_equal(crop, pixels[top : top + SIZE, left : left + SIZE])


def test_places_stay_inside_start_at_the_centre_and_spread() -> None:
    found = places((1000, 600), SIZE, 16)
    assert found[0] == ((1000 - SIZE) // 2, (600 - SIZE) // 2)
    assert all(0 <= left <= 1000 - SIZE and 0 <= top <= 600 - SIZE for left, top in found)
    quarters = {(left > 484, top > 284) for left, top in found[1:9]}
    assert len(quarters) == 4
    assert len(set(found)) == 16


def test_more_crops_contain_those_of_fewer() -> None:
    picture = _picture(120, 90)
    few, many = views_of(picture, SIZE, 2).native, views_of(picture, SIZE, 9).native
    assert few is not None
    assert many is not None
    assert np.array_equal(many[:2], few)


@pytest.mark.parametrize("size", [(SIZE - 1, 100), (20, 20)])
def test_a_picture_narrower_than_a_crop_shows_its_whole(size: tuple[int, int]) -> None:
    views = views_of(_picture(*size), SIZE, 3)
    assert views.native is not None
    assert all(np.array_equal(crop, views.whole) for crop in views.native)


@pytest.mark.parametrize("size", [(400, 300), (SIZE, SIZE), (20, 20)])
@pytest.mark.parametrize("crops", [0, 3])
def test_views_do_not_hold_on_to_the_picture(size: tuple[int, int], crops: int) -> None:
    picture = _picture(*size)
    gone = weakref.ref(picture)
    views = views_of(picture, SIZE, crops)
    del picture
    gc.collect()
    assert gone() is None
    for pixels in (views.whole, views.native):
        if pixels is not None:
            assert pixels.base is None, "a view into a larger array keeps all of it in memory"
            assert pixels.nbytes == pixels.size


def test_crops_need_no_second_resize() -> None:
    picture = _picture(64, 48)
    whole = square(picture, SIZE)
    native = views_of(picture, SIZE, 2).native
    assert native is not None
    assert np.array_equal(native_crops(picture, whole, SIZE, 2), native)
