"""What happens to a training picture before it is scored. Every draw is a function of seed, epoch and picture alone.

Nothing is drawn by class: what tells real from fake must be in the pictures, not in how they were treated.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from moderation.images.resize import resize_shorter, square
from moderation.training.plan import Augment

_KERNELS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
_SHARE = 0.5  # how often each operation is drawn. A convention: a picture meets 2 of 4 on average
_KEPT = (0.6, 1.0)  # of the shorter side that a crop keeps
_SCALE = (0.5, 1.5)  # of a round trip through another size; the range of `modctl eval --robustness`
_SIGMA = (0.3, 1.5)  # pixels of blur at the backbone's resolution
_QUALITY = (30, 95)  # of JPEG; the range of `modctl eval --robustness`
_ROOM = 1.15  # the shorter side over S before the last crop, so that it has somewhere to go


def number(*parts: object) -> int:
    """A seed below 2**63 for what `parts` name: the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def view(
    image: Image.Image, size: int, kind: Augment, *, seed: int, epoch: int, index: int, group: str
) -> NDArray[np.uint8]:
    """uint8 [size, size, 3] of an RGB picture. group: pictures of one group are treated alike by `robust`."""
    if kind == "none":
        return square(image, size)
    if kind == "paper":
        return paper(image, size, torch.Generator().manual_seed(number(seed, epoch, index)))
    return robust(image, size, np.random.default_rng(number(seed, epoch, group)))


def paper(image: Image.Image, size: int, random: torch.Generator) -> NDArray[np.uint8]:
    """The original's: shorter side to `size`, a random crop (nothing is drawn where it already fits), a random flip."""
    picture = resize_shorter(image, size)
    width, height = picture.size
    top = left = 0
    if (width, height) != (size, size):
        top = int(torch.randint(0, height - size + 1, (1,), generator=random))
        left = int(torch.randint(0, width - size + 1, (1,), generator=random))
    crop = picture.crop((left, top, left + size, top + size))
    if bool(torch.rand(1, generator=random) < 0.5):
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(crop, dtype=np.uint8)


def robust(image: Image.Image, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random crop, round trip through another size, blur and JPEG, each in half of the pictures; then crop and flip.

    They act at the backbone's resolution, where a large picture would hide them again on being made small. All numbers
    are drawn whether used or not, so that two pictures with equal generators are treated alike.
    """
    use = rng.random(4) < _SHARE
    kept, x, y, scale, sigma = rng.random(5)
    kernel, quality = _KERNELS[rng.integers(len(_KERNELS))], int(rng.integers(_QUALITY[0], _QUALITY[1] + 1))
    right, down, flip = rng.random(3)
    picture = _cropped(image, _within(_KEPT, kept), x, y) if use[0] else image
    picture = resize_shorter(picture, round(size * _ROOM))
    if use[1]:
        picture = _there_and_back(picture, _within(_SCALE, scale), kernel)
    if use[2]:
        picture = picture.filter(ImageFilter.GaussianBlur(_within(_SIGMA, sigma)))
    if use[3]:
        picture = _jpeg(picture, quality)
    left, top = (round(share * (side - size)) for share, side in zip((right, down), picture.size, strict=True))
    crop = picture.crop((left, top, left + size, top + size))
    if flip < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(crop, dtype=np.uint8)


def _within(span: tuple[float, float], share: float) -> float:
    return span[0] + (span[1] - span[0]) * float(share)


def _cropped(image: Image.Image, kept: float, x: float, y: float) -> Image.Image:
    width, height = (max(1, round(side * kept)) for side in image.size)
    left, top = round(x * (image.width - width)), round(y * (image.height - height))
    return image.crop((left, top, left + width, top + height))


def _there_and_back(image: Image.Image, scale: float, kernel: Image.Resampling) -> Image.Image:
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), kernel)
    return small.resize(image.size, kernel)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=quality)
    return Image.open(memory).convert("RGB")
