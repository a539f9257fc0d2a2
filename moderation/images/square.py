"""The original's evaluation path on pixels: shorter side to S, bicubic, then the centre. Bit for bit what it gives.

Random crops and flips belong to training; normalisation to the detector, which knows the prompt's statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = "shorter side, bicubic, centre crop 1"
"""Recorded with each verdict; changes when the same picture would give other pixels."""
_MAX_RESIZED_PIXELS = 2**24  # a longer strip than this is cut before resizing, not after: the same but for rounding


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """uint8 [size, size, 3] from an RGB picture."""
    import numpy as np

    return np.array(crop_square(image, size), dtype=np.uint8)


def crop_square(image: Image.Image, size: int) -> Image.Image:
    """The centre `size` x `size` of an RGB picture whose shorter side was brought to `size`."""
    width, height = image.size
    short = min(width, height)
    resized = (int(size * width / short), int(size * height / short))  # truncates the longer side, as torchvision does
    left, top = (round((side - size) / 2.0) for side in resized)  # half to even, as torchvision does
    if resized[0] * resized[1] > _MAX_RESIZED_PIXELS:
        scale = size / short
        box = (left / scale, top / scale, (left + size) / scale, (top + size) / scale)
        return image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    if resized != image.size:
        image = image.resize(resized, Image.Resampling.BICUBIC)
    return image.crop((left, top, left + size, top + size))
