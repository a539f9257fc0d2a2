"""From labelled files to vision features, batch by batch: kept from one pass over the pictures, or made anew each time.

A file that can't be read as a picture is left out and named; it never stops a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from moderation.datasets.labelled import LabelledImage
from moderation.detector.backbone import Backbone
from moderation.detector.preprocess import Normalisation, normalise
from moderation.detector.scoring import vision_features
from moderation.errors import ImageRejected
from moderation.images.resize import square
from moderation.training.augment import number, view
from moderation.training.cache import DTYPE, FeatureCache, feature_bytes, feature_shape
from moderation.training.plan import Augment

SAMPLE = 5000
"""Pictures that the normalisation is computed from, at most: a channel's mean is then known to about .002."""
MEMORY_BYTES = 2 * 2**30
"""Features up to this size are held in memory; 3,000 pictures of the full geometry."""
_CHUNK = 16  # pictures that go through the vision tower at once when features are kept
_PLACES = 4  # the decimals of the original's statistics

T = TypeVar("T")

Decode = Callable[[bytes], Image.Image]
"""A file's bytes as an RGB picture. Raises ImageRejected."""


@dataclass(frozen=True, eq=False)
class Batch:
    """rows: of the feature source's `images`; features: float16 or the backbone's dtype, [B, T, Hv]."""

    number: int  # in its epoch
    rows: list[int]
    features: torch.Tensor


class Features(Protocol):
    """Pictures as the scoring functions take them."""

    images: Sequence[LabelledImage]
    unreadable: dict[Path, str]

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """One batch for each list of rows, less what can't be read; a batch with nothing left is left out."""
        ...


class Kept:
    """Features of one pass, in memory or in the cache on disk. `images`: those that could be read."""

    def __init__(
        self,
        images: Sequence[LabelledImage],
        found: torch.Tensor | tuple[FeatureCache, list[str]],
        pool: Executor,
        unreadable: dict[Path, str],
        reused: int,
    ) -> None:
        """found: [N, T, Hv], or the cache that has them and their files' hashes. reused: how many were in the cache."""
        self.images = images
        self.unreadable = unreadable
        self.reused = reused
        self._found = found
        self._pool = pool

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """One batch for each list of rows."""
        found = self._found
        if isinstance(found, torch.Tensor):
            for place, rows in enumerate(order):
                yield Batch(place, list(rows), found[list(rows)])
            return
        cache, hashes = found
        for place, (rows, parts) in enumerate(_ahead(self._pool, lambda row: cache.get(hashes[row]), order)):
            yield Batch(place, list(rows), torch.stack([_still_there(part, cache) for part in parts]))


class Fresh:
    """Pictures read, augmented and sent through the vision tower anew each time."""

    def __init__(
        self,
        images: Sequence[LabelledImage],
        backbone: Backbone,
        statistics: Normalisation,
        decode: Decode,
        pool: Executor,
        augment: Augment,
        seed: int,
    ) -> None:
        self.images = images
        self.unreadable: dict[Path, str] = {}
        self._backbone, self._statistics = backbone, statistics
        self._decode, self._pool = decode, pool
        self._augment: Augment = augment
        self._seed = seed

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """One batch for each list of rows, augmented as seed, epoch and row say."""

        def work(row: int) -> NDArray[np.uint8] | None:
            image = self.images[row]
            try:
                picture = self._decode(image.path.read_bytes())
            except (ImageRejected, OSError) as error:
                self.unreadable[image.path] = str(error)
                return None
            size = self._backbone.image_size
            return view(
                picture, size, self._augment, seed=self._seed, epoch=epoch, index=row, group=image.group or str(row)
            )

        for place, (rows, parts) in enumerate(_ahead(self._pool, work, order)):
            kept = [(row, part) for row, part in zip(rows, parts, strict=True) if part is not None]
            if kept:
                pixels = np.stack([part for _, part in kept])
                yield Batch(place, [row for row, _ in kept], see(self._backbone, pixels, self._statistics))


@torch.no_grad()
def see(backbone: Backbone, pixels: NDArray[np.uint8], statistics: Normalisation) -> torch.Tensor:
    """Vision features [B, T, Hv] of uint8 [B, S, S, 3], rounded as the cache rounds them."""
    ready = torch.from_numpy(pixels).to(backbone.device)
    return vision_features(backbone, normalise(ready, statistics)).to(DTYPE)


def keep(
    images: Sequence[LabelledImage],
    backbone: Backbone,
    statistics: Normalisation,
    decode: Decode,
    pool: Executor,
    cache: FeatureCache | None,
    advance: Callable[[int], None] = lambda _: None,
) -> Kept | Fresh:
    """All features from one pass, from the cache where it has them; Fresh where they fit in neither memory nor cache.

    advance: told how many more pictures are done.
    """
    in_memory = len(images) * feature_bytes(feature_shape(backbone)) <= MEMORY_BYTES
    if cache is None and not in_memory:
        return Fresh(images, backbone, statistics, decode, pool, "none", seed=0)
    chunk = 1 if backbone.device.type == "cpu" else _CHUNK  # alone: then a feature is a function of its picture
    unreadable: dict[Path, str] = {}
    kept: list[LabelledImage] = []
    hashes: list[str] = []
    parts: list[torch.Tensor] = []
    reused = 0

    def work(row: int) -> _Looked:
        return _look(images[row], backbone.image_size, decode, cache)

    order = [range(start, min(start + chunk, len(images))) for start in range(0, len(images), chunk)]
    for rows, looked in _ahead(pool, work, order):
        _fill(looked, backbone, statistics, cache)
        for row, one in zip(rows, looked, strict=True):
            if one.problem or one.features is None:
                unreadable[images[row].path] = one.problem
                continue
            kept.append(images[row])
            hashes.append(one.sha256)
            reused += one.reused
            if in_memory:
                parts.append(one.features)
        advance(len(rows))
    if in_memory or cache is None:
        found = torch.stack(parts) if parts else torch.empty(0, *feature_shape(backbone), dtype=DTYPE)
        return Kept(kept, found, pool, unreadable, reused)
    return Kept(kept, (cache, hashes), pool, unreadable, reused)


def statistics_of(
    images: Sequence[LabelledImage], size: int, decode: Decode, pool: Executor, seed: int
) -> Normalisation:
    """Mean and deviation by channel of the pictures as the detector sees them, of at most SAMPLE drawn by `seed`.

    Sums of whole numbers, so the order of reading changes nothing. Raises ValueError if none can be read.
    """
    chosen: Sequence[LabelledImage] = images
    if len(images) > SAMPLE:
        chosen = sorted(images, key=lambda image: number(seed, image.path.name, image.group))[:SAMPLE]
    total, squares, pixels = np.zeros(3, np.int64), np.zeros(3, np.int64), 0

    def work(row: int) -> NDArray[np.int64] | None:
        try:
            values = square(decode(chosen[row].path.read_bytes()), size).reshape(-1, 3).astype(np.int64)
        except (ImageRejected, OSError):
            return None
        return np.stack([values.sum(axis=0), (values**2).sum(axis=0)])

    for _, parts in _ahead(pool, work, [[row] for row in range(len(chosen))]):
        if (part := parts[0]) is not None:
            total, squares, pixels = total + part[0], squares + part[1], pixels + size * size
    if not pixels:
        raise ValueError("no picture could be read")
    mean = total / pixels / 255
    std = np.sqrt(np.maximum(squares / pixels / 255**2 - mean**2, 1e-6))
    red, green, blue = (round(float(value), _PLACES) for value in mean)
    red_std, green_std, blue_std = (max(round(float(value), _PLACES), 10**-_PLACES) for value in std)
    return Normalisation((red, green, blue), (red_std, green_std, blue_std))


@dataclass(eq=False)
class _Looked:
    """A file that was looked at: its features from the cache, or its pixels to make them of, or what is wrong."""

    sha256: str = ""
    features: torch.Tensor | None = None
    pixels: NDArray[np.uint8] | None = None
    problem: str = ""
    reused: bool = False


def _look(image: LabelledImage, size: int, decode: Decode, cache: FeatureCache | None) -> _Looked:
    try:
        data = image.path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        features = cache.get(sha256) if cache else None
        if features is not None:
            return _Looked(sha256, features, reused=True)
        return _Looked(sha256, pixels=square(decode(data), size))
    except (ImageRejected, OSError) as error:
        return _Looked(problem=str(error))


def _fill(looked: Sequence[_Looked], backbone: Backbone, statistics: Normalisation, cache: FeatureCache | None) -> None:
    """Makes the features that are missing, and hands them to the cache."""
    missing = [one for one in looked if one.pixels is not None]
    if not missing:
        return
    made = see(backbone, np.stack([one.pixels for one in missing if one.pixels is not None]), statistics).cpu()
    for one, features in zip(missing, made, strict=True):
        one.features = features.clone()
        one.pixels = None
        if cache:
            cache.put(one.sha256, one.features)


def _still_there(features: torch.Tensor | None, cache: FeatureCache) -> torch.Tensor:
    if features is None:
        raise RuntimeError(f"an entry of {cache.folder} was removed or damaged while it was in use")
    return features


def _ahead(
    pool: Executor, work: Callable[[int], T], order: Sequence[Sequence[int]]
) -> Iterator[tuple[Sequence[int], list[T]]]:
    """The results for each list of rows; the next lists are under way while the caller uses one."""
    waiting: list[tuple[Sequence[int], list[Future[T]]]] = []
    for rows in order:
        waiting.append((rows, [pool.submit(work, row) for row in rows]))
        if len(waiting) * len(rows) > 2 * _CHUNK and len(waiting) > 1:
            first, jobs = waiting.pop(0)
            yield first, [job.result() for job in jobs]
    for first, jobs in waiting:
        yield first, [job.result() for job in jobs]
