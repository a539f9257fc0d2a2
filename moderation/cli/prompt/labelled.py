"""The labelled pictures a calibration is fitted on: which ones are meant, and how their classes are weighed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from moderation.datasets import LabelledImage

_AS_LABELLED = "data"


@dataclass(frozen=True)
class Chosen:
    """facts: for the record; hashes: of all data sets these pictures may be, or be part of."""

    images: list[LabelledImage]
    facts: dict[str, Any]
    hashes: set[str]


class Prevalence(click.ParamType[float | str]):
    """A share of fakes, or 'data'."""

    name = "share"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float | str:
        if value == _AS_LABELLED:
            return _AS_LABELLED
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            self.fail(f"{value!r} is neither a share between 0 and 1 nor '{_AS_LABELLED}'", parameter, context)
        return share


def read_labelled(data: Path | None, manifest: Path | None, split: str | None) -> Chosen:
    """One of `data` and `manifest` is given. split None: val, where the data name splits. Raises ConfigurationError."""
    from moderation.datasets import from_root, manifest_sha256, read_manifest

    path = data or manifest or Path()
    images = read_manifest(path) if manifest is not None else from_root(path)
    named = Counter(image.split for image in images)
    wanted = split or ("all" if set(named) == {""} else "val")
    chosen = [image for image in images if wanted in {"all", image.split}]
    if not chosen:
        there = ", ".join(f"{name or 'none'} ({number})" for name, number in sorted(named.items()))
        raise ConfigurationError(str(path), f"no picture of split {wanted}", hint=f"it holds {there}; choose: --split")
    tuning = [image for image in images if image.split in {"train", "val"}]
    sha256 = manifest_sha256(chosen)
    hashes = {sha256, manifest_sha256(images), *([manifest_sha256(tuning)] if tuning else [])}
    return Chosen(chosen, {"data": path.resolve().name, "data_sha256": sha256, "split": wanted}, hashes)
