"""The picture folders that the miniature writes: what the manifest promises, and no way round looking."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moderation.miniature import datasets, decoders, photographs, pictures, processing, reconstructors, workshop
from moderation.miniature.datasets import LAST, SMOKE, USUAL
from moderation.miniature.photographs import Split


def _silent(_text: str) -> None:
    pass


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("decoders")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Path:
    return datasets.write(tmp_path_factory.mktemp("data"), SMOKE, 1, kept, _silent)


def _rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_listed_picture_is_there_and_every_picture_is_listed(manifest: Path) -> None:
    listed = {row["path"] for row in _rows(manifest)}
    assert listed == {path.relative_to(manifest.parent).as_posix() for path in manifest.parent.rglob("*.png")}
    assert all(f"/{row['label']}/" in row["path"] for row in _rows(manifest))


def test_every_group_is_one_real_and_one_fake_of_a_photograph(manifest: Path) -> None:
    groups: dict[str, list[dict[str, str]]] = {}
    for row in _rows(manifest):
        groups.setdefault(row["group"], []).append(row)
    for pair in groups.values():
        assert sorted(row["label"] for row in pair) == ["fake", "real"]
        assert len({(row["source"], row["split"], row["set"]) for row in pair}) == 1


def test_no_photograph_and_no_generator_crosses_the_splits(manifest: Path) -> None:
    for column in ("source", "set", "generator"):
        seen: dict[str, str] = {}
        for row in _rows(manifest):
            assert row[column] == "none" or seen.setdefault(row[column], row["split"]) == row["split"], row
    assert {row["set"] for row in _rows(manifest) if row["split"] == "val"} == {
        "random-val",
        *(family.name for family in decoders.of_split(Split.VALIDATION)),
    }


def test_both_classes_have_one_format_mode_and_size(manifest: Path) -> None:
    kinds = set()
    for path in manifest.parent.rglob("*.png"):
        with Image.open(path) as image:
            kinds.add((image.format, image.mode, image.size, tuple(sorted(image.info))))
    assert kinds == {("PNG", "RGB", (SMOKE.side, SMOKE.side), ())}


def test_the_same_seed_writes_the_same_bytes_with_kept_decoders_and_without(
    manifest: Path, kept: Path, tmp_path: Path
) -> None:
    again = datasets.write(tmp_path / "again", SMOKE, 1, kept, _silent)
    other = datasets.write(tmp_path / "other", SMOKE, 2, kept, _silent, LAST)
    assert again.read_bytes() == manifest.read_bytes()
    assert all((again.parent / row["path"]).read_bytes() == (manifest.parent / row["path"]).read_bytes()
               for row in _rows(manifest))  # fmt: skip
    assert {row["source"] for row in _rows(other)} == {photo.name for photo in photographs.of_split(Split.FINAL)}


def test_random_reconstructors_have_no_structure_that_measures() -> None:
    drawn = reconstructors.draw(200, seed=3)
    assert drawn == reconstructors.draw(200, seed=3)
    assert len({replace(family, name="") for family in drawn}) > 150
    measuring = [family for family in decoders.FAMILIES if family.split not in (Split.PRETRAIN, Split.TUNE)]
    kinds = [{(f.enlarger, f.is_denoiser, f.levels > 0) for f in families} for families in (drawn, measuring)]
    assert not kinds[0] & kinds[1]


def test_resharpened_pictures_stay_about_as_sharp() -> None:
    rng = np.random.default_rng(0)
    crop = workshop.cut(Split.PRETRAIN, 1, 48, drawn_share=0, seed=3)[0].pixels
    ratio = processing.laplacian_variance(pictures.resharpened(crop, rng)) / processing.laplacian_variance(crop)
    assert 0.4 < ratio < 1.3
    assert not np.array_equal(pictures.resharpened(crop, rng), crop)


def test_a_kept_decoder_is_the_one_that_training_would_make(kept: Path, tmp_path: Path, manifest: Path) -> None:
    family = decoders.of_split(USUAL["val"])[0]
    fresh = workshop.kept_decoder(family, SMOKE.decoder_steps, 1, tmp_path, _silent)
    cached = workshop.kept_decoder(family, SMOKE.decoder_steps, 1, kept, _silent)
    assert manifest.exists()
    for (name, one), (_, other) in zip(fresh.state_dict().items(), cached.state_dict().items(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), name
