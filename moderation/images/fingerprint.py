"""Perceptual hashes: near-duplicates have nearly the same one. PDQ, 256 bits, as 64 hexadecimal digits.

It sees through another size or encoding of a picture, and slight edits; not through crops, turns and mirrors. Two
pictures that look alike may still be a photograph and its fake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEAR_BITS = 31
"""Hashes that differ in so many of 256 bits, or fewer, match: facebook/ThreatExchange, pdq/README.md, "Matching"."""
MIN_QUALITY = 50
"""Hashes of a lower quality (0..100) are discarded: the same place. Flat pictures all look alike to PDQ."""

_LONGEST = 512  # pixels a side; what is larger is brought to it first, as the reference's C++ hasher does
_WORDS = 4  # of 64 bits
_ROWS, _COLUMNS = 256, 4096  # of one block of distances: its numbers stay in a processor's cache


def pdq(image: Image.Image) -> str:
    """The hash of an RGB picture; '' where it has none that could be relied on."""
    import numpy as np
    import pdqhash

    if max(image.size) > _LONGEST:
        image = image.resize((_LONGEST, _LONGEST), Image.Resampling.BILINEAR, reducing_gap=2.0)
    bits, quality = pdqhash.compute(np.array(image, dtype=np.uint8))
    return np.packbits(bits.astype(np.uint8)).tobytes().hex() if quality >= MIN_QUALITY else ""


def hamming(one: str, other: str) -> int:
    """In how many of their 256 bits two hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def near_groups(hashes: Sequence[str], bits: int = NEAR_BITS) -> list[int]:
    """For each hash the number of its group: near ones share a group, and so does what they are near to, and so on.

    A group's number is the place of its first hash. '' is alone. Compares each with each: 20,000 take seconds.
    """
    import numpy as np

    places: dict[str, int] = {}
    for place, each in enumerate(hashes):
        if each:
            places.setdefault(each, place)
    labels = np.fromiter(places.values(), dtype=np.int64, count=len(places))
    codes = np.frombuffer(bytes.fromhex("".join(places)), dtype=np.uint64).reshape(-1, _WORDS)
    for first, near in _near_blocks(codes, bits):
        _merge(labels, *first, near)
    found = dict(zip(places, labels.tolist(), strict=True))
    return [found.get(each, place) for place, each in enumerate(hashes)]


def _near_blocks(codes: NDArray[np.uint64], bits: int) -> Iterator[tuple[tuple[int, int], NDArray[np.bool_]]]:
    """(first row, first column) and bool [rows, columns] of each block in which two different codes are near."""
    import numpy as np

    for top in range(0, len(codes), _ROWS):
        rows = codes[top : top + _ROWS, None]
        for left in range(top - top % _COLUMNS, len(codes), _COLUMNS):
            columns = codes[None, left : left + _COLUMNS]
            # Unrelated hashes differ in about 64 of the first 128 bits, so these alone rule out nearly every pair.
            half = np.bitwise_count(rows[..., 0] ^ columns[..., 0]) + np.bitwise_count(rows[..., 1] ^ columns[..., 1])
            near = half <= bits
            row, column = np.nonzero(near)
            if not row.size:
                continue
            rest = np.bitwise_count(rows[row, 0, 2:] ^ columns[0, column, 2:]).sum(axis=1)
            near[row, column] = half[row, column] + rest <= bits
            yield (top, left), near


def _merge(labels: NDArray[np.int64], top: int, left: int, near: NDArray[np.bool_]) -> None:
    """Gives all that are near to each other their lowest label."""
    import numpy as np

    for row in np.flatnonzero(near.any(axis=1)).tolist():
        joined = np.unique(labels[left + np.flatnonzero(near[row])])
        own = labels[top + row]
        if joined.size == 1 and joined[0] == own:
            continue
        lowest = min(int(own), int(joined[0]))
        labels[np.isin(labels, joined) | (labels == own)] = lowest
