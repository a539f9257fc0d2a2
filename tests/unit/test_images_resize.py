"""Resizing and cropping. That it equals the original's path bit for bit is in the golden tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderation.images import resize, square


def _picture(width: int, height: int) -> Image.Image:
    ramp = np.linspace(0, 255, width * height).astype(np.uint8).reshape(height, width)
    return Image.fromarray(ramp).convert("RGB")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([14, 28, 56]))
def test_any_size_becomes_the_square_that_was_asked_for(width: int, height: int, size: int) -> None:
    pixels = square(_picture(width, height), size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    picture = _picture(56, 56)
    assert np.array_equal(square(picture, 56), np.asarray(picture))


@pytest.mark.parametrize(
    ("size", "expected"), [((227, 224), (227, 224)), ((301, 201), (335, 224)), ((97, 64), (339, 224))]
)
def test_the_longer_side_is_truncated(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resize.resized_size(size, 224) == expected


@pytest.mark.parametrize(("width", "height"), [(3000, 40), (40, 3000)])
def test_a_long_strip_is_cut_first_and_looks_the_same(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = _picture(width, height)
    whole = square(picture, 56).astype(int)
    monkeypatch.setattr(resize, "_MAX_RESIZED_PIXELS", 56 * 56)
    assert int(np.abs(square(picture, 56).astype(int) - whole).max()) <= 1


def test_the_longest_strip_takes_no_memory() -> None:
    assert square(Image.new("RGB", (200_000, 16), "red"), 224)[0, 0].tolist() == [255, 0, 0]
