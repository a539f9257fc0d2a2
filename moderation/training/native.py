"""Native crops for the pixel expert's training, from files, one picture at a time.

The treatment is drawn without a look at the label, so that it can't give the label away.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from moderation.images import decode, square
from moderation.images.views import native_crops

if TYPE_CHECKING:
    from numpy.typing import NDArray

Look = Callable[[int, "np.random.Generator | None"], "NDArray[np.uint8]"]
"""uint8 [K, S, S, 3]: the native crops of the picture at an index, one where all would be alike; with a generator, one
crop that it draws."""
Treat = Callable[[Image.Image, np.random.Generator], Image.Image]
Read = Callable[[bytes], Image.Image]

_UNTOUCHED = 0.25  # of the pictures
_SHARE = 0.3  # how often each treatment of the others is drawn
_JPEG_SHARE = 0.5
_LIGHT = (0.6, 1.3)  # factors of contrast and of saturation
_SCALE = (0.5, 2.0)  # of a change of size; most pictures are brought back, as a thumbnail shown large is
_BACK_SHARE = 0.7
_SIGMA = (0.3, 1.5)  # pixels of blur
_NOISE = (1.0, 12.0)  # standard deviation, of 255
_SHARPEN = (50, 200)  # percent of an unsharp mask
_QUALITY = (40, 96)  # of JPEG
_KERNELS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def file_crops(
    paths: Sequence[Path], size: int, crops: int, treat: Treat | None = None, read: Read | None = None
) -> Look:
    """A Look at files. `treat`, `robust` if not given, is what a drawn crop's picture meets first.

    read: a file's bytes as an RGB picture; `images.decode` with its defaults if not given. The Look raises
    ImageRejected for a file that is no picture, and OSError for one that is not there.
    """
    decoded = read or _decoded

    def look(index: int, rng: np.random.Generator | None) -> NDArray[np.uint8]:
        image = decoded(paths[index].read_bytes())
        if rng is None:
            has_one = min(image.size) < size or image.size == (size, size)  # place for no other crop
            return native_crops(image, square(image, size), size, 1 if has_one else crops)
        return drawn((treat or robust)(image, rng), size, rng)[None]

    return look


def _decoded(data: bytes) -> Image.Image:
    return decode(data)[0]


def robust(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light, size, blur, noise, sharpening and JPEG, each for some: what pictures meet on their way to a platform.

    What an innocent photograph may have met must be among it, or the expert takes it for a generator's trace.
    """
    if rng.random() < _UNTOUCHED:
        return image
    for treatment in (_light, _resized, _blurred, _noisy, _sharpened):
        if rng.random() < _SHARE:
            image = treatment(image, rng)
    return compressed(image, int(rng.integers(*_QUALITY))) if rng.random() < _JPEG_SHARE else image


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """Through JPEG and back."""
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=quality)
    return Image.open(memory).convert("RGB")


def _light(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(*_LIGHT))
    return ImageEnhance.Color(image).enhance(rng.uniform(*_LIGHT))


def _resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale, kernel = rng.uniform(*_SCALE), _KERNELS[rng.integers(len(_KERNELS))]
    size = image.size
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), kernel)
    return image.resize(size, kernel) if rng.random() < _BACK_SHARE else image


def _blurred(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(*_SIGMA)))


def _noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    noise = rng.normal(0.0, rng.uniform(*_NOISE), pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).round().astype(np.uint8))


def _sharpened(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(rng.uniform(0.6, 1.6), int(rng.integers(*_SHARPEN)), 0))


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
