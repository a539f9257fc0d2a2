"""The slices of a part: by source, by generator, by size. No picture drops out of them for want of a name.

Names that differ only in case or spaces are one, so that spelling hides nothing; slices too small to say anything are
looked at once more together, so that many small names hide nothing either.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.evaluation.bootstrap import group_codes
from moderation.evaluation.gate_result import GENERATOR
from moderation.evaluation.gate_rules import FEWEST

UNNAMED = "(unknown)"
SMALL_ONES = "(all small ones)"
Flags = NDArray[np.bool_]


def slices(
    source: NDArray[Any], generator: NDArray[Any], band: NDArray[Any], is_fake: Flags, group: NDArray[Any]
) -> Iterator[tuple[str, Flags]]:
    """(name, which rows) by kind and name. A generator's: its fakes against every real picture."""
    everyone = np.ones(len(is_fake), dtype=np.bool_)
    for kind, names, own in (("source", source, everyone), (GENERATOR, generator, is_fake), ("size", band, everyone)):
        yield from _of_kind(kind, np.array([plain(str(name)) for name in names], dtype=object), own, group)


def _of_kind(kind: str, names: NDArray[Any], own: Flags, group: NDArray[Any]) -> Iterator[tuple[str, Flags]]:
    found = sorted(set(names[own].tolist()))
    if found in ([], [UNNAMED]):
        return  # nothing is known: the slice would be the part
    small = []
    for name in found:
        members = own & (names == name)
        if group_codes(group[members])[1] < FEWEST:
            small.append(name)
        yield f"{kind}={name}", members | ~own
    if len(small) > 1:
        yield f"{kind}={SMALL_ONES}", (own & np.isin(names, small)) | ~own


def plain(name: str) -> str:
    """The name as it is told apart and shown: one case, single spaces, nothing that a terminal would obey."""
    known = unicodedata.normalize("NFKC", name)
    shown = "".join(each if each.isprintable() else " " if each.isspace() else "" for each in known)
    return " ".join(shown.split()).casefold() or UNNAMED


def independent(is_fake: Flags, group: NDArray[Any]) -> tuple[int, int]:
    """How many near-duplicate groups hold a real picture, and how many a fake."""
    return group_codes(group[~is_fake])[1], group_codes(group[is_fake])[1]
