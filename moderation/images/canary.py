"""The canary pictures: made of whole numbers alone, so that their bytes are the same on every machine.

Together they need every step from bytes to the detector's input: decoding grey and colour, turning as EXIF says,
enlarging, making small, cutting out the centre. They show nothing; what matters is that a detector answers the same
each time.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMES = ("small", "turned", "grey", "wide", "tall", "large")
"""What each picture is there for, in their order."""
_STORED_BYTES = 65_535  # what a block that is not compressed can hold
# A TIFF of one entry: orientation (0x0112) is 6, a quarter turn.
_EXIF_TURNED = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)


@cache
def pictures() -> tuple[bytes, ...]:
    """The PNG files, in the order of NAMES."""
    return tuple(_png(pixels, _EXIF_TURNED if name == "turned" else b"") for name, pixels in _drawn())


@cache
def pictures_sha256() -> str:
    """The hash of all of them: answers to other pictures don't compare."""
    return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in pictures())).hexdigest()


def _drawn() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """uint8 [H, W, 3], or [H, W] for the grey one. Odd sides, so that roundings show."""
    yield "small", _colour(97, 83, 3)
    yield "turned", _colour(211, 139, 5)
    yield "grey", _grey(149, 197)
    yield "wide", _colour(331, 129, 11)
    yield "tall", _colour(131, 277, 13)
    yield "large", _colour(617, 431, 17)


def _colour(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Slopes, tiles and a noise of a linear congruence, different on all sides and in each channel."""
    import numpy as np

    x, y, noise = _places(width, height, seed)
    slope = x * 160 // width + y * 80 // height
    tile = ((x // (seed + 3)) * 5 + (y // (seed + 6)) * 3) % 7 * 6
    channels = [slope * (channel + 2) // 3 + tile * (3 - channel) + noise + 40 * channel for channel in range(3)]
    return (np.stack(channels, axis=-1) % 256).astype(np.uint8)


def _grey(width: int, height: int) -> NDArray[np.uint8]:
    """A slope with noise: tiles of one grey would make a detector too sure to notice a small change."""
    import numpy as np

    x, y, noise = _places(width, height, 7)
    return (x * 160 // width + y * 80 // height + noise).astype(np.uint8)


def _places(width: int, height: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Column, row and a noise of 0 to 12 of each pixel, int64 [height, width]."""
    import numpy as np

    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    return x, y, ((x * 7919 + y * 104_729 + x * y * seed) * 1_103_515_245 + 12_345 >> 16) % 13


def _png(pixels: NDArray[np.uint8], exif: bytes) -> bytes:
    """A PNG file without compression: what a compressor makes differs between its versions."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"eXIf", exif)] if exif else []), (b"IDAT", _stored(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _stored(data: bytes) -> bytes:
    """A zlib stream of stored blocks (RFC 1950, RFC 1951 section 3.2.4)."""
    blocks = []
    for start in range(0, len(data), _STORED_BYTES):
        part = data[start : start + _STORED_BYTES]
        last = start + _STORED_BYTES >= len(data)
        blocks.append(struct.pack("<BHH", last, len(part), len(part) ^ 0xFFFF) + part)
    return b"\x78\x01" + b"".join(blocks) + struct.pack(">I", zlib.adler32(data))
