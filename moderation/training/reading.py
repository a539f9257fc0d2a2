"""Files read and decoded side by side, ahead of who needs them; and the statistics to normalise pictures with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderation.datasets.labelled import LabelledImage
from moderation.detector.preprocess import Normalisation
from moderation.errors import ImageRejected
from moderation.images.resize import square
from moderation.training.augment import number

CHUNK = 16
"""Pictures that go through the vision tower at once when features are kept."""
SAMPLE = 5000
"""Pictures that our own normalisation is computed from, at most: a channel's mean is then known to about .002."""
_PLACES = 4  # the decimals of the original's statistics

T = TypeVar("T")

Decode = Callable[[bytes], Image.Image]
"""A file's bytes as an RGB picture. Raises ImageRejected."""


def sample_of(images: Sequence[LabelledImage], seed: int) -> Sequence[LabelledImage]:
    """All of them, or SAMPLE drawn by `seed` where they are more."""
    if len(images) <= SAMPLE:
        return images
    return sorted(images, key=lambda image: number(seed, image.path.name, image.group))[:SAMPLE]


def statistics_of(
    images: Sequence[LabelledImage],
    size: int,
    decode: Decode,
    pool: Executor,
    advance: Callable[[int], None] = lambda _: None,
) -> Normalisation:
    """Mean and deviation by channel of the pictures as the detector sees them.

    Sums of whole numbers, so the order of reading changes nothing. advance: told how many more pictures are done.
    Raises ValueError if none can be read.
    """
    total, squares, pixels = np.zeros(3, np.int64), np.zeros(3, np.int64), 0

    def work(row: int) -> NDArray[np.int64] | None:
        try:
            values = square(decode(images[row].path.read_bytes()), size).reshape(-1, 3).astype(np.int64)
        except (ImageRejected, OSError):
            return None
        return np.stack([values.sum(axis=0), (values**2).sum(axis=0)])

    for _, parts in ahead(pool, work, [[row] for row in range(len(images))]):
        advance(1)
        if (part := parts[0]) is not None:
            total, squares, pixels = total + part[0], squares + part[1], pixels + size * size
    if not pixels:
        raise ValueError("no picture could be read")
    mean = total / pixels / 255
    std = np.sqrt(np.maximum(squares / pixels / 255**2 - mean**2, 1e-6))
    red, green, blue = (round(float(value), _PLACES) for value in mean)
    red_std, green_std, blue_std = (max(round(float(value), _PLACES), 10**-_PLACES) for value in std)
    return Normalisation((red, green, blue), (red_std, green_std, blue_std))


def ahead(
    pool: Executor, work: Callable[[int], T], order: Sequence[Sequence[int]]
) -> Iterator[tuple[Sequence[int], list[T]]]:
    """The results for each list of rows; the next lists are under way while the caller uses one."""
    waiting: list[tuple[Sequence[int], list[Future[T]]]] = []
    for rows in order:
        waiting.append((rows, [pool.submit(work, row) for row in rows]))
        if len(waiting) * len(rows) > 2 * CHUNK and len(waiting) > 1:
            first, jobs = waiting.pop(0)
            yield first, [job.result() for job in jobs]
    for first, jobs in waiting:
        yield first, [job.result() for job in jobs]
