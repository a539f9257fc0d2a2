"""Look: from a labelled picture's file to everything the candidates are to see of it. Runs in reader threads.

A file that is no picture, or that a condition can't be applied to, is a value in its place, never an exception.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from moderation.datasets.labelled import LabelledImage
from moderation.domain.image import ImageFacts
from moderation.errors import ImageRejected, RejectReason
from moderation.evaluation.robustness import BASELINE, Condition
from moderation.images.source import too_many_bytes
from moderation.images.views import Views, views_of


@dataclass(frozen=True)
class Look:
    """How a picture is read. `decode` raises ImageRejected; size: the side of the backbone's pictures in pixels.

    `crops`: how many native crops the candidates look at, at most. `conditions` are applied to the pictures that
    `degraded` lists, by key; None: to all. `features` gives the shortcut features of a file.
    """

    decode: Callable[[bytes], tuple[Image.Image, ImageFacts]]
    size: int
    crops: int
    max_bytes: int
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    degraded: Collection[tuple[str, str]] | None = None
    features: Callable[[bytes, Image.Image], Mapping[str, float | str]] | None = None


@dataclass(frozen=True)
class Seen:
    """A picture as the readers leave it: its views by condition, or in place of one the reason why there is none."""

    image: LabelledImage
    sha256: str
    views: Mapping[str, Views | ImageRejected]
    features: Mapping[str, Any] | None = None


def key_of(image: LabelledImage) -> tuple[str, str]:
    """What a picture is called in the scores: its set and its absolute path."""
    return image.set, shown(image.path)


def shown(path: Path) -> str:
    """The absolute path as valid Unicode; bytes of a file name that are none are escaped."""
    return os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")


def see(image: LabelledImage, look: Look) -> Seen:
    """The picture, read once."""
    sha256 = ""
    try:
        data = _read(image.path, look.max_bytes)
        sha256 = hashlib.sha256(data).hexdigest()
        picture, _ = look.decode(data)
    except ImageRejected as error:
        return Seen(image, sha256, {BASELINE: error})
    views: dict[str, Views | ImageRejected] = {BASELINE: views_of(picture, look.size, look.crops)}
    if look.degraded is None or key_of(image) in look.degraded:
        for name, condition in look.conditions.items():
            views[name] = _under(condition, picture, sha256, look)
    features: Mapping[str, Any] | None = None
    if look.features is not None:
        known = {"set": image.set, "path": shown(image.path), "is_fake": image.is_fake, "group": image.group}
        features = {**{f"_{name}": value for name, value in known.items()}, **look.features(data, picture)}
    return Seen(image, sha256, views, features)


def _under(condition: Condition, picture: Image.Image, sha256: str, look: Look) -> Views | ImageRejected:
    try:
        return views_of(condition(picture, sha256), look.size, look.crops)
    except (OSError, ValueError, MemoryError) as error:  # Pillow's, for a picture too extreme for what is done to it
        return ImageRejected(RejectReason.UNSUPPORTED, f"{condition.name} is not possible: {error}")


def _read(path: Path, max_bytes: int) -> bytes:
    """The file's bytes. Raises ImageRejected."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a named pipe would block
            raise ImageRejected(RejectReason.BAD_ID, "not a file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise too_many_bytes(size, max_bytes)
            return file.read(max_bytes)
    except FileNotFoundError:
        raise ImageRejected(RejectReason.NOT_FOUND, "no such file") from None
    except OSError as error:
        raise ImageRejected(RejectReason.NOT_FOUND, error.strerror or str(error)) from None
