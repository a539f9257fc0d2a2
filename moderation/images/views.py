"""What the detector gets to see of a picture: the whole of it made small, and pieces of it as they are.

Shrinking a large picture to the backbone's few pixels wipes out fine traces; crops at native resolution keep them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moderation.images.resize import square

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Views:
    """uint8 RGB. `whole` [S, S, 3]: shorter side brought to S, centre cut out, the paper's evaluation path.

    `native` [K, S, S, 3]: K cuts that were not resized; None where none were asked for.
    """

    whole: NDArray[np.uint8]
    native: NDArray[np.uint8] | None = None


def views_of(image: Image.Image, size: int, crops: int = 0) -> Views:
    """The views of an RGB picture; S is `size`. A picture narrower than S has only its whole to show, K times."""
    whole = square(image, size)
    return Views(whole, native_crops(image, whole, size, crops) if crops else None)


def native_crops(image: Image.Image, whole: NDArray[np.uint8], size: int, crops: int) -> NDArray[np.uint8]:
    """uint8 [crops, size, size, 3], spread evenly over the picture: the same ones for the same picture."""
    import numpy as np

    if min(image.size) < size or image.size == (size, size):
        return np.repeat(whole[None], crops, axis=0)
    boxes = [(left, top, left + size, top + size) for left, top in places(image.size, size, crops)]
    return np.stack([np.asarray(image.crop(box), dtype=np.uint8) for box in boxes])


def places(found: tuple[int, int], size: int, crops: int) -> list[tuple[int, int]]:
    """(left, top) of each crop: the centre first, then a low-discrepancy sequence (Roberts' R2) over what is left.

    Any number of crops covers the picture about evenly, and more crops contain those of fewer.
    """
    golden = 1.32471795724474602596  # the real root of x**3 = x + 1, R2's constant
    width, height = (side - size for side in found)
    steps = [((0.5 + n / golden) % 1, (0.5 + n / golden**2) % 1) for n in range(crops)]
    return [(round(x * width), round(y * height)) for x, y in steps]
