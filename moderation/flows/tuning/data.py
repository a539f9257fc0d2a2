"""Which pictures a tuning run trains on and validates on. Refuses halves that lack a class or share a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moderation.datasets.folders import from_folders, from_root
from moderation.datasets.labelled import LabelledImage, split_by_group
from moderation.datasets.manifest import read_manifest
from moderation.errors import ConfigurationError

SHARE = 0.1  # of the source pictures, for validation. A convention
_CLASSES = ("real", "fake")


@dataclass(frozen=True, slots=True)
class TuningData:
    """The two halves, and how many pictures were left out because they are for testing."""

    train: Sequence[LabelledImage]
    val: Sequence[LabelledImage]
    left_out: int = 0

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """{half: {what it is counted by: {value: pictures}}}."""
        return {name: counted(images) for name, images in (("train", self.train), ("val", self.val))}


def gather(
    *, real: Sequence[Path], fake: Sequence[Path], manifest: Path | None, val: str | None, seed: int
) -> TuningData:
    """The pictures in folders or a manifest. val: a share, a manifest or a folder ROOT; None: what the manifest calls
    `val`, else SHARE of the source pictures. Raises ConfigurationError."""
    images = read_manifest(manifest) if manifest else from_folders(real, fake)
    pool = [image for image in images if image.split not in ("test", "val")]
    named = [image for image in images if image.split == "val"]
    left_out = len(images) - len(pool) - len(named)
    share = _share(val)
    if val is not None and share is None:
        train, chosen = pool, _from_path(Path(val))
        left_out += len(named)
    elif named and val is None:
        train, chosen = pool, named
    else:
        train, chosen = _split([*pool, *named], SHARE if share is None else share, seed)
    data = TuningData(train, chosen, left_out)
    _check(data)
    return data


def check_classes(images: Sequence[LabelledImage], option: str, what: str) -> None:
    """Raises ConfigurationError unless there are real and fake pictures among `images`."""
    for is_fake, name in enumerate(_CLASSES):
        if not any(image.is_fake == bool(is_fake) for image in images):
            raise ConfigurationError(
                option, f"there is no {name} picture to {what} ({len(images)} in all)", hint="both classes are needed"
            )


def _share(val: str | None) -> float | None:
    try:
        return None if val is None else float(val)
    except ValueError:
        return None


def _split(images: list[LabelledImage], share: float, seed: int) -> tuple[list[LabelledImage], list[LabelledImage]]:
    try:
        return split_by_group(images, share, seed)
    except ConfigurationError as error:
        raise ConfigurationError("--val", error.problem, hint=error.hint) from None


def _from_path(path: Path) -> list[LabelledImage]:
    if path.is_dir():
        return from_root(path)
    if path.is_file():
        return read_manifest(path)
    raise ConfigurationError("--val", f"{path} is no share, manifest or folder", hint="for example: --val 0.1")


def _check(data: TuningData) -> None:
    check_classes(data.train, "training data", "train on")
    check_classes(data.val, "--val", "validate on")
    seen = {image.path.resolve() for image in data.train}
    both = [image.path for image in data.val if image.path.resolve() in seen]
    if both:
        raise ConfigurationError(
            "--val", f"{both[0]} is among the training pictures too ({len(both)} in all)",
            hint="validation must not see what was trained on",
        )  # fmt: skip


def counted(images: Sequence[LabelledImage]) -> dict[str, dict[str, int]]:
    """{what they are counted by: {value: pictures}}."""
    plain = [replace(image, generator=image.generator or "unknown", source=image.source or "unknown")
             for image in images]  # fmt: skip
    return {
        "class": dict(Counter(_CLASSES[image.is_fake] for image in plain)),
        "generator": dict(Counter(image.generator for image in plain if image.is_fake)),
        "source": dict(Counter(image.source for image in plain)),
    }
