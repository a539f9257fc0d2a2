"""Canary pictures are the same everywhere and notice what they are for; answers beside answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from moderation.detector import Backbone, Detector, Score, SoftPrompt, load_backbone
from moderation.domain.canary import ROUGH_TOLERANCE, Asked, Known, Machine, find_moved
from moderation.flows.scanning.witness import shortened
from moderation.images import decode, views_of
from moderation.images.canary import NAMES, pictures, pictures_sha256
from moderation.miniature import PROMPT_FILE
from moderation.miniature.canary import measured, shipped_answers
from moderation.settings import load_settings

CPU = Machine("cpu", "float32")
GPU = Machine("cuda sm90", "bfloat16")
ASKED = Asked("a prompt", "a revision", "pictures")
TWO = ("one", "two")


def known(*answers: float, machine: Machine = CPU) -> Known:
    return Known(ASKED, machine, answers, "first")


def test_the_pictures_are_the_same_bytes_for_ever() -> None:
    assert pictures_sha256() == "bf4f58819f013da3a7862c751d67fa0bddae87fe4a7a3501318e79e75adc159c"
    sizes = {}
    for name, data in zip(NAMES, pictures(), strict=True):
        image, facts = decode(data)
        sizes[name] = image.size
        assert facts.format == "PNG"
        assert (facts.width, facts.height) == (image.size[::-1] if name == "turned" else image.size)
    assert sizes["turned"] == (139, 211)
    assert min(sizes["small"]) < 128  # the miniature's input: it is enlarged
    assert min(sizes["large"]) > 224  # the paper's: it is made small
    assert all(side % 2 for size in sizes.values() for side in size)
    grey = np.asarray(decode(pictures()[NAMES.index("grey")])[0])
    assert (grey[..., 0] == grey[..., 2]).all()


def test_the_shipped_answers_are_right() -> None:
    found = measured()  # if they moved on purpose: python -m moderation.miniature.canary
    for turned, name in ((True, "turned"), (False, "stored")):
        (shipped,) = shipped_answers(exif_orientation=turned)
        assert shipped.asked == Asked(found["prompt"], found["backbone_revision"], found["pictures"])
        assert shipped.answers == pytest.approx(found[name], abs=2e-5)


Broken = Callable[[Image.Image, int], NDArray[np.uint8]]


def resampled(image: Image.Image, size: int, how: Image.Resampling, shift: int = 0) -> NDArray[np.uint8]:
    short = min(image.size)
    width, height = (size * side // short for side in image.size)
    left, top = round((width - size) / 2) + shift, round((height - size) / 2)
    small = image.resize((width, height), how)
    return np.asarray(small.crop((max(left, 0), top, max(left, 0) + size, top + size)))


BROKEN: dict[str, Broken] = {
    "bilinear": lambda image, size: resampled(image, size, Image.Resampling.BILINEAR),
    "nearest": lambda image, size: resampled(image, size, Image.Resampling.NEAREST),
    "one pixel to the left": lambda image, size: resampled(image, size, Image.Resampling.BICUBIC, -1),
    "blue for red": lambda image, size: resampled(image, size, Image.Resampling.BICUBIC)[..., ::-1],
    "squeezed": lambda image, size: np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)),
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("miniature", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def detector(backbone: Backbone) -> Detector:
    return Detector(backbone, SoftPrompt.load(PROMPT_FILE))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_preprocessing_is_noticed(name: str, detector: Detector) -> None:
    size = detector.backbone.image_size
    images = [decode(data)[0] for data in pictures()]
    views = [views_of(image, size, detector.native_crops) for image in images]
    wrong = [
        replace(view, whole=np.ascontiguousarray(BROKEN[name](image, size)))
        for image, view in zip(images, views, strict=True)
    ]
    answers = [score.probability if isinstance(score, Score) else None for score in detector.score(wrong)]
    shipped = shipped_answers(exif_orientation=True)
    assert find_moved(NAMES, answers, shipped, CPU, load_settings().canary_tolerance) is not None


def test_half_precision_on_another_machine_passes_the_rough_check(detector: Detector) -> None:
    coarse = load_backbone("miniature", device="cpu", dtype="bfloat16")
    views = [views_of(decode(data)[0], coarse.image_size, detector.native_crops) for data in pictures()]
    scores = Detector(coarse, detector.prompt).score(views)
    answers = [score.probability if isinstance(score, Score) else None for score in scores]
    shipped = shipped_answers(exif_orientation=True)
    assert find_moved(NAMES, answers, shipped, Machine("cpu", "bfloat16"), 1e-3) is None
    assert find_moved(NAMES, answers, shipped, CPU, 1e-3) is not None


def test_answers_within_the_tolerance_agree() -> None:
    assert find_moved(TWO, [0.5, 0.9], [known(0.5005, 0.8995)], CPU, 1e-3) is None
    assert find_moved(TWO, [0.5, 0.9], [], CPU, 1e-3) is None


def test_the_picture_that_moved_farthest_is_named() -> None:
    moved = find_moved(TWO, [0.502, 0.91], [known(0.5, 0.9)], CPU, 1e-3)
    assert moved is not None
    assert (moved.picture, moved.was, moved.now) == ("two", 0.9, 0.91)
    assert str(moved) == "picture 'two' was 0.900000 (cpu in float32, first) and is 0.910000; 0.001 is allowed"


def test_another_kind_of_machine_is_a_rough_check() -> None:
    close = ROUGH_TOLERANCE * 0.9
    assert find_moved(TWO, [0.5 + close, 0.9], [known(0.5, 0.9, machine=GPU)], CPU, 1e-3) is None
    assert find_moved(TWO, [0.5 + close, 0.9], [known(0.5, 0.9)], CPU, 1e-3) is not None
    far = find_moved(TWO, [0.5 + 2 * close, 0.9], [known(0.5, 0.9, machine=GPU)], CPU, 1e-3)
    assert far is not None
    assert far.allowed == ROUGH_TOLERANCE
    assert find_moved(TWO, [0.6, 0.9], [known(0.5, 0.9, machine=GPU)], CPU, 0.2) is None


@pytest.mark.parametrize("answers", [(), (0.5,), (0.5, math.nan)])
def test_damaged_records_agree_with_nothing(answers: tuple[float, ...]) -> None:
    moved = find_moved(TWO, [0.5, 0.9], [known(*answers)], CPU, 1e-3)
    assert moved is not None


def test_a_picture_without_an_answer_fails_even_the_first_worker() -> None:
    moved = find_moved(TWO, [0.5, None], [], CPU, 1e-3)
    assert moved is not None
    assert str(moved) == "picture 'two' could not be scored"


def test_a_long_revision_fits_its_column() -> None:
    assert shortened("a" * 80) == "a" * 80
    assert len(shortened("a" * 129)) <= 80
    assert shortened("a" * 129) != shortened("a" * 130)
