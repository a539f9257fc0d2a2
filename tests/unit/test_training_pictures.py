"""Augmentation, the feature cache and the statistics of training pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moderation.detector import STATISTICS_150K, Backbone, Normalisation, load_backbone
from moderation.errors import ConfigurationError
from moderation.images import decode, square
from moderation.training import loader
from moderation.training.augment import view
from moderation.training.cache import FeatureCache, feature_bytes, feature_shape, human_bytes, prune
from moderation.training.loader import Fresh, Kept, keep
from moderation.training.reading import sample_of, statistics_of
from tests import tiny_backbones as tiny
from tests.training_pictures import labelled


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(str(tiny.llama_folder(tmp_path_factory.mktemp("backbone") / "model")), device="cpu")


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def rgb(data: bytes) -> Image.Image:
    return decode(data)[0]


def picture(number: int = 0) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8))


def cache_of(folder: Path, backbone: Backbone, statistics: Normalisation = STATISTICS_150K) -> FeatureCache:
    return FeatureCache(folder, backbone, statistics, "centre")


# --- augmentation


@pytest.mark.parametrize("kind", ["paper", "robust"])
def test_a_draw_is_a_function_of_seed_epoch_and_picture(kind: str) -> None:
    def drawn(seed: int = 1, epoch: int = 0, index: int = 0, group: str = "g") -> bytes:
        found = view(picture(), 32, kind, seed=seed, epoch=epoch, index=index, group=group)  # type: ignore[arg-type]  # parametrised
        assert found.shape == (32, 32, 3)
        return found.tobytes()

    assert drawn() == drawn()
    assert len({drawn(), drawn(seed=2), drawn(epoch=1), drawn(index=1, group="h")}) == 4


def test_robust_treats_a_group_alike_whatever_its_class_and_number() -> None:
    for epoch in range(8):
        first, second = (view(picture(), 32, "robust", seed=0, epoch=epoch, index=i, group="g") for i in (3, 900))
        assert np.array_equal(first, second)


def test_robust_makes_all_its_changes_now_and_then() -> None:
    plain = square(picture(), 32).astype(float)
    change = [np.abs(view(picture(), 32, "robust", seed=0, epoch=epoch, index=0, group="g") - plain).mean()
              for epoch in range(12)]  # fmt: skip
    assert len(set(change)) == 12
    thin = Image.fromarray(np.full((16, 300, 3), 99, np.uint8))
    assert view(thin, 32, "robust", seed=0, epoch=1, index=0, group="g").shape == (32, 32, 3)


def test_without_augmentation_it_is_the_evaluation_path() -> None:
    assert np.array_equal(view(picture(), 32, "none", seed=0, epoch=0, index=0, group=""), square(picture(), 32))


# --- statistics


def test_statistics_are_those_of_all_pixels(tmp_path: Path, pool: Executor) -> None:
    images = labelled(tmp_path, 3)
    pixels = np.stack([square(rgb(image.path.read_bytes()), 28) for image in images]).reshape(-1, 3) / 255
    found = statistics_of(images, 28, rgb, pool)
    assert found.mean == pytest.approx(tuple(pixels.mean(axis=0)), abs=1e-4)
    assert found.std == pytest.approx(tuple(pixels.std(axis=0)), abs=1e-4)
    assert statistics_of(images[::-1], 28, rgb, pool) == found


def test_a_sample_is_drawn_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = labelled(tmp_path, 6)
    assert sample_of(images, seed=0) == images
    monkeypatch.setattr("moderation.training.reading.SAMPLE", 3)
    first = sample_of(images, seed=0)
    assert len(first) == 3
    assert sample_of(images, seed=0) == first
    assert any(sample_of(images, seed=seed) != first for seed in range(1, 6))


def test_the_pass_for_statistics_is_counted(tmp_path: Path, pool: Executor) -> None:
    told: list[int] = []
    statistics_of(labelled(tmp_path, 3), 28, rgb, pool, told.append)
    assert sum(told) == 6


def test_statistics_of_nothing_readable_are_refused(tmp_path: Path, pool: Executor) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="no picture could be read"):
        statistics_of([replace(labelled(tmp_path, 1)[0], path=tmp_path / "x.png")], 28, rgb, pool)


# --- features


def test_a_second_pass_takes_everything_from_the_cache_bit_for_bit(
    tmp_path: Path, backbone: Backbone, pool: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = labelled(tmp_path / "pictures", 3)
    order = [[0, 5], [2]]

    def kept(cache: FeatureCache | None) -> tuple[int, list[torch.Tensor]]:
        if cache:
            cache.prepare(6)
        found = keep(images, backbone, STATISTICS_150K, rgb, pool, cache)
        assert isinstance(found, Kept)
        return found.reused, [batch.features for batch in found.batches(order, 0)]

    reused, first = kept(cache_of(tmp_path / "cache", backbone))
    assert (reused, first[0].dtype, tuple(first[0].shape[1:])) == (0, torch.float16, feature_shape(backbone))
    for cache in (cache_of(tmp_path / "cache", backbone), None):
        reused, again = kept(cache)
        assert reused == (6 if cache else 0)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    monkeypatch.setattr(loader, "MEMORY_BYTES", 0)
    reused, on_disk = kept(cache_of(tmp_path / "cache", backbone))
    assert reused == 6
    assert all(torch.equal(a, b) for a, b in zip(first, on_disk, strict=True))


def test_without_cache_what_memory_does_not_hold_is_made_anew(
    tmp_path: Path, backbone: Backbone, pool: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "MEMORY_BYTES", 0)
    assert isinstance(keep(labelled(tmp_path, 1), backbone, STATISTICS_150K, rgb, pool, None), Fresh)


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, backbone: Backbone, pool: Executor, harm: str) -> None:
    images = labelled(tmp_path / "pictures", 1)
    cache = cache_of(tmp_path / "cache", backbone)
    cache.prepare(2)
    keep(images, backbone, STATISTICS_150K, rgb, pool, cache)
    entry = sorted(cache.folder.rglob("*.safetensors"))[0]
    whole = entry.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    entry.write_bytes({"cut": whole[:-9], "flip": flipped, "empty": b"", "foreign": b"GIF89a" * 99}[harm])
    found = keep(images, backbone, STATISTICS_150K, rgb, pool, cache)
    assert isinstance(found, Kept)
    assert found.reused == 1
    assert entry.read_bytes() == whole


def test_the_key_is_all_that_features_are_made_of(tmp_path: Path, backbone: Backbone) -> None:
    caches = [
        cache_of(tmp_path, backbone),
        cache_of(tmp_path, backbone, Normalisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))),
        cache_of(tmp_path, replace(backbone, revision="another")),
        cache_of(tmp_path, replace(backbone, dtype=torch.bfloat16)),
        FeatureCache(tmp_path, backbone, STATISTICS_150K, "stored orientation"),
    ]
    assert len({cache.folder for cache in caches}) == len(caches)


def test_features_that_nobody_used_lately_go_and_what_is_in_use_stays(
    tmp_path: Path, backbone: Backbone, pool: Executor
) -> None:
    images = labelled(tmp_path / "pictures", 2)
    cache = cache_of(tmp_path / "cache", backbone)
    forgotten = cache_of(tmp_path / "cache", replace(backbone, revision="old"))
    for each in (cache, forgotten):
        each.prepare(4)
        keep(images, backbone, STATISTICS_150K, rgb, pool, each)
    draft = next(cache.folder.rglob("*.safetensors")).with_name(".killed.unfinished")
    draft.touch()
    foreign = tmp_path / "cache" / "mine" / "photographs" / "one.npy"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file():
            os.utime(file, (1000, 1000))
    cache.prepare(4)
    keep(images[:1], backbone, STATISTICS_150K, rgb, pool, cache)  # another run looks at one of them
    assert prune(tmp_path / "cache", unused_since=2000) == 3 + 4 + 1
    assert not forgotten.folder.exists()
    assert not draft.exists()
    assert foreign.exists()
    found = keep(images, backbone, STATISTICS_150K, rgb, pool, cache)
    assert isinstance(found, Kept)
    assert found.reused == 1
    assert prune(tmp_path / "cache", unused_since=2000) == 0
    assert prune(tmp_path / "none", unused_since=2000) == 0


def test_a_cache_without_room_is_refused_beforehand(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(ConfigurationError, match=r"--cache: .* are needed and .* are free") as refused:
        cache_of(tmp_path, backbone).prepare(10**15)
    assert "--no-cache" in refused.value.hint
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"--cache: .*file"):
        cache_of(tmp_path / "file", backbone).prepare(1)


def test_unreadable_files_are_left_out_and_named(tmp_path: Path, backbone: Backbone, pool: Executor) -> None:
    images = labelled(tmp_path, 2)
    images[1].path.write_bytes(b"not a picture")
    images[2].path.unlink()
    found = keep(images, backbone, STATISTICS_150K, rgb, pool, None)
    assert [image.path for image in found.images] == [images[0].path, images[3].path]
    assert set(found.unreadable) == {images[1].path, images[2].path}
    fresh = Fresh(images, backbone, STATISTICS_150K, rgb, pool, "paper", seed=0)
    assert [batch.rows for batch in fresh.batches([[0, 1], [1, 2], [3, 2]], 0)] == [[0], [3]]
    assert set(fresh.unreadable) == set(found.unreadable)


def test_what_no_epoch_has_read_is_read_before_what_follows(tmp_path: Path, backbone: Backbone, pool: Executor) -> None:
    images = labelled(tmp_path, 2)
    images[1].path.write_bytes(b"not a picture")
    images[3].path.write_bytes(b"nor this")
    fresh = Fresh(images, backbone, STATISTICS_150K, rgb, pool, "paper", seed=0)
    assert [batch.rows for batch in fresh.batches([[0, 1]], 0)] == [[0]]
    assert set(fresh.unreadable) == {images[1].path}
    fresh.read_all()
    assert set(fresh.unreadable) == {images[1].path, images[3].path}


def test_sizes_are_said_as_people_say_them(backbone: Backbone) -> None:
    assert [human_bytes(count) for count in (0, 999, 1500, 108_000_000_000, 2e15)] == [
        "0 bytes", "999 bytes", "1.5 kB", "108 GB", "2e+03 TB"
    ]  # fmt: skip
    assert feature_bytes((257, 1408)) == 723_712  # of the full geometry
