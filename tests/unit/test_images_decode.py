"""Decoding: every good mode gives the right pixels, everything else a named refusal, nothing ever another exception."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderation.errors import ImageRejected, RejectReason
from moderation.images import decode
from tests.broken_files import broken_files, picture_bytes

WIDTH, HEIGHT = 40, 24


def _gradient(mode: str = "RGB") -> Image.Image:
    """Red grows to the right, green downwards, blue is constant: orientation and channels show."""
    red, green = np.meshgrid(np.linspace(0, 250, WIDTH), np.linspace(0, 250, HEIGHT))
    pixels = np.stack([red, green, np.full_like(red, 120)], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _pixels(data: bytes, **options: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    picture, _ = decode(data, **options)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(np.int64)


def _reason(data: bytes, **options: Any) -> RejectReason:
    with pytest.raises(ImageRejected) as caught:
        decode(data, **options)
    assert caught.value.detail
    return caught.value.reason


EXACT = {
    "png": _file(_gradient(), "PNG"),
    "webp lossless": _file(_gradient(), "WEBP", lossless=True),
    "png with alpha": _file(_gradient("RGBA"), "PNG"),
    "webp with alpha": _file(_gradient("RGBA"), "WEBP", lossless=True),
    "png interlaced": _file(_gradient(), "PNG", interlace=1),
}
CLOSE = {
    "jpeg": _file(_gradient(), "JPEG", quality=98),
    "jpeg progressive": _file(_gradient(), "JPEG", quality=98, progressive=True),
    "jpeg cmyk": _file(_gradient("CMYK"), "JPEG", quality=98),
    "webp": _file(_gradient(), "WEBP", quality=98),
    "gif": _file(_gradient().quantize(256), "GIF"),
    "png palette": _file(_gradient().quantize(256), "PNG"),
    "png palette with transparency": _file(_gradient().quantize(256), "PNG", transparency=bytes(range(256))),
}


@pytest.mark.parametrize("data", EXACT.values(), ids=EXACT)
def test_lossless_formats_keep_every_pixel(data: bytes) -> None:
    assert np.array_equal(_pixels(data), np.asarray(_gradient()))


@pytest.mark.parametrize("data", CLOSE.values(), ids=CLOSE)
def test_lossy_formats_come_close(data: bytes) -> None:
    assert float(np.abs(_pixels(data) - np.asarray(_gradient()).astype(int)).mean()) < 6


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_becomes_three_equal_channels(mode: str) -> None:
    data = _file(_gradient("L") if mode == "L" else _gradient("L").convert(mode), "PNG")
    found = _pixels(data)
    assert np.array_equal(found[..., 0], found[..., 1])
    assert np.array_equal(found[..., 1], found[..., 2])
    if mode != "1":
        assert np.array_equal(found[..., 0], np.asarray(_gradient("L")))


def test_alpha_is_dropped_and_not_blended() -> None:
    image = _gradient("RGBA")
    image.putalpha(0)
    assert np.array_equal(_pixels(_file(image, "PNG")), np.asarray(_gradient()))


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    values = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    data = _file(Image.fromarray(values), "PNG")
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode.startswith("I")  # 16-bit grey it is
    assert np.array_equal(_pixels(data)[..., 0], values >> 8)


def test_a_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    data = _file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert _pixels(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_exif_orientation_is_applied_unless_told_not_to(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = _file(_gradient(), kind, exif=exif, **options)
    stored = _pixels(_file(_gradient(), kind, **options))
    turns: dict[int, Any] = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.rot90(p.swapaxes(0, 1), 2),
        8: lambda p: np.rot90(p, 1),
    }
    assert np.array_equal(_pixels(data), turns[orientation](stored))
    assert np.array_equal(_pixels(data, exif_orientation=False), stored)
    _, facts = decode(data)
    assert (facts.width, facts.height) == (WIDTH, HEIGHT)  # as stored


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning:PIL")  # Pillow says so; to us it is no news
def test_damaged_exif_turns_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = exif.tobytes()
    for damaged in (whole[:12], whole[:10] + b"\xff" * (len(whole) - 10)):
        data = _file(_gradient(), "JPEG", exif=damaged)
        assert np.array_equal(_pixels(data), _pixels(_file(_gradient(), "JPEG")))


def test_the_facts_are_about_the_file() -> None:
    data = CLOSE["jpeg"]
    _, facts = decode(data)
    assert (facts.format, facts.width, facts.height, facts.bytes) == ("JPEG", WIDTH, HEIGHT, len(data))
    assert facts.sha256 == hashlib.sha256(data).hexdigest()


REASONS = {
    "empty.jpg": RejectReason.NOT_AN_IMAGE,
    "one_byte.jpg": RejectReason.NOT_AN_IMAGE,
    "noise.jpg": RejectReason.NOT_AN_IMAGE,
    "page.png": RejectReason.NOT_AN_IMAGE,
    "archive.zip": RejectReason.NOT_AN_IMAGE,
    "drawing.svg": RejectReason.UNSUPPORTED,
    "document.pdf": RejectReason.UNSUPPORTED,
    "scan.tiff": RejectReason.UNSUPPORTED,
    "bitmap.bmp": RejectReason.UNSUPPORTED,
    "phone.heic": RejectReason.UNSUPPORTED,
    "film.mp4": RejectReason.UNSUPPORTED,
    "jpeg_header_only.jpg": RejectReason.TRUNCATED,
    "jpeg_cut_in_half.jpg": RejectReason.TRUNCATED,
    "jpeg_without_end.jpg": RejectReason.TRUNCATED,
    "png_signature_only.png": RejectReason.TRUNCATED,
    "png_cut_in_half.png": RejectReason.TRUNCATED,
    "png_wrong_checksum.png": RejectReason.TRUNCATED,
    "png_damaged_pixels.png": RejectReason.TRUNCATED,
    "png_no_pixels.png": RejectReason.TRUNCATED,
    "png_bomb.png": RejectReason.TOO_MANY_PIXELS,
    "webp_header_only.webp": RejectReason.TRUNCATED,
    "webp_cut_in_half.webp": RejectReason.TRUNCATED,
    "gif_cut_in_half.gif": RejectReason.TRUNCATED,
    "tracking_pixel.gif": RejectReason.TOO_SMALL,
    "hairline.png": RejectReason.TOO_SMALL,
}


@pytest.mark.parametrize("name", broken_files())
def test_a_broken_file_is_refused_by_name(name: str) -> None:
    reason = _reason(broken_files()[name])
    assert reason == REASONS.get(name, reason)


def test_there_are_broken_files_of_every_kind() -> None:
    assert len(broken_files()) >= 20
    assert set(REASONS) <= set(broken_files())
    assert broken_files() == broken_files()


def test_limits_hold_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    data = EXACT["png"]
    assert _reason(data, max_pixels=WIDTH * HEIGHT - 1) is RejectReason.TOO_MANY_PIXELS
    assert _reason(data, min_side=HEIGHT + 1) is RejectReason.TOO_SMALL


def test_the_limit_may_be_above_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert _pixels(EXACT["png"], max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert _reason(EXACT["png"], max_pixels=400) is RejectReason.TOO_MANY_PIXELS


_GOOD = [*EXACT.values(), *CLOSE.values(), picture_bytes("PNG", mode="P"), picture_bytes("JPEG", mode="L")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_GOOD), st.data())
def test_damaged_bytes_give_a_picture_or_a_refusal(good: bytes, draw: st.DataObject) -> None:
    data = bytearray(good)
    for _ in range(draw.draw(st.integers(0, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    kept = draw.draw(st.integers(0, len(data)))
    with_tail = bytes(data[:kept]) + draw.draw(st.binary(max_size=40))
    _picture_or_refusal(with_tail)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 "]),
    st.binary(max_size=300),
)
def test_any_bytes_give_a_picture_or_a_refusal(magic: bytes, rest: bytes) -> None:
    _picture_or_refusal(magic + rest)


def _picture_or_refusal(data: bytes) -> None:
    try:
        picture, _ = decode(data, max_pixels=1_000_000)
    except ImageRejected:
        return
    assert picture.mode == "RGB"


@pytest.mark.parametrize("brand", [b"\0\0\0\0", b"\x1b[2J"])
def test_a_refusal_does_not_quote_control_characters(brand: bytes) -> None:
    with pytest.raises(ImageRejected) as caught:
        decode(b"\0\0\0\x18ftyp" + brand + bytes(100))
    assert caught.value.reason is RejectReason.UNSUPPORTED
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize("name", ["jpeg_header_only.jpg", "png_wrong_checksum.png", "gif_header_only.gif"])
def test_a_reason_names_no_memory_address(name: str) -> None:
    with pytest.raises(ImageRejected) as caught:
        decode(broken_files()[name])
    assert caught.value.detail.endswith("damaged in its header: cannot identify image file")
