"""Pictures, from the file's bytes to the verdict, as the original's evaluation does it.

PNG bit for bit. JPEG too where the libjpeg at hand decodes to the same pixels; with another one, within 2 levels.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from moderation.detector import Detector, Score, normalise
from moderation.images import decode, square, views_of
from moderation.images.resize import resize_shorter, resized_size
from tests.golden.sets import GoldenSet, golden_sets, name_of

ATOL = 1e-4
LEVELS = 2 / 255 / 0.25  # two levels on the normalised scale, where a standard deviation is above 0.25


def _cases() -> list[Any]:
    cases = []
    for golden in golden_sets():
        folder = golden.root / "pictures"
        files = sorted(path for path in folder.glob("*") if path.suffix != ".txt") if folder.is_dir() else []
        cases += [pytest.param(golden, path, id=f"{name_of(golden)}-{path.name}") for path in files]
    return cases


picture_case = pytest.mark.parametrize(("golden", "path"), _cases())


def _facts(golden: GoldenSet, path: Path) -> Any:
    return golden.json("preprocess/preprocess.json")["pictures"][path.name]


def _rgb(path: Path) -> Image.Image:
    return decode(path.read_bytes(), exif_orientation=False, min_side=1)[0]


def _decodes_alike(golden: GoldenSet, path: Path) -> bool:
    alike = bool(hashlib.sha256(_rgb(path).tobytes()).hexdigest() == _facts(golden, path)["decoded_rgb_sha256"])
    assert alike or path.suffix.lower() in (".jpg", ".jpeg"), "only a lossy format may decode to other pixels"
    return alike


@picture_case
def test_pixels_after_resize_and_crop(golden: GoldenSet, path: Path) -> None:
    facts = _facts(golden, path)
    picture = _rgb(path)
    pixels = square(picture, 224)
    resized = resized_size(picture.size, 224)
    assert list(resized) == facts["resized"]
    assert [round((side - 224) / 2.0) for side in resized] == [facts["crop_left"], facts["crop_top"]]
    with Image.open(golden.root / "preprocess" / f"{path.stem}.eval224.png") as image:
        expected = np.array(image)
    if _decodes_alike(golden, path):
        assert np.array_equal(pixels, expected)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == facts["cropped_u8_sha256"]
    else:
        assert int(np.abs(pixels.astype(int) - expected.astype(int)).max()) <= 2


@picture_case
def test_normalised_values(golden: GoldenSet, path: Path) -> None:
    archives = sorted((golden.root / "preprocess").glob("eval*_float32.npz"))
    assert archives
    for archive in archives:
        size = int(re.sub(r"^eval(\d+)_float32$", r"\1", archive.stem))
        values = normalise(torch.from_numpy(square(_rgb(path), size))[None], golden.normalisation())[0].numpy()
        with np.load(archive) as arrays:
            expected = arrays[path.stem]
        if _decodes_alike(golden, path):
            assert np.array_equal(values, expected)
        else:
            assert float(np.abs(values - expected).max()) <= LEVELS


@picture_case
def test_values_with_other_statistics(golden: GoldenSet, path: Path) -> None:
    pixels = torch.from_numpy(square(_rgb(path), 224))[None]
    centre = normalise(pixels, golden.normalisation("lama_"))[0, :, 112, 112].tolist()
    assert centre == pytest.approx(
        _facts(golden, path)["lama_stats_centre"], abs=1e-6 if path.suffix == ".png" else LEVELS
    )


@picture_case
def test_training_crop(golden: GoldenSet, path: Path) -> None:
    example = _facts(golden, path)["train_example"]
    picture = resize_shorter(_rgb(path), 224)
    generator = torch.Generator().manual_seed(example["torch_seed"])
    width, height = picture.size
    top = left = 0
    if (width, height) != (224, 224):
        top = int(torch.randint(0, height - 224 + 1, (1,), generator=generator))
        left = int(torch.randint(0, width - 224 + 1, (1,), generator=generator))
    assert (top, left) == (example["crop_top"], example["crop_left"])
    assert bool(torch.rand(1, generator=generator) < 0.5) == example["flip"]
    crop = picture.crop((left, top, left + 224, top + 224))
    if example["flip"]:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = normalise(torch.from_numpy(np.array(crop))[None], golden.normalisation())[0].numpy()
    if _decodes_alike(golden, path):
        assert hashlib.sha256(values.tobytes()).hexdigest() == example["float32_chw_sha256"]


@picture_case
def test_end_to_end(golden: GoldenSet, path: Path) -> None:
    runs = {key: value for key, value in _facts(golden, path).items() if key.startswith("end_to_end_model_")}
    assert runs
    for key, run in runs.items():
        letter = re.sub("^end_to_end_model_", "", key)
        backbone = golden.backbone(letter)
        assert backbone.image_size == run["image_size"]
        prompt = golden.prompt(letter, run["prompt"], normalisation=golden.normalisation())
        (score,) = Detector(backbone, prompt).score([views_of(_rgb(path), backbone.image_size)])
        assert isinstance(score, Score)
        assert ("Fake" if score.margin > 0 else "Real") == run["verdict"]
        if _decodes_alike(golden, path):
            assert score.margin == pytest.approx(-run["margin"], abs=ATOL)
