"""Manifest: labelled pictures in files as lessons, the way they are stored with the prompt that was tuned on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from moderation.datasets.labelled import LabelledImage
from moderation.datasets.manifest import read_manifest
from moderation.domain.lesson import Lesson, Origin, Side

PACKAGE = "miniature:"
"""Stands in a name for the folder moderation/miniature of the installed package, wherever that is."""

_SIDES = {"": Side.TRAIN, "train": Side.TRAIN, "val": Side.VAL, "test": Side.HOLDOUT}


def lessons_of(train: Iterable[LabelledImage], val: Iterable[LabelledImage]) -> list[Lesson]:
    """What was trained and validated on, by absolute paths."""
    halves = ((Side.TRAIN, train), (Side.VAL, val))
    return [_lesson(image, str(image.path.absolute()), side) for side, images in halves for image in images]


def lessons_in(manifest: Path) -> list[Lesson]:
    """The pictures of a manifest file, by absolute paths: its `val` validated, its `test` judges, the others trained.

    Raises ConfigurationError.
    """
    return [_lesson(image, str(image.path), _SIDES[image.split]) for image in read_manifest(manifest)]


def packaged_lessons(folder: Path) -> Sequence[Lesson]:
    """Of the pictures that ship in `folder`, the miniature's, those that its prompt was tuned on; none where it has no
    replay/manifest.csv. Their names hold in any installation."""
    manifest = folder / "replay" / "manifest.csv"
    if not manifest.is_file():
        return ()
    return [
        _lesson(image, f"{PACKAGE}{image.path.relative_to(folder.absolute()).as_posix()}", _SIDES[image.split])
        for image in read_manifest(manifest)
    ]


def _lesson(image: LabelledImage, name: str, side: Side) -> Lesson:
    return Lesson(
        origin=Origin.FILE,
        name=name,
        is_fake=image.is_fake,
        side=side,
        generator=image.generator,
        source=image.source,
        group=image.group,
        weight=image.weight,
    )
