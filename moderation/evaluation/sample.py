"""Which pictures of a large set are looked at when not all are to be: the same ones on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from moderation.datasets.labelled import LabelledImage


def sampled(images: Sequence[LabelledImage], per_set: int, seed: int) -> list[LabelledImage]:
    """At most `per_set` pictures of each set, half of each class where there are enough, in the order given.

    Drawn by the SHA-256 of seed and group, so that a fake is drawn together with the real one it was made from.
    """
    strata: dict[tuple[str, bool], list[int]] = {}
    for number, image in enumerate(images):
        strata.setdefault((image.set, image.is_fake), []).append(number)
    kept: set[int] = set()
    for name in {image.set for image in images}:
        real, fake = (strata.get((name, is_fake), []) for is_fake in (False, True))
        n_real = min(len(real), max(per_set - len(fake), (per_set + 1) // 2))
        for numbers, wanted in ((real, n_real), (fake, per_set - n_real)):
            kept.update(sorted(numbers, key=lambda number: _place(images[number], seed))[:wanted])
    return [image for number, image in enumerate(images) if number in kept]


def _place(image: LabelledImage, seed: int) -> tuple[bytes, str]:
    text = f"{seed}\n{image.group}".encode("utf-8", "surrogateescape")  # file names may hold any bytes
    return hashlib.sha256(text).digest(), image.path.name
