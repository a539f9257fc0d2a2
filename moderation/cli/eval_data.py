"""The pictures that `modctl eval` measures on, from a folder, a published data set's folder, or a manifest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from moderation.cli.shared import counted, say
from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from moderation.datasets.labelled import LabelledImage
    from moderation.flows.measuring.evaluate import LabelledSet

ALL = "all"


def read_data(
    data: Path | None, manifest: Path | None, *, preset: str | None, split: str | None, limit: int | None, seed: int
) -> LabelledSet:
    """One of `data` and `manifest` is given. split None: test, where the data name splits.

    Raises ConfigurationError.
    """
    from moderation.datasets.labelled import manifest_sha256
    from moderation.evaluation.sample import sampled
    from moderation.flows.measuring.evaluate import LabelledSet

    path = data or manifest or Path()
    everything, missing = _read(data, manifest, preset, split)
    images = _of_split(everything, split, path) if preset is None else everything
    hashes = _hashes(everything, images)
    unnamed = path.resolve().stem
    images = [image if image.set else replace(image, set=unnamed) for image in images]
    if limit is not None:
        images = sampled(images, limit, seed)
    facts = {
        "path": str(path.absolute()),
        "preset": preset,
        "split": split,
        "limit_per_set": limit,
        "sha256": manifest_sha256(images),
    }
    return LabelledSet(preset or unnamed, images, facts, missing, hashes)


def _hashes(everything: list[LabelledImage], chosen: list[LabelledImage]) -> frozenset[str]:
    """Of what somebody may have tuned or calibrated on that holds any of `chosen`.

    That is all of the data, one of its splits, or all but the test pictures; and of folders one set, which had no name
    where its folders were given one by one.
    """
    from moderation.datasets.labelled import manifest_sha256

    there = frozenset(image.split for image in everything)
    wanted = {image.split for image in chosen}
    parts = {there, there - {"test"}, there & {"train", "val"}, frozenset(wanted), *(frozenset({one}) for one in there)}
    found = {manifest_sha256(image for image in everything if image.split in part) for part in parts if part & wanted}
    if there == {""}:
        sets: dict[str, list[LabelledImage]] = {}
        for image in everything:
            sets.setdefault(image.set, []).append(replace(image, set=""))
        unnamed = [image for images in sets.values() for image in images]
        found |= {manifest_sha256(images) for images in (unnamed, *sets.values())}
    return frozenset(found)


def _read(
    data: Path | None, manifest: Path | None, preset: str | None, split: str | None
) -> tuple[list[LabelledImage], tuple[str, ...]]:
    from moderation.datasets.folders import from_root
    from moderation.datasets.labelled import SPLITS
    from moderation.datasets.manifest import read_manifest
    from moderation.datasets.presets import read_preset

    if manifest is not None:
        return read_manifest(manifest), ()
    root = data or Path()
    if preset is None:
        return from_root(root), ()
    wanted = None if split is None else SPLITS if split == ALL else (split,)
    found = read_preset(root, preset, wanted)
    if found.unknown:
        say(f"not part of {preset}, left out: {', '.join(found.unknown)}")
    return list(found.images), found.missing


def _of_split(images: list[LabelledImage], split: str | None, path: Path) -> list[LabelledImage]:
    """The pictures of `split`; if none is named, the test pictures, or all where no picture says its split."""
    named = Counter(image.split for image in images)
    if split == ALL or (split is None and set(named) == {""}):
        return images
    wanted = split or "test"
    found = [image for image in images if image.split == wanted]
    if not found:
        there = ", ".join(f"{name or 'none'} ({number})" for name, number in sorted(named.items()))
        raise ConfigurationError(str(path), f"no picture of split {wanted}", hint=f"it holds {there}; choose: --split")
    if len(found) < len(images):
        say(f"split {wanted}: {len(found)} of {counted(len(images), 'picture')}")
    return found
