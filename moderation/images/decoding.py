"""From a file's bytes to an RGB picture, under limits. Whatever the bytes are: a picture or an ImageRejected, no more.

JPEG, PNG, WebP and GIF (its first frame). Alpha is dropped, as the original does.
"""

from __future__ import annotations

import hashlib
import io
import re

from PIL import Image

from moderation.domain.image import ImageFacts
from moderation.errors import ImageRejected, RejectReason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 100_000_000
MIN_SIDE = 16  # pixels. The ViT's patch is 14: below that there is nothing to look at
_ORIENTATION = 0x0112  # EXIF tag
_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-f]+>", re.IGNORECASE)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OURS = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"))
_FOREIGN = (
    (b"%PDF", "PDF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"8BPS", "PSD"),
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x1aE\xdf\xa3", "Matroska video"),
)


def decode(
    data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE, exif_orientation: bool = True
) -> tuple[Image.Image, ImageFacts]:
    """The picture in RGB, turned as its EXIF says if `exif_orientation`, and the facts about the file.

    The size is checked before a pixel is decoded. Raises ImageRejected.
    """
    if not data:
        raise ImageRejected(RejectReason.NOT_AN_IMAGE, "the file is empty")
    with _open(data, max_pixels) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageRejected(RejectReason.TOO_MANY_PIXELS, f"{width} x {height}; {max_pixels} are allowed")
        if min(width, height) < min_side:
            raise ImageRejected(RejectReason.TOO_SMALL, f"{width} x {height}; {min_side} a side are needed")
        facts = ImageFacts(hashlib.sha256(data).hexdigest(), width, height, str(image.format), len(data))
        try:
            image.load()
            turn = _TURNS.get(_orientation(image)) if exif_orientation else None
            picture = _to_rgb(image)
            return (picture if turn is None else picture.transpose(turn)), facts
        except MemoryError:
            raise ImageRejected(RejectReason.TOO_MANY_PIXELS, f"{width} x {height} do not fit into memory") from None
        except Exception as error:  # noqa: BLE001 - Pillow's decoders raise anything on damaged bytes
            raise ImageRejected(
                RejectReason.TRUNCATED, f"{image.format} cut short or damaged: {_said(error)}"
            ) from None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    # Pillow's own bomb limit must not be stricter than ours, which is checked right after the header is read.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageRejected(RejectReason.TOO_MANY_PIXELS, f"more than {max_pixels} pixels") from None
    except MemoryError:
        raise ImageRejected(RejectReason.TOO_MANY_PIXELS, "its header asks for more memory than there is") from None
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise anything on damaged headers
        raise _unreadable(data, error) from None


def _unreadable(data: bytes, error: Exception) -> ImageRejected:
    if ours := _our_format(data):
        return ImageRejected(RejectReason.TRUNCATED, f"{ours} cut short or damaged in its header: {_said(error)}")
    if foreign := _foreign_format(data):
        return ImageRejected(RejectReason.UNSUPPORTED, f"{foreign}; use {', '.join(FORMATS)}")
    return ImageRejected(RejectReason.NOT_AN_IMAGE, "no picture format starts like this")


def _said(error: Exception) -> str:
    """Its message without memory addresses, which differ from run to run."""
    return _OBJECT.sub("", str(error))


def _our_format(data: bytes) -> str | None:
    for magic, name in _OURS:
        if data.startswith(magic):
            return name
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _foreign_format(data: bytes) -> str | None:
    for magic, name in _FOREIGN:
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":  # ISO media: HEIC, AVIF, MP4
        brand = data[8:12].decode("ascii", "replace").strip().upper()
        return brand if brand.isprintable() else "ISO media"  # it is the uploader's to choose
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start and start.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")):
        return "SVG"
    return None


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF says nothing, and says it with any exception
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    # Without it Pillow would look for an alpha channel to make of it, and warn; alpha is dropped anyway.
    image.info.pop("transparency", None)
    if image.mode.startswith("I"):  # 16-bit grey: keep the high byte, as Pillow does for 16-bit colour; it would clip
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")
