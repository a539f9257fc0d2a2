"""The detector: a frozen backbone and one prompt. Pictures in, scores out; a failure is the value of its image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from moderation.detector import looks
from moderation.detector.backbone import Backbone
from moderation.detector.ensemble import member_margins
from moderation.detector.looks import Found
from moderation.detector.prompt import SoftPrompt
from moderation.errors import ImageRejected, RejectReason


@dataclass(frozen=True)
class Score:
    """margin: logit(no) - logit(yes), with the pixel expert's share. probability: P(fake), calibrated, 0 to 1."""

    margin: float
    probability: float


class Views(Protocol):
    """What there is to see of one picture, uint8 RGB: `whole` [S, S, 3], and `native` [K, S, S, 3] or None."""

    @property
    def whole(self) -> Any: ...
    @property
    def native(self) -> Any: ...


class Detector:
    """Scores pictures. Not locked: one call at a time per device."""

    def __init__(self, backbone: Backbone, prompt: SoftPrompt) -> None:
        """Raises PromptMismatch when the prompt was not tuned on this backbone."""
        self.backbone = backbone
        self.prompt = prompt
        self._members = prompt.member_vectors(backbone)
        self._expert = prompt.expert.build(backbone.device) if prompt.expert else None

    def with_prompt(self, prompt: SoftPrompt) -> Detector:
        """Another prompt on the same backbone, which stays where it is. Raises PromptMismatch."""
        return Detector(self.backbone, prompt)

    @property
    def native_crops(self) -> int:
        """How many native crops its pictures' views must hold; 0: none."""
        return self.prompt.native_crops

    def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> list[Score | ImageRejected]:
        """One item per image, in order.

        views: S is the backbone's `image_size`. sources: where each image came from, for a calibration that knows
        sources; none given: nowhere in particular. A batch too large for the device is halved; an image that does not
        fit alone, or whose margin is not finite, is an ImageRejected in its place. Raises ValueError for views that
        lack what the prompt looks at.
        """
        return score_together([self], views, sources)[0]

    def margins(self, features: torch.Tensor) -> torch.Tensor:
        """float32 [B], the mean over the ensemble's members, from `vision_features` [B, T, Hv]. No expert, no crops."""
        return member_margins(self.backbone, self._members, features).mean(dim=1)

    def expert_logits(self, views: Sequence[Views]) -> list[Found] | None:
        """The pixel expert's logit of each picture; None without one."""
        expert = self.prompt.expert
        if expert is None or self._expert is None:
            return None
        return looks.with_expert(self._expert, views, expert.crops, self.backbone.image_size)

    def fused(self, margins: Sequence[Found], logits: Sequence[Found] | None) -> list[Found]:
        """The margins with the expert's share, where there is one."""
        if logits is None or self.prompt.expert is None:
            return list(margins)
        weight = self.prompt.expert.weight
        return [looks.plus(margin, logit, weight) for margin, logit in zip(margins, logits, strict=True)]

    def unsure(self, margins: Sequence[Found], sources: Sequence[str]) -> list[int]:
        """The numbers of the pictures that are worth a second look, by their fused margins."""
        crops = self.prompt.crops
        if crops is None:
            return []
        scores = [self.judge(margin, source) for margin, source in zip(margins, sources, strict=True)]
        return [
            number
            for number, score in enumerate(scores)
            if isinstance(score, Score) and crops.low <= score.probability <= crops.high
        ]

    def pooled(self, margins: Sequence[Found], crops: Mapping[int, Sequence[Found]]) -> list[Found]:
        """The margins of wholes with those of the crops of some of the pictures, by number."""
        pool = self.prompt.crops.pool if self.prompt.crops else "mean"
        return [
            looks.pooled(margin, crops[number], pool) if number in crops else margin
            for number, margin in enumerate(margins)
        ]

    def judge(self, margin: Found, source: str = "") -> Score | ImageRejected:
        """The score that a fused margin stands for."""
        if isinstance(margin, ImageRejected):
            return margin
        if not math.isfinite(margin):
            return ImageRejected(RejectReason.NOT_A_NUMBER, f"margin {margin}")
        return Score(margin, self.prompt.calibration.probability(margin, source))


def score_together(
    detectors: Sequence[Detector], views: Sequence[Views], sources: Sequence[str] = ()
) -> list[list[Score | ImageRejected]]:
    """One list a detector, each as its `score` gives it. One vision pass for all that normalise pictures alike."""
    named = list(sources) or [""] * len(views)
    if len(named) != len(views):
        raise ValueError(f"{len(named)} sources for {len(views)} pictures")
    alike: dict[Any, list[int]] = {}
    for number, detector in enumerate(detectors):
        alike.setdefault((id(detector.backbone), detector.prompt.normalisation), []).append(number)
    found: list[list[Score | ImageRejected]] = [[] for _ in detectors]
    for numbers in alike.values():
        for number, scores in zip(numbers, _score([detectors[which] for which in numbers], views, named), strict=True):
            found[number] = scores
    return found


def _score(
    detectors: Sequence[Detector], views: Sequence[Views], sources: Sequence[str]
) -> list[list[Score | ImageRejected]]:
    """`score_together` for one backbone and one normalisation."""
    looks.check_native(views, max(detector.native_crops for detector in detectors))
    wholes = looks.at_wholes(detectors, views)
    logits = [detector.expert_logits(views) for detector in detectors]
    unsure = [
        detector.unsure(detector.fused(margins, shares), sources)
        for detector, margins, shares in zip(detectors, wholes, logits, strict=True)
    ]
    closer = looks.at_crops(detectors, views, unsure)
    margins_of = [
        detector.pooled(margins, crops) for detector, margins, crops in zip(detectors, wholes, closer, strict=True)
    ]
    return [
        [
            detector.judge(margin, source)
            for margin, source in zip(detector.fused(margins, shares), sources, strict=True)
        ]
        for detector, margins, shares in zip(detectors, margins_of, logits, strict=True)
    ]
