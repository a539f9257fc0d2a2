"""Innocent processing: what happens to pictures on their way to a platform. A processed photograph stays real.

Each operation reports the attribute it causes. Both classes draw from the same operations with the same odds.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from moderation.miniature.photographs import Pixels

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_KERNELS = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)
_OPERATIONS = ("blurred", "noisy", "pixelated", "sharpened", "enlarged")
MATCH_STEPS = 8  # halvings of the search for a blur radius or a sharpening strength


def luminance(pixels: Pixels) -> np.ndarray:
    """float32 [..., height, width] in 0..255."""
    return pixels.astype(np.float32) @ _LUMINANCE


def laplacian_variance(pixels: Pixels) -> float:
    """Sharpness: the variance of the 4-neighbour Laplacian of the luminance."""
    grey = luminance(pixels)
    edges = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    return float(edges.var())


def blur(pixels: Pixels, radius: float) -> Pixels:
    """Gaussian blur, standard deviation `radius` in pixels."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def sharpen(pixels: Pixels, radius: float, percent: int) -> Pixels:
    """Unsharp mask."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(radius, percent, threshold=0)))


def add_noise(pixels: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise, `deviation` in grey levels of 255."""
    return np.clip(pixels + rng.normal(0, deviation, pixels.shape), 0, 255).astype(np.uint8)


def enlarge(pixels: Pixels, factor: float, kernel: Image.Resampling) -> Pixels:
    """Shrunk by `factor` and brought back to its size with `kernel`."""
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((round(width / factor), round(height / factor)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), kernel))


def pixelate(pixels: Pixels, factor: int) -> Pixels:
    """Enlarged with the nearest neighbour, so that blocks of `factor` pixels show."""
    return enlarge(pixels, factor, Image.Resampling.NEAREST)


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """The one encoder setting used for both classes everywhere: 4:4:4, Huffman tables optimised."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def through_jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Encoded and decoded again."""
    with Image.open(io.BytesIO(encode_jpeg(pixels, quality))) as image:
        return np.asarray(image.convert("RGB"))


def change_light(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast and saturation, drawn at random."""
    values = pixels.astype(np.float32)
    grey = luminance(pixels)[..., None]
    values = grey + (values - grey) * rng.uniform(0.3, 1.4)
    values = (values - 128) * rng.uniform(0.55, 1.25) + 128 + rng.uniform(-40, 40)
    changed: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return changed


def blur_to(pixels: Pixels, sharpness: float) -> Pixels:
    """Blurred until its Laplacian variance falls to `sharpness`; unchanged if it is no sharper than that."""
    if laplacian_variance(pixels) <= sharpness:
        return pixels
    low, high = 0.0, 4.0
    for _ in range(MATCH_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if laplacian_variance(blur(pixels, middle)) > sharpness else (low, middle)
    return blur(pixels, high)


def sharpen_to(pixels: Pixels, sharpness: float) -> Pixels:
    """Unsharp-masked until its Laplacian variance rises to `sharpness`; unchanged if it is sharper already."""
    if laplacian_variance(pixels) >= sharpness:
        return pixels
    low, high = 0, 600
    for _ in range(MATCH_STEPS):
        middle = (low + high) // 2
        low, high = (middle, high) if laplacian_variance(sharpen(pixels, 1.0, middle)) < sharpness else (low, middle)
    return sharpen(pixels, 1.0, high)


def process(pixels: Pixels, rng: np.random.Generator) -> tuple[Pixels, frozenset[str]]:
    """None, one or two operations at random, then JPEG for half of the pictures; with the attributes they cause."""
    caused: set[str] = set()
    if rng.random() < 0.5:
        pixels = change_light(pixels, rng)
    names = [str(name) for name in rng.permutation(_OPERATIONS)][: rng.choice(3, p=(0.3, 0.5, 0.2))]
    for name in names:
        pixels = _apply(name, pixels, rng)
    caused.update(names)
    if rng.random() < 0.5:
        quality = int(rng.integers(45, 96))
        pixels = through_jpeg(pixels, quality)
        if quality < 85:
            caused.add("compressed")
    return pixels, frozenset(caused)


def _apply(name: str, pixels: Pixels, rng: np.random.Generator) -> Pixels:
    match name:
        case "blurred":
            return blur(pixels, rng.uniform(0.45, 1.6))
        case "noisy":
            return add_noise(pixels, rng.uniform(2, 12), rng)
        case "pixelated":
            return pixelate(pixels, int(rng.integers(2, 4)))
        case "sharpened":
            return sharpen(pixels, rng.uniform(0.6, 1.6), int(rng.integers(60, 220)))
        case _:
            return enlarge(pixels, rng.uniform(1.25, 2.5), _KERNELS[int(rng.integers(len(_KERNELS)))])
