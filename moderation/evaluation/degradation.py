"""What happens to a picture on its way through the web, one function each. RGB in, RGB out, no side below 16 pixels.

Nothing here knows truths or scores. Chance comes from the generator that is passed in, so a picture always fares alike.
JPEG is Pillow's with its defaults (4:2:0), WebP lossy; resizing is Pillow's, which smooths when it shrinks.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

MIN_SIDE = 16  # pixels: what moderation.images.decoding asks of an uploaded picture

KERNELS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Written as JPEG and read again."""
    return _written(image, "JPEG", quality=quality)


def webp(image: Image.Image, quality: int) -> Image.Image:
    """Written as lossy WebP and read again."""
    return _written(image, "WEBP", quality=quality)


def lossless(image: Image.Image) -> Image.Image:
    """Written as PNG without any metadata and read again: the same pixels, nothing else."""
    bare = Image.fromarray(np.asarray(image))
    return _written(bare, "PNG", compress_level=1)


def double_jpeg(image: Image.Image, first: int, second: int, rng: np.random.Generator) -> Image.Image:
    """Two JPEGs whose 8 x 8 grids do not meet: 1 to 7 pixels are cut off the left and the top in between."""
    left, top = (_spared(side, int(rng.integers(1, 8))) for side in image.size)
    return jpeg(jpeg(image, first).crop((left, top, *image.size)), second)


def resize(image: Image.Image, factor: float, kernel: Image.Resampling) -> Image.Image:
    """Both sides times `factor`."""
    width, height = (max(round(side * factor), min(side, MIN_SIDE)) for side in image.size)
    return image.resize((width, height), kernel)


def thumbnail(image: Image.Image, factor: float) -> Image.Image:
    """Shrunk by `factor` and brought back to its size, both bicubic."""
    return resize(image, factor, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)


def blur(image: Image.Image, sigma: float) -> Image.Image:
    """Gaussian; `sigma` in pixels."""
    return image.filter(ImageFilter.GaussianBlur(sigma))


def noise(image: Image.Image, sigma: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian, every channel for itself; `sigma` in steps of 255."""
    pixels = np.asarray(image, dtype=np.float32)
    drawn = rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(np.rint(pixels + sigma * drawn), 0, 255).astype(np.uint8))


def crop(image: Image.Image, share: float, rng: np.random.Generator | None = None) -> Image.Image:
    """`share` of each side: the centre, or anywhere if `rng` is given."""
    kept = [max(round(side * share), min(side, MIN_SIDE)) for side in image.size]
    spare = [side - inner for side, inner in zip(image.size, kept, strict=True)]
    left, top = ((room // 2 if rng is None else int(rng.integers(0, room + 1))) for room in spare)
    return image.crop((left, top, left + kept[0], top + kept[1]))


def laundered(image: Image.Image, longest: int, quality: int) -> Image.Image:
    """As a platform serves it: the longer side brought down to `longest` pixels (never up), then one JPEG."""
    factor = min(longest / max(image.size), 1.0)
    return jpeg(resize(image, factor, Image.Resampling.LANCZOS), quality)


def _spared(side: int, offset: int) -> int:
    return max(min(offset, side - MIN_SIDE), 0)


def _written(image: Image.Image, form: str, **options: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    with Image.open(buffer) as read:
        return read.convert("RGB")
