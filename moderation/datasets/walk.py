"""Walks folders for picture files: sorted, hidden ones left out, links followed but never in circles.

Goes by names alone and opens nothing. What a folder means is decided by its callers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from moderation.datasets.labelled import REAL_GENERATOR, LabelledImage
from moderation.errors import ConfigurationError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")  # what moderation.images decodes, in any case


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """A folder whose pictures, at any depth, are all real or all fake. `name` is how groups call it."""

    path: Path
    is_fake: bool
    name: str


def check_folder(setting: str, folder: Path) -> None:
    """Raises ConfigurationError when `folder` is no folder."""
    if folder.is_dir():
        return
    if folder.exists():
        raise ConfigurationError(setting, f"{folder} is a file", hint="give the folder that the pictures lie in")
    raise ConfigurationError(setting, f"{folder} does not exist", hint=f"looked for it at {folder.absolute()}")


def sub_folders(folder: Path) -> list[Path]:
    """The folders directly below, sorted by name, hidden ones left out."""
    return [folder / entry.name for entry in _entries(folder) if entry.is_dir()]


def pictures_below(folder: Path) -> list[str]:
    """The picture files at any depth, as sorted '/'-separated paths relative to `folder`.

    A folder that links lead to twice is read once. A link to nothing is kept, so that reading it can say so.
    """
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    waiting = [(folder, "")]
    while waiting:
        here, prefix = waiting.pop()
        facts = here.stat()
        if (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        below = []
        for entry in _entries(here):
            if entry.is_dir():
                below.append((here / entry.name, f"{prefix}{entry.name}/"))
            elif entry.name.lower().endswith(SUFFIXES) and _is_readable_kind(entry):
                found.append(prefix + entry.name)
        waiting.extend(reversed(below))
    return sorted(found)


def label(
    folders: Sequence[ClassFolder],
    *,
    set: str,  # noqa: A002 - the field's name
    generator: str,
    split: str,
    pairs: str | None,
) -> list[LabelledImage]:
    """The pictures of the class folders of one set, real ones first. Raises ConfigurationError for an empty folder.

    A picture whose path below its folder, less the suffix, occurs as real and as fake is in one group with its twin,
    named after `pairs`; with None, twins of name are strangers.
    """
    listings = [(folder, _listing(folder.path)) for folder in sorted(folders, key=lambda folder: folder.is_fake)]
    twins = _twins(listings) if pairs is not None else frozenset()
    return [
        LabelledImage(
            path=folder.path / name,
            is_fake=folder.is_fake,
            set=set,
            generator=generator if folder.is_fake else REAL_GENERATOR,
            source="",
            group="/".join(filter(None, (pairs, _stem(name)))) if _stem(name) in twins else f"{folder.name}/{name}",
            split=split,
        )
        for folder, names in listings
        for name in names
    ]


def no_picture(folder: Path) -> ConfigurationError:
    """What is raised for a folder without a picture."""
    return ConfigurationError(str(folder), "no picture in it", hint=f"looked for {' '.join(SUFFIXES)} at any depth")


def _listing(folder: Path) -> list[str]:
    names = pictures_below(folder)
    if not names:
        raise no_picture(folder)
    return names


def _twins(listings: Sequence[tuple[ClassFolder, list[str]]]) -> frozenset[str]:
    real, fake = (
        {_stem(name) for folder, names in listings if folder.is_fake == is_fake for name in names}
        for is_fake in (False, True)
    )
    return frozenset(real & fake)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ConfigurationError(
            str(folder), f"cannot be read: {error.strerror}", hint="make it readable for this user"
        ) from None
    return iter(sorted(visible, key=lambda entry: entry.name))


def _is_readable_kind(entry: os.DirEntry[str]) -> bool:
    """Whether opening it can't hang, as a named pipe would."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110 - an entry is text


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
