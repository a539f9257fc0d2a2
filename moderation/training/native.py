"""Native crops for the pixel expert's training, from files, one picture at a time.

The treatment is drawn without a look at the label, so that it can't give the label away.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from moderation.images import decode, square
from moderation.images.views import native_crops

if TYPE_CHECKING:
    from numpy.typing import NDArray

Look = Callable[[int, "np.random.Generator | None"], "NDArray[np.uint8]"]
"""uint8 [K, S, S, 3]: the native crops of the picture at an index; with a generator, one crop that it draws."""
Treat = Callable[[Image.Image, np.random.Generator], Image.Image]

_SHARE = 0.3  # how often each treatment is drawn: about a third of the pictures stay as they are
_SCALE = (0.5, 1.5)  # of a change of size; half of the pictures are brought back, as a thumbnail shown large is
_SIGMA = (0.3, 1.2)  # pixels of blur
_SHARPEN = (50, 150)  # percent of an unsharp mask
_QUALITY = (40, 96)  # of JPEG
_KERNELS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def file_crops(paths: Sequence[Path], size: int, crops: int, treat: Treat | None = None) -> Look:
    """A Look at files. `treat`, `robust` if not given, is what a drawn crop's picture meets first.

    The Look raises ImageRejected for a file that is no picture, and OSError for one that is not there.
    """

    def look(index: int, rng: np.random.Generator | None) -> NDArray[np.uint8]:
        image, _ = decode(paths[index].read_bytes())
        if rng is None:
            return native_crops(image, square(image, size), size, crops)
        return drawn((treat or robust)(image, rng), size, rng)[None]

    return look


def robust(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A change of size, blur, sharpening and JPEG, each for some: what pictures meet on their way to a platform."""
    use = rng.random(4) < _SHARE
    scale, sigma, back = rng.uniform(*_SCALE), rng.uniform(*_SIGMA), rng.random()
    percent, quality = (int(rng.integers(*span)) for span in (_SHARPEN, _QUALITY))
    kernel = _KERNELS[rng.integers(len(_KERNELS))]
    if use[0]:
        size = image.size
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), kernel)
        image = image.resize(size, kernel) if back < 0.5 else image
    if use[1]:
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    if use[2]:
        image = image.filter(ImageFilter.UnsharpMask(1.0, percent, 0))
    if use[3]:
        memory = io.BytesIO()
        image.save(memory, "JPEG", quality=quality)
        image = Image.open(memory).convert("RGB")
    return image


def drawn(image: Image.Image, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [size, size, 3]: a crop at any place, turned and mirrored at will; a picture too narrow gives its whole."""
    left, top, turns, mirrored = rng.random(4)
    if min(image.size) < size:
        pixels = square(image, size)
    else:
        x, y = (int(share * (side - size + 1)) for share, side in zip((left, top), image.size, strict=True))
        pixels = np.asarray(image.crop((x, y, x + size, y + size)), dtype=np.uint8)
    pixels = np.rot90(pixels, int(turns * 4))
    return np.ascontiguousarray(pixels[:, ::-1] if mirrored < 0.5 else pixels)
