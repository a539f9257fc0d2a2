"""The shortcut audit: made-up data that leaks, and data that does not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from moderation.evaluation.shortcuts import CATEGORICAL, NUMERIC, Shortcut, audit, features
from moderation.evaluation.trivia import grid_phase


def scene(number: int, side: int = 64) -> Image.Image:
    """A picture with soft shapes, colours and some grain."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 4, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def written(image: Image.Image, form: str = "JPEG", **options: int) -> tuple[bytes, Image.Image]:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue(), Image.open(buffer).convert("RGB")


def audited(
    files: list[tuple[bytes, Image.Image]], is_fake: list[bool], sets: list[str] | None = None
) -> list[Shortcut]:
    rows = [features(data, image) for data, image in files]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return audit(
        columns,  # type: ignore[arg-type]  # numbers or words, by column
        np.array(is_fake),
        np.array(sets or [""] * len(files)),
        np.array([str(number // 2) for number in range(len(files))]),
        resamples=50,
    )


def by_name(found: list[Shortcut], scope: str = "") -> dict[str, Shortcut]:
    return {shortcut.feature: shortcut for shortcut in found if shortcut.set == scope}


def test_features_of_a_file() -> None:
    data, image = written(Image.new("RGB", (80, 40), (200, 100, 50)), "PNG")
    found = features(data, image)
    assert set(found) == set(NUMERIC) | set(CATEGORICAL)
    assert (found["width"], found["height"], found["aspect"], found["size"]) == (80, 40, 2.0, "80 x 40")
    assert (found["red"], found["green"], found["blue"]) == (200, 100, 50)
    assert found["saturation"] == pytest.approx(255 * 0.75, abs=1)
    assert found["format"] == "PNG"
    assert found["bytes_per_pixel"] == len(data) / 3200
    assert found["megapixels"] == 0.0032
    assert (found["sharpness"], found["grid_phase"]) == (0, 1)


def test_a_sharper_picture_is_sharper() -> None:
    image = scene(1)
    sharp, soft = (features(b"", one)["sharpness"] for one in (image, image.filter(ImageFilter.GaussianBlur(1))))
    assert float(sharp) > 3 * float(soft)


def test_the_grid_is_seen_where_it_starts_in_the_corner_only() -> None:
    image = scene(2, 256)
    compressed = written(image, quality=50)[1]
    aligned, shifted, none = (
        grid_phase(np.asarray(one.convert("L"), dtype=np.float32))
        for one in (compressed, compressed.crop((3, 5, 256, 256)), image)
    )
    assert aligned > 1.5
    assert shifted < 1
    assert none == pytest.approx(1, abs=0.05)


def test_unequal_compression_leaks_and_equal_does_not() -> None:
    is_fake = [bool(number % 2) for number in range(240)]
    pictures = [scene(number) for number in range(240)]
    unequal = by_name(
        audited([written(p, quality=95 if f else 70) for p, f in zip(pictures, is_fake, strict=True)], is_fake)
    )
    assert unequal["bytes_per_pixel"].is_flagged
    assert unequal["bytes_per_pixel"].fakes_have_more
    assert unequal["grid_phase"].is_flagged
    assert not unequal["grid_phase"].fakes_have_more
    low, auc = unequal["bytes_per_pixel"].low, unequal["bytes_per_pixel"].auc
    assert low is not None
    assert auc is not None
    assert 0.6 < low <= auc
    equal = by_name(audited([written(p, quality=85) for p in pictures], is_fake))
    for name in ("bytes_per_pixel", "format", "size", "width", "grid_phase"):
        assert not equal[name].is_flagged, name


def test_a_format_of_its_own_leaks_and_one_format_tells_nothing() -> None:
    is_fake = [bool(number % 2) for number in range(60)]
    mixed = [written(scene(n), "PNG" if f else "JPEG") for n, f in enumerate(is_fake)]
    assert by_name(audited(mixed, is_fake))["format"].auc == 1.0
    alike = by_name(audited([written(scene(n), "PNG") for n in range(60)], is_fake))
    assert (alike["format"].auc, alike["format"].is_flagged) == (0.5, False)


def test_many_categories_without_meaning_do_not_overfit() -> None:
    rng = np.random.default_rng(0)
    count = 2000
    aucs = []
    for _ in range(5):
        names = rng.integers(0, 400, count).astype(str)
        truth = rng.random(count) < 0.5
        groups = np.arange(count).astype(str)
        (found,) = audit({"size": names}, truth, np.full(count, ""), groups, resamples=20)
        aucs.append(found.auc or 1.0)
    assert max(aucs) < 0.56


def test_one_size_for_fakes_among_many_sizes_of_real_ones_is_seen() -> None:
    """No order of width tells them apart: the real ones are both smaller and larger."""
    rng = np.random.default_rng(1)
    width = np.where(np.arange(400) % 2, 512, rng.integers(200, 824, 400))
    columns = {"width": width.astype(float), "size": np.array([f"{one} x {one}" for one in width])}
    found = by_name(audit(columns, np.arange(400) % 2 == 1, np.full(400, ""), np.arange(400).astype(str), resamples=20))
    assert not found["width"].is_flagged
    assert found["size"].auc == pytest.approx(1, abs=0.02)


def test_the_largest_set_with_both_classes_is_audited_too() -> None:
    width = np.array([10.0, 20.0] * 10 + [5.0] * 30)
    is_fake = np.array([False, True] * 10 + [True] * 30)
    sets = np.array(["both"] * 20 + ["fakes alone"] * 30)
    found = audit({"width": width}, is_fake, sets, np.arange(50).astype(str), resamples=20)
    assert [shortcut.set for shortcut in found] == ["", "both"]
    assert found[1].auc == 1.0
    assert (found[1].n_real, found[1].n_fake) == (10, 10)


def test_one_class_alone_has_no_auc_and_no_flag() -> None:
    found = audit(
        {"width": [1.0, 2.0], "format": ["PNG", "GIF"]}, np.ones(2, bool), np.full(2, ""), np.array(["a", "b"])
    )
    assert all(shortcut.auc is None and not shortcut.is_flagged for shortcut in found)


def test_few_pictures_show_a_wide_interval() -> None:
    rng = np.random.default_rng(3)
    few, many = (
        audit({"red": rng.random(n)}, np.arange(n) % 2 == 0, np.full(n, ""), np.arange(n).astype(str))[0]
        for n in (12, 1200)
    )
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.high - few.low > 5 * (many.high - many.low)
