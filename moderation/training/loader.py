"""From labelled files to vision features, batch by batch: kept from one pass over the pictures, or made anew each time.

A file that can't be read as a picture is left out and named; it never stops a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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
from moderation.training.augment import view
from moderation.training.cache import DTYPE, FeatureCache, feature_bytes, feature_shape
from moderation.training.plan import Augment
from moderation.training.reading import CHUNK, Decode, ahead

MEMORY_BYTES = 2 * 2**30
"""Features up to this size are held in memory; 3,000 pictures of the full geometry."""


@dataclass(frozen=True, eq=False)
class Batch:
    """rows: of the feature source's `images`; features: float16 or the backbone's dtype, [B, T, Hv]."""

    number: int  # in its pass or its epoch
    rows: list[int]
    features: torch.Tensor


class Features(Protocol):
    """Pictures as the scoring functions take them."""

    images: Sequence[LabelledImage]
    unreadable: dict[Path, str]  # of those that were read; of all once `read_all` is done

    def read_all(self) -> None:
        """Reads what no batch has read so far, so that whatever comes next meets no picture that can't be read."""
        ...

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """One batch for each list of rows, less what can't be read; a batch with nothing left is left out.

        epoch: the number of the pass over the pictures, which what is drawn depends on.
        """
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

    def read_all(self) -> None:
        """Nothing is left: all were read for their features."""

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """One batch for each list of rows."""
        found = self._found
        if isinstance(found, torch.Tensor):
            for place, rows in enumerate(order):
                yield Batch(place, list(rows), found[list(rows)])
            return
        cache, hashes = found
        for place, (rows, parts) in enumerate(ahead(self._pool, lambda row: cache.get(hashes[row]), order)):
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
        self._read: set[int] = set()
        self._backbone, self._statistics = backbone, statistics
        self._decode, self._pool = decode, pool
        self._augment: Augment = augment
        self._seed = seed

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """One batch for each list of rows, augmented as seed, epoch and row say."""

        def work(row: int) -> NDArray[np.uint8] | None:
            picture = self._picture(row)
            if picture is None:
                return None
            size, group = self._backbone.image_size, self.images[row].group or str(row)
            return view(picture, size, self._augment, seed=self._seed, epoch=epoch, index=row, group=group)

        for place, (rows, parts) in enumerate(ahead(self._pool, work, order)):
            kept = [(row, part) for row, part in zip(rows, parts, strict=True) if part is not None]
            if kept:
                pixels = np.stack([part for _, part in kept])
                yield Batch(place, [row for row, _ in kept], see(self._backbone, pixels, self._statistics))

    def read_all(self) -> None:
        """An epoch leaves out what fills no batch, and a run that goes on may have no epoch left."""
        unread = [[row] for row in range(len(self.images)) if row not in self._read]
        for _ in ahead(self._pool, lambda row: self._picture(row) is None, unread):
            pass

    def _picture(self, row: int) -> Image.Image | None:
        image = self.images[row]
        self._read.add(row)
        try:
            return self._decode(image.path.read_bytes())
        except (ImageRejected, OSError) as error:
            self.unreadable[image.path] = str(error)
            return None


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
    chunk = 1 if backbone.device.type == "cpu" else CHUNK  # alone: then a feature is a function of its picture
    unreadable: dict[Path, str] = {}
    kept: list[LabelledImage] = []
    hashes: list[str] = []
    parts: list[torch.Tensor] = []
    reused = 0

    def work(row: int) -> _Looked:
        return _look(images[row], backbone.image_size, decode, cache)

    order = [range(start, min(start + chunk, len(images))) for start in range(0, len(images), chunk)]
    for rows, looked in ahead(pool, work, order):
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
