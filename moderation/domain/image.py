"""What was seen of an image: facts about its bytes, never the bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """`width` and `height` in pixels as stored (before EXIF orientation); `format` as Pillow names it ("JPEG")."""

    sha256: str
    width: int
    height: int
    format: str
    bytes: int
    pdq: str = ""  # its perceptual hash, 64 hexadecimal digits; '' where it has none that could be relied on
