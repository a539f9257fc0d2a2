"""How detectors look at pictures: at the whole, with the pixel expert, and once more at crops where they are unsure.

Detectors of one backbone and one normalisation look together, and the vision tower runs once for all of them. No more
pixels than the caller's batch are on the device at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from moderation.detector.halving import halving
from moderation.detector.preprocess import normalise, stack
from moderation.detector.scoring import vision_features
from moderation.errors import ImageRejected

if TYPE_CHECKING:
    from moderation.detector.detector import Detector, Views
    from moderation.detector.expert import PixelExpert

Found = float | ImageRejected
T = TypeVar("T")
_EXPERT_CROPS = 32  # at once: the expert's activations of one 224 px crop take about 10 MB


def at_wholes(detectors: Sequence[Detector], views: Sequence[Views]) -> list[list[Found]]:
    """Each detector's margin of each picture as a whole."""
    pixels = stack([view.whole for view in views], detectors[0].backbone.image_size)
    return _margins(detectors, pixels, torch.ones(len(detectors), len(pixels), dtype=torch.bool))


def at_crops(
    detectors: Sequence[Detector], views: Sequence[Views], unsure: Sequence[Sequence[int]]
) -> list[dict[int, list[Found]]]:
    """Each detector's margins of the native crops of the pictures (by number) that it is unsure of."""
    counts = [detector.prompt.crops.count if detector.prompt.crops else 0 for detector in detectors]
    needs = [dict.fromkeys(pictures, count) for pictures, count in zip(unsure, counts, strict=True)]
    most = {picture: max(need.get(picture, 0) for need in needs) for need in needs for picture in need}
    places = [(picture, crop) for picture in sorted(most) for crop in range(most[picture])]
    found: list[dict[int, list[Found]]] = [{picture: [] for picture in need} for need in needs]
    for part in _parts(places, max(1, len(views), *counts)):
        pixels = stack([views[picture].native[crop] for picture, crop in part], detectors[0].backbone.image_size)
        wanted = torch.tensor([[crop < need.get(picture, 0) for picture, crop in part] for need in needs])
        for kept, mask, column in zip(found, wanted.tolist(), _margins(detectors, pixels, wanted), strict=True):
            for (picture, _), asked, margin in zip(part, mask, column, strict=True):
                if asked:
                    kept[picture].append(margin)
    return found


def with_expert(expert: PixelExpert, views: Sequence[Views], crops: int, size: int) -> list[Found]:
    """The pixel expert's logit of each picture: the mean over its first `crops` native crops."""
    device = expert.head.weight.device

    @torch.inference_mode()
    def work(numbers: torch.Tensor) -> list[float]:
        cuts = [_distinct(views[number].native[:crops]) for number in numbers.tolist()]
        logits = expert(stack([crop for cut in cuts for crop in cut], size).to(device))
        return [float(part.mean()) for part in logits.split([len(cut) for cut in cuts])]

    numbers = _parts(list(range(len(views))), max(1, _EXPERT_CROPS // crops))
    return [logit for part in numbers for logit in halving(work, torch.tensor(part))]


def _distinct(crops: Any) -> Any:
    """The crops, or one of them where all are the same: a picture no larger than a crop has nothing else to show."""
    first = torch.as_tensor(crops[0])
    alike = all(torch.equal(first, torch.as_tensor(crop)) for crop in crops[1:])
    return crops[:1] if alike else crops


def pooled(whole: Found, crops: Sequence[Found], pool: str) -> Found:
    """One margin of a whole and its crops. One that could not be had decides."""
    margins = []
    for found in (whole, *crops):
        if isinstance(found, ImageRejected) or not math.isfinite(found):
            return found
        margins.append(found)
    return max(margins) if pool == "max" else fmean(margins)


def plus(margin: Found, logit: Found, weight: float) -> Found:
    """The margin with the expert's share."""
    if isinstance(margin, ImageRejected):
        return margin
    return logit if isinstance(logit, ImageRejected) else margin + weight * logit


def check_native(views: Sequence[Views], crops: int) -> None:
    """Raises ValueError unless each picture's views hold so many native crops."""
    for view in views if crops else ():
        found = 0 if view.native is None else len(view.native)
        if found < crops:
            raise ValueError(
                f"the prompt looks at {crops} native crops, these views hold {found}: views_of(..., {crops})"
            )


def _margins(detectors: Sequence[Detector], pixels: torch.Tensor, wanted: torch.Tensor) -> list[list[Found]]:
    """A column of margins a detector; not a number where it wants none. wanted: bool [D, N]."""
    backbone, statistics = detectors[0].backbone, detectors[0].prompt.normalisation

    @torch.inference_mode()
    def work(numbers: torch.Tensor) -> list[tuple[float, ...]]:
        features = vision_features(backbone, normalise(pixels[numbers].to(backbone.device), statistics))
        columns = []
        for detector, mask in zip(detectors, wanted[:, numbers], strict=True):
            column = torch.full((len(numbers),), math.nan)
            if bool(mask.any()):
                column[mask] = detector.margins(
                    features if bool(mask.all()) else features[mask.to(features.device)]
                ).cpu()
            columns.append(column.tolist())
        return list(zip(*columns, strict=True))

    rows = halving(work, torch.arange(len(pixels)))
    return [[row if isinstance(row, ImageRejected) else row[which] for row in rows] for which in range(len(detectors))]


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
