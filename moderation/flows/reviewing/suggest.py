"""Suggest: the lowest threshold whose false-positive rate the labels prove to be below a target, or what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moderation.domain.evidence import Kind, Rule, Scope
from moderation.domain.policy import Thresholds
from moderation.domain.verdict import Decision
from moderation.evaluation.certify import Certificate, certify
from moderation.evaluation.estimate import Estimated
from moderation.evaluation.proof import Ceiling
from moderation.flows.reviewing.evidence import Archive, Coverage, Evidence


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A certificate, and what the threshold would do: `flagged` of `images` lie at or above it, with this recall.

    `unseen`: kinds of images that exist and of which none has a label; no threshold they can reach is certified.
    """

    prompt_id: str | None
    max_fpr: float
    confidence: float
    certificate: Certificate
    images: int
    flagged: int | None
    recall: Estimated | None
    kinds: Sequence[Coverage]
    unseen: Sequence[Kind]


def suggest(archive: Archive, scope: Scope, *, max_fpr: float, confidence: float) -> Suggestion:
    """The lowest certified threshold of the scope. Raises ValueError for a target or confidence outside 0..1.

    Where not all drawn images of a kind have a label yet, those that have stand for them too.
    """
    anything = Rule(Thresholds(1.0, 1.0))
    evidence = archive.gather(scope, anything, anything)
    answered = {each.kind: each.labelled / each.drawn for each in evidence.kinds() if each.labelled and each.drawn}
    real = [label for label in evidence.labelled if not label.is_fake and label.image.kind in answered]
    certificate = certify(
        [label.image.score for label in real],
        [label.weight / answered[label.image.kind] for label in real],
        _ceilings(evidence, answered),
        max_fpr=max_fpr,
        confidence=confidence,
    )
    flagged, recall = None, None
    if certificate.threshold is not None:
        at = Rule(Thresholds(certificate.threshold, certificate.threshold))
        found = archive.gather(evidence.scope, at, at, count_drawn=False)
        flagged = sum(group.images for group in found.counted.groups if group.after is Decision.BLOCK)
        recall = found.then.at((Decision.BLOCK,)).recall
    return Suggestion(
        prompt_id=evidence.scope.prompt_id,
        max_fpr=max_fpr,
        confidence=confidence,
        certificate=certificate,
        images=evidence.images,
        flagged=flagged,
        recall=recall,
        kinds=evidence.kinds(),
        unseen=[each.kind for each in evidence.kinds() if not each.labelled],
    )


def _ceilings(evidence: Evidence, answered: dict[Kind, float]) -> list[Ceiling]:
    """How much an image of each kind can weigh, from the rates alone: further verdicts of it only raise its chance."""
    below: dict[Kind, float] = {}
    for group in evidence.counted.groups:
        below[group.kind] = max(group.below, below.get(group.kind, -math.inf))
    return [
        Ceiling(end, 1.0 / (kind.rate * answered[kind]) if answered.get(kind) and kind.rate else math.inf)
        for kind, end in below.items()
    ]
