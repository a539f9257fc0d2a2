"""Files that are no usable picture, of every kind that people upload. Each must end as a named refusal."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib

from PIL import Image

_SIDE = 96


def broken_files() -> dict[str, bytes]:
    """File name -> content. The same bytes at every call. More than twenty, none of which decodes to a picture."""
    jpeg, png, webp, gif = (picture_bytes(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF"))
    noise = random.Random(7).randbytes(4096)
    return {
        "empty.jpg": b"",
        "one_byte.jpg": b"\xff",
        "zeros.png": bytes(5000),
        "noise.jpg": noise,
        "text.jpg": b"this is no picture\n" * 50,
        "page.png": b"<!doctype html><html><body>404 not found</body></html>",
        "script.gif": b"#!/bin/sh\necho hello\n",
        "drawing.svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "document.pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n",
        "scan.tiff": picture_bytes("TIFF"),
        "bitmap.bmp": picture_bytes("BMP"),
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + noise,
        "film.mp4": b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + noise,
        "archive.zip": b"PK\x03\x04" + noise,
        "packed.png.gz": gzip.compress(png, mtime=0),
        "jpeg_header_only.jpg": jpeg[:20],
        "jpeg_cut_in_half.jpg": jpeg[: len(jpeg) // 2],
        "jpeg_without_end.jpg": jpeg[:-200],
        "png_signature_only.png": png[:8],
        "png_cut_in_half.png": png[: len(png) // 2],
        "png_wrong_checksum.png": _with_byte(png, 20, 0x55),
        "png_damaged_pixels.png": _with_damaged_pixels(),
        "png_no_pixels.png": _png(_SIDE, _SIDE, b""),
        "png_zero_width.png": _png(0, _SIDE, zlib.compress(b"")),
        "png_bomb.png": _png(60_000, 60_000, zlib.compress(bytes(60_001), 9)),
        "webp_header_only.webp": webp[:16],
        "webp_cut_in_half.webp": webp[: len(webp) // 2],
        "gif_header_only.gif": gif[:13],
        "gif_cut_in_half.gif": gif[: len(gif) // 4],
        "tracking_pixel.gif": picture_bytes("GIF", size=(1, 1)),
        "hairline.png": picture_bytes("PNG", size=(500, 3)),
        "renamed_to_jpg.jpg": b"RIFF\x24\0\0\0WAVEfmt " + noise,
    }


def picture_bytes(kind: str, *, mode: str = "RGB", size: tuple[int, int] = (_SIDE, _SIDE)) -> bytes:
    """A good picture with detail in it, as a file of `kind` (Pillow's name)."""
    width, height = size
    channels = len(mode) if mode != "P" else 3
    rng = random.Random(1)
    image = Image.frombytes("RGB" if mode == "P" else mode, size, rng.randbytes(width * height * channels))
    file = io.BytesIO()
    (image.convert("P") if mode == "P" else image).save(file, kind)
    return file.getvalue()


def _with_byte(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes([value]) + data[place + 1 :]


def _with_damaged_pixels() -> bytes:
    rows = b"".join(b"\0" + bytes(3 * _SIDE) for _ in range(_SIDE))
    packed = bytearray(zlib.compress(rows))
    packed[len(packed) // 2 :] = b"\xa5" * (len(packed) - len(packed) // 2)
    return _png(_SIDE, _SIDE, bytes(packed))


def _png(width: int, height: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
