"""A picture as a reviewer's browser gets it: checked by decoding it under limits, and small enough to arrive fast.

What fits is sent as it is, to the byte: making it anew would wipe out the traces that a reviewer looks for.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from moderation.images.decoding import decode

MAX_SIDE = 2048  # pixels: more than most screens show; the real pixels are a key away
MAX_BYTES = 3_000_000
_QUALITY = 92
_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


@dataclass(frozen=True, slots=True)
class Display:
    """A file to show. `width` and `height` are the original's in pixels, turned as it is shown."""

    data: bytes
    media_type: str
    width: int
    height: int
    is_original: bool


def original(data: bytes, *, max_pixels: int) -> Display:
    """The file as it is, once it has proved to be a picture within the limits. Raises ImageRejected."""
    picture, facts = decode(data, max_pixels=max_pixels)
    return Display(data, _TYPES[facts.format], *picture.size, is_original=True)


def display(data: bytes, *, max_pixels: int) -> Display:
    """The file as it is where it is small enough, else a smaller JPEG of it. Raises ImageRejected."""
    picture, facts = decode(data, max_pixels=max_pixels)
    if max(picture.size) <= MAX_SIDE and len(data) <= MAX_BYTES:
        return Display(data, _TYPES[facts.format], *picture.size, is_original=True)
    width, height = picture.size
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    small = io.BytesIO()
    picture.save(small, "JPEG", quality=_QUALITY, subsampling=0)
    return Display(small.getvalue(), "image/jpeg", width, height, is_original=False)
