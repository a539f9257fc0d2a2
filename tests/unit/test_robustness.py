"""The robustness grid: what is done to a picture, and what that does to verdicts."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from moderation.evaluation import degradation
from moderation.evaluation.robustness import BASELINE, CONDITIONS, robustness_table
from moderation.evaluation.scores import ScoreRow, ScoreTable
from moderation.miniature import samples

HASH = hashlib.sha256(b"a picture").hexdigest()


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    with Image.open(samples()[0].path) as image:
        return image.convert("RGB").resize((300, 200), Image.Resampling.BICUBIC)


def jpeg_bytes(image: Image.Image, quality: int) -> int:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return len(buffer.getvalue())


def test_the_grid_is_the_one_that_was_promised() -> None:
    families = [condition.family for condition in CONDITIONS.values()]
    assert {name: families.count(name) for name in dict.fromkeys(families)} == {
        "jpeg": 6,
        "double jpeg": 1,
        "webp": 2,
        "resize": 9,
        "blur": 2,
        "crop": 4,
        "noise": 2,
        "thumbnail": 1,
        "laundering": 3,
    }


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_is_deterministic_and_leaves_the_picture_it_was_given_alone(
    name: str, photograph: Image.Image
) -> None:
    before = photograph.tobytes()
    once, again = CONDITIONS[name](photograph, HASH), CONDITIONS[name](photograph, HASH)
    assert once.mode == "RGB"
    assert (once.size, once.tobytes()) == (again.size, again.tobytes())
    assert photograph.tobytes() == before
    assert (once.tobytes() == before) == (name == "clean")


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("size", [(16, 16), (17, 400), (19, 16), (33, 20)])
def test_a_tiny_picture_keeps_sixteen_pixels_a_side(name: str, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert min(CONDITIONS[name](Image.fromarray(pixels), HASH).size) >= 16


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("jpeg 30", (300, 200)),
        ("webp 50", (300, 200)),
        ("resize 0.5 bilinear", (150, 100)),
        ("resize 0.75 lanczos", (225, 150)),
        ("resize 1.5 bicubic", (450, 300)),
        ("blur 2", (300, 200)),
        ("noise 10", (300, 200)),
        ("centre crop 90%", (270, 180)),
        ("random crop 70%", (210, 140)),
        ("thumbnail 50%", (300, 200)),
        ("web", (300, 200)),
    ],
)
def test_sizes(name: str, size: tuple[int, int], photograph: Image.Image) -> None:
    assert CONDITIONS[name](photograph, HASH).size == size


def test_platforms_shrink_only_what_is_larger_than_they_allow() -> None:
    wide = Image.new("RGB", (1536, 400))
    assert CONDITIONS["web"](wide, HASH).size == (768, 200)
    assert CONDITIONS["hard"](wide, HASH).size == (512, 133)


def test_lower_quality_leaves_less_to_write(photograph: Image.Image) -> None:
    sizes = [jpeg_bytes(CONDITIONS[f"jpeg {q}"](photograph, HASH), 95) for q in (95, 90, 75, 60, 50, 30)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.7 * sizes[0]


def test_the_second_grid_never_meets_the_first(photograph: Image.Image) -> None:
    sizes = [CONDITIONS["double jpeg 75+90"](photograph, str(number)).size for number in range(200)]
    offsets = {(300 - width, 200 - height) for width, height in sizes}
    assert all(left % 8 and top % 8 for left, top in offsets)
    assert len(offsets) > 30


def test_noise_and_crops_differ_between_pictures_and_have_the_strength_they_claim() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    one, other = (np.asarray(CONDITIONS["noise 10"](grey, name), dtype=float) for name in ("one", "other"))
    assert not np.array_equal(one, other)
    assert one.std() == pytest.approx(10, rel=0.03)
    ramp = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8)[:, None, None], (1, 200, 3)))
    assert len({CONDITIONS["random crop 70%"](ramp, str(number)).tobytes() for number in range(20)}) > 10


def test_metadata_is_stripped() -> None:
    image = Image.new("RGB", (32, 32))
    image.info["icc_profile"] = b"a profile"
    assert "icc_profile" not in degradation.lossless(image).info


def table(*rows: tuple[str, str, str, bool, float]) -> ScoreTable:
    return ScoreTable.of(
        ScoreRow(candidate, condition, "", path, is_fake, "", "", "", p - 0.5, p, "", "" if p == p else "truncated")  # noqa: PLR0124 - NaN
        for candidate, condition, path, is_fake, p in rows
    )


def test_a_verdict_flips_when_the_same_picture_changes_sides() -> None:
    rows = robustness_table(
        table(
            ("a", BASELINE, "z.png", False, 0.1),
            ("a", BASELINE, "b.png", True, 0.9),
            ("a", BASELINE, "c.png", True, 0.7),
            ("a", BASELINE, "d.png", False, 0.2),
            ("a", "jpeg 75", "c.png", True, 0.4),  # flips, and is wrong now
            ("a", "jpeg 75", "b.png", True, 0.8),
            ("a", "jpeg 75", "d.png", False, 0.3),
            ("a", "jpeg 75", "z.png", False, float("nan")),  # could not be scored
            ("b", BASELINE, "b.png", True, 0.6),
            ("b", "blur 1", "b.png", True, 0.55),
        ),
        {"a": 0.5, "b": 0.58},
    )
    found = {(row.candidate, row.condition): row for row in rows}
    assert list(found) == [("a", BASELINE), ("a", "jpeg 75"), ("b", BASELINE), ("b", "blur 1")]
    compressed = found["a", "jpeg 75"]
    assert (compressed.n, compressed.accuracy_real, compressed.accuracy_fake) == (3, 1.0, 0.5)
    assert compressed.balanced_accuracy == 0.75
    assert compressed.auc == 1.0
    assert compressed.flip_rate == pytest.approx(1 / 3)
    assert found["a", BASELINE].flip_rate is None
    lone = found["b", "blur 1"]
    assert (lone.flip_rate, lone.accuracy_fake, lone.balanced_accuracy, lone.auc) == (1.0, 0.0, None, None)


def test_pictures_that_were_never_degraded_are_in_no_row() -> None:
    rows = robustness_table(
        table(
            ("a", BASELINE, "b.png", True, 0.9),
            ("a", BASELINE, "c.png", True, 0.1),
            ("a", "web", "b.png", True, 0.6),
        ),
        0.5,
    )
    assert [(row.condition, row.n, row.accuracy_fake) for row in rows] == [(BASELINE, 1, 1.0), ("web", 1, 1.0)]


def test_what_was_never_scored_as_it_is_has_no_flip_rate() -> None:
    (row,) = robustness_table(table(("a", "web", "b.png", True, 0.6)), 0.5)
    assert row.flip_rate is None


def test_a_file_that_stands_in_two_sets_is_two_pictures() -> None:
    def row(condition: str, in_set: str, p: float) -> ScoreRow:
        return ScoreRow("a", condition, in_set, "shared.png", False, "", "", "", p - 0.5, p, "", "")

    rows = robustness_table(
        ScoreTable.of(
            [
                row(BASELINE, "first", 0.1),
                row(BASELINE, "second", 0.9),  # its source's calibration differs
                row("web", "second", 0.8),
            ]
        ),
        0.5,
    )
    assert [(found.n, found.accuracy_real, found.flip_rate) for found in rows] == [(1, 0.0, None), (1, 0.0, 0.0)]
