"""Reads the trees of published data sets: somewhere below ROOT, folders of real and of fake pictures per generator.

One reader for all of them, since they differ only in names and in the order of split, set and category. It decides
nothing about what is missing or unknown: it names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moderation.datasets.labelled import LabelledImage
from moderation.datasets.walk import ClassFolder, check_folder, label, sub_folders
from moderation.errors import ConfigurationError

_CLASSES = {"0_real": False, "real": False, "nature": False, "1_fake": True, "fake": True, "ai": True}
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_DEPTH = 5  # folders between ROOT and a class folder; the deepest tree met has four


@dataclass(frozen=True, slots=True)
class PresetData:
    """What a preset found below a root."""

    name: str
    sets: tuple[str, ...]  # found, the preset's own order first
    missing: tuple[str, ...]  # sets of the publication, and folders of reals held against them, that are not there
    unknown: tuple[str, ...]  # folders directly below the root that mean nothing to the preset
    images: tuple[LabelledImage, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A publication's sets and how their folders are called."""

    name: str
    sets: tuple[str, ...]
    scored: str  # the split that the publication reports on
    tree: str  # for messages
    aliases: Mapping[str, str] = field(default_factory=dict)  # plain(folder name) -> set
    containers: tuple[str, ...] = ()  # folders that mean nothing, by name
    real_of: Mapping[str, str] = field(default_factory=dict)  # set without reals of its own -> folder of its reals


@dataclass(frozen=True, slots=True)
class _Place:
    """A parent of class folders: which set and split its path names, and by what folder name."""

    set: str
    named: str
    split: str
    classes: tuple[ClassFolder, ...]
    pairs: str | None


def plain(name: str) -> str:
    """A folder's name without case, blanks and punctuation, except '+'."""
    return re.sub(r"[^a-z0-9+]", "", name.lower())


def read_layout(root: Path, layout: Layout, splits: Sequence[str] | None = None) -> PresetData:
    """The pictures of the `splits`, by default of the one that the publication reports on.

    Folders that name no split count as that one. Raises ConfigurationError where nothing is found.
    """
    check_folder("data", root)
    wanted = tuple(splits) if splits is not None else (layout.scored,)
    everywhere = list(_places(root, (), layout, root.resolve().name))
    places = [place for place in _with_reals(everywhere, layout) if place.split in wanted]
    if not places:
        raise ConfigurationError(
            "data", f"{root} holds no {' or '.join(wanted)} pictures of {layout.name}", hint=f"expected {layout.tree}"
        )
    _check_one_folder_a_set(places, layout)
    found = {place.set for place in places}
    sets = (*(name for name in layout.sets if name in found), *sorted(found - set(layout.sets)))
    images = (
        image
        for name in sets
        for place in places
        if place.set == name
        for image in label(place.classes, set=name, generator=name, split=place.split, pairs=place.pairs)
    )
    return PresetData(
        layout.name,
        sets,
        (*(name for name in layout.sets if name not in found), *_missing_reals(places, layout)),
        _unknown(root, layout),
        tuple(images),
    )


def _places(folder: Path, parts: tuple[str, ...], layout: Layout, root_name: str) -> Iterator[_Place]:
    classes, others = [], []
    for below in sub_folders(folder):
        is_fake = _CLASSES.get(below.name.lower())
        if is_fake is None:
            others.append(below)
        else:
            classes.append(ClassFolder(below, is_fake, "/".join((*parts, below.name))))
    if classes:
        yield _place(parts, classes, layout, root_name)
    if len(parts) < _DEPTH:
        for below in others:
            yield from _places(below, (*parts, below.name), layout, root_name)


def _place(parts: tuple[str, ...], classes: Sequence[ClassFolder], layout: Layout, root_name: str) -> _Place:
    splits = [_SPLIT_NAMES[part.lower()] for part in parts if part.lower() in _SPLIT_NAMES]
    names = [part for part in parts if not _is_container(part, layout)] or [root_name]
    known = {**{plain(name): name for name in layout.sets}, **layout.aliases}
    named = next((name for name in names if plain(name) in known), names[0])
    return _Place(
        set=known.get(plain(named), named),
        named=named,
        split=splits[-1] if splits else layout.scored,
        classes=tuple(classes),
        pairs="/".join(parts),
    )


def _with_reals(places: Sequence[_Place], layout: Layout) -> list[_Place]:
    """Gives sets of fakes alone the reals that the publication holds against them, and drops the reals' own places."""
    have = {place.set for place in places if any(not folder.is_fake for folder in place.classes)}
    borrowed: set[str] = set()
    given = []
    for place in places:
        donor = layout.real_of.get(place.set)
        if donor is None or place.set in have or donor not in have:
            given.append(place)
            continue
        borrowed.add(donor)
        reals = [folder for other in places if other.set == donor for folder in other.classes if not folder.is_fake]
        given.append(replace(place, classes=(*reals, *place.classes), pairs=None))
    return [place for place in given if place.set not in borrowed]


def _missing_reals(places: Sequence[_Place], layout: Layout) -> list[str]:
    have = {place.set for place in places if any(not folder.is_fake for folder in place.classes)}
    return sorted({layout.real_of[place.set] for place in places if place.set in layout.real_of.keys() - have})


def _check_one_folder_a_set(places: Sequence[_Place], layout: Layout) -> None:
    named: dict[tuple[str, str], str] = {}
    for place in places:
        other = named.setdefault((place.set, place.split), place.named)
        if other != place.named:
            raise ConfigurationError(
                "data",
                f"{other}/ and {place.named}/ are both {place.set} of {layout.name}",
                hint="move one of them elsewhere",
            )


def _unknown(root: Path, layout: Layout) -> tuple[str, ...]:
    return tuple(
        folder.name
        for folder in sub_folders(root)
        if folder.name.lower() not in _CLASSES
        and not _is_container(folder.name, layout)
        and next(_places(folder, (folder.name,), layout, root.name), None) is None
    )


def _is_container(name: str, layout: Layout) -> bool:
    return name.lower() in _SPLIT_NAMES or name.lower() in layout.containers
