"""One labelled picture, the identity of a data set, and the split that keeps a source picture's descendants together.

Nothing here opens a picture or decides what is real: it only carries what a folder tree or a manifest says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moderation.errors import ConfigurationError

SPLITS = ("train", "val", "test")
REAL_GENERATOR = "none"
_ONE_OF_A_KIND = 2  # groups: fewer than this can't stand on both sides of a split


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A picture's file and what is known about it. An empty text means that it was not said."""

    path: Path
    is_fake: bool
    set: str  # the test set's name; per-set figures are grouped by it
    generator: str  # what made it; 'none' for a real one
    source: str  # where it was taken from, as the platform groups it; per-source calibration is keyed by it
    group: str  # pictures made from one source picture share it; the bootstrap and splits keep them together
    split: str  # 'train', 'val', 'test' or ''
    weight: float = 1.0  # how much it counts in training, against the others of its class


def manifest_sha256(images: Iterable[LabelledImage]) -> str:
    """The data set's identity: 64 hex digits over every picture's name, label, set, generator, source, split, bytes.

    Names count from the pictures' deepest common folder, so that moving the whole changes nothing; neither does the
    order. File sizes are read, contents are not. A file that is not there counts as one of no size.
    """
    listed = list(images)
    paths = [os.path.abspath(image.path) for image in listed]  # noqa: PTH100 - text: ten times faster over 150,000
    above = _common_folder(paths)
    lines = sorted(_line(image, path[above:]) for image, path in zip(listed, paths, strict=True))
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("ascii") + b"\n")
    return digest.hexdigest()


def split_by_group(
    images: Sequence[LabelledImage], share: float, seed: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """The pictures without and with about `share` (0 to 1) of the groups: to train on, and to validate on.

    Groups are drawn by the SHA-256 of seed and name, apart for groups whose first picture by path is real and those
    where it is fake. Order within each half is kept. Raises ConfigurationError when a half would lack a class.
    """
    if not 0 < share < 1:
        raise ConfigurationError("validation share", f"{share:g} is no share", hint="more than 0 and less than 1")
    chosen: set[str] = set()
    for is_fake, groups in _strata(images).items():
        if len(groups) < _ONE_OF_A_KIND:
            raise _too_few(is_fake, len(groups))
        ordered = sorted(groups, key=lambda group: hashlib.sha256(_bytes(f"{seed}\n{group}")).digest())
        chosen.update(ordered[: min(max(1, round(share * len(groups))), len(groups) - 1)])
    train = [image for image in images if image.group not in chosen]
    val = [image for image in images if image.group in chosen]
    for half in (train, val):
        count = Counter(image.is_fake for image in half)
        for is_fake in (False, True):
            if not count[is_fake]:
                raise _too_few(is_fake, len({image.group for image in images if image.is_fake == is_fake}))
    return train, val


def _strata(images: Sequence[LabelledImage]) -> dict[bool, list[str]]:
    first: dict[str, LabelledImage] = {}
    for image in images:
        known = first.get(image.group)
        if known is None or (str(image.path), image.is_fake) < (str(known.path), known.is_fake):
            first[image.group] = image
    strata: dict[bool, list[str]] = {}
    for group, image in first.items():
        strata.setdefault(image.is_fake, []).append(group)
    return strata


def _too_few(is_fake: bool, groups: int) -> ConfigurationError:
    kind = "fake" if is_fake else "real"
    pictures = "no picture" if not groups else "one source picture" if groups == 1 else f"{groups} source pictures"
    return ConfigurationError(
        "training data",
        f"{pictures} to be {kind}: validation and training would not both have a {kind} one",
        hint="give more pictures that were not made from the same one, or give validation pictures of their own",
    )


def _common_folder(paths: Sequence[str]) -> int:
    """How many characters of every path are their deepest common folder and the slash after it."""
    if not paths:
        return 0
    folder = os.path.commonpath({os.path.dirname(path) for path in paths})  # noqa: PTH120 - as above
    return len(folder.rstrip(os.sep)) + 1


def _line(image: LabelledImage, name: str) -> str:
    try:
        size = image.path.stat().st_size
    except OSError:
        size = None
    fields = (name.replace(os.sep, "/"), image.is_fake, image.set, image.generator, image.source, image.split, size)
    return json.dumps(fields if image.weight == 1 else (*fields, image.weight))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # file names may hold any bytes
