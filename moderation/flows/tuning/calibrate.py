"""Calibrate: labelled pictures scored with a prompt, and the same prompt with a calibration fitted on them.

The prompt given is not changed: what comes out is another one, whose metadata names its parent, the data and figures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from moderation.datasets.labelled import LabelledImage
from moderation.detector import Backbone, Detector, SoftPrompt
from moderation.domain.policy import DEFAULT_THRESHOLDS
from moderation.domain.prompt import prompt_id_of
from moderation.flows.scanning.local import Scanned, scan_paths
from moderation.flows.scanning.looker import Picture
from moderation.training.calibrate import MIN_PER_CLASS, CannotCalibrate, Fitted, fit

_ALL = (0.0, 1.0)


@dataclass(frozen=True)
class Calibrated:
    """The new prompt, what its calibration is worth, and the pictures that could not be scored."""

    prompt: SoftPrompt
    fitted: Fitted
    unscored: tuple[Scanned, ...]


@dataclass(frozen=True)
class Means:
    """What it works with. `prepare`: see `flows.local`; `advance` is called once a picture."""

    backbone: Backbone
    prepare: Callable[[bytes, int], Picture]
    readers: Executor
    batch_size: int
    advance: Callable[[], None] = lambda: None


def check_labels(images: Sequence[LabelledImage]) -> None:
    """Raises CannotCalibrate where there are too few pictures, before any is scored."""
    fakes = sum(image.is_fake for image in images)
    if min(fakes, len(images) - fakes) < MIN_PER_CLASS:
        raise CannotCalibrate(
            f"too few labels: {len(images) - fakes} real and {fakes} fake, and a calibration takes {MIN_PER_CLASS} of "
            "each"
        )


def passes(prompt: SoftPrompt) -> int:
    """How often each picture is scored: once, or twice where P(fake) decides whether its crops are looked at.

    The calibration moves that band, and with it the margins; the second pass fits on margins of a band nearly in place.
    """
    return 2 if prompt.crops is not None and (prompt.crops.low, prompt.crops.high) != _ALL else 1


def calibrate(
    images: Sequence[LabelledImage],
    prompt: SoftPrompt,
    means: Means,
    *,
    prevalence: float | None,
    by_source: bool,
    data: Mapping[str, Any],
) -> Calibrated:
    """`data`: what to record about where the pictures are from. Raises PromptMismatch, CannotCalibrate."""
    check_labels(images)
    scanned = _scores(images, prompt, means)
    fitted = _fit(images, scanned, prompt, prevalence=prevalence, by_source=by_source)
    current = replace(prompt, calibration=fitted.calibration)
    for _ in range(passes(prompt) - 1):
        scanned = _scores(images, current, means)
        again = _fit(images, scanned, prompt, prevalence=prevalence, by_source=by_source)
        fitted = replace(again, before=fitted.before)
        current = replace(prompt, calibration=fitted.calibration)
    unscored = tuple(each for each in scanned if each.margin is None)
    figures = {**fitted.to_json(), **data, "unscored": len(unscored)}
    metadata = {**prompt.metadata, "calibration": figures, "parent": prompt_id_of(prompt.sha256)}
    return Calibrated(replace(current, metadata=metadata), fitted, unscored)


def seen_in_tuning(prompt: SoftPrompt, hashes: Collection[str]) -> bool:
    """Whether the prompt's metadata names one of these data sets as what it was made from."""
    told = json.dumps({name: value for name, value in prompt.metadata.items() if name != "calibration"})
    return any(each in told for each in hashes)


def _scores(images: Sequence[LabelledImage], prompt: SoftPrompt, means: Means) -> list[Scanned]:
    results = scan_paths(
        [image.path for image in images],
        detector=Detector(means.backbone, prompt),
        prepare=means.prepare,
        thresholds=DEFAULT_THRESHOLDS,
        readers=means.readers,
        batch_size=means.batch_size,
    )
    scanned = []
    for result in results:
        scanned.append(result)
        means.advance()
    return scanned


def _fit(
    images: Sequence[LabelledImage],
    scanned: Sequence[Scanned],
    prompt: SoftPrompt,
    *,
    prevalence: float | None,
    by_source: bool,
) -> Fitted:
    rows = [(image, one.margin) for image, one in zip(images, scanned, strict=True) if one.margin is not None]
    return fit(
        [margin for _, margin in rows],
        [image.is_fake for image, _ in rows],
        [image.source for image, _ in rows] if by_source else None,
        [image.group for image, _ in rows],
        prevalence=prevalence,
        current=prompt.calibration,
    )
