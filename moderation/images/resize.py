"""The original's evaluation path on pixels: shorter side to S, bicubic, then the centre. Bit for bit what it gives.

Random crops and flips belong to training; normalisation to the detector, which knows the prompt's statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_RESIZED_PIXELS = 2**24  # a longer strip than this is cut before resizing, not after: the same but for rounding


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """uint8 [size, size, 3] from an RGB picture."""
    import numpy as np

    return np.array(crop_square(image, size), dtype=np.uint8)


def crop_square(image: Image.Image, size: int) -> Image.Image:
    """The centre `size` x `size` of an RGB picture whose shorter side was brought to `size`."""
    resized = resized_size(image.size, size)
    left, top = (round((side - size) / 2.0) for side in resized)  # half to even, as torchvision does
    if resized[0] * resized[1] > _MAX_RESIZED_PIXELS:
        scale = min(image.size) / size
        box = (left * scale, top * scale, (left + size) * scale, (top + size) * scale)
        return image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return resize_shorter(image, size).crop((left, top, left + size, top + size))


def resize_shorter(image: Image.Image, size: int) -> Image.Image:
    """The whole picture, its shorter side `size` pixels; the same picture if it already is."""
    resized = resized_size(image.size, size)
    return image if resized == image.size else image.resize(resized, Image.Resampling.BICUBIC)


def resized_size(found: tuple[int, int], size: int) -> tuple[int, int]:
    """Width and height after resizing: the longer side is truncated to a whole number, as torchvision does."""
    width, height = found
    short = min(found)
    return int(size * width / short), int(size * height / short)
