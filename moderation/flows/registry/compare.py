"""Compare: two prompts on the images that both have scored, and on those of them that people have labelled.

Nothing is scored here. Decisions are what today's thresholds make of the stored scores, so that a change of policy
between two scores counts as no difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from moderation.domain.agreement import Share
from moderation.domain.evidence import Rule, Scope
from moderation.domain.prompt import PromptId, PromptRecord, PromptState
from moderation.domain.review import Answer, Review, Trust, derive_label
from moderation.domain.side_by_side import (
    Differing,
    Pair,
    Weighed,
    WhoWasRight,
    agreement,
    differences,
    most_differing,
    right_of_all,
    who_was_right,
)
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.errors import ConfigurationError
from moderation.evaluation.metrics import auc
from moderation.storage.drawn import Drawn
from moderation.storage.registry.prompts import Prompts
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.side_by_side import SideBySide


@dataclass(frozen=True, slots=True)
class Compared:
    """Two prompts side by side. decisions: images by the first's and then by the second's decision, as of today.

    differences: quantiles of P(fake), second minus first. differing: the images that differ most. reviewed: on images
    with a label, `weak` of which rest on one person's word; first_auc, second_auc: None where one class lacks.
    of_all: how often each is right among all images, as far as these were drawn with a known chance; None: none was.
    """

    first: PromptId
    second: PromptId
    images: int
    decisions: Mapping[Decision, Mapping[Decision, int]]
    alike: Share
    differences: Mapping[float, float]
    differing: Sequence[Differing]
    reviewed: WhoWasRight
    weak: int
    weak_left_out: int
    first_auc: float | None
    second_auc: float | None
    of_all: tuple[Weighed, Weighed] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which images, and how much to tell. since: both scored them later; include_weak: labels of one person count."""

    source: str | None = None
    since: datetime | None = None
    include_weak: bool = False
    limit: int = 10


@dataclass(frozen=True, slots=True)
class Comparer:
    """Where the scores and the labels lie."""

    side_by_side: SideBySide
    drawn: Drawn
    reviews: Reviews
    reviewers: Reviewers

    def compare(self, first: PromptId, second: PromptId, rule: Rule, asked: Asked) -> Compared:
        """The two on what both have scored. Raises ConfigurationError for one prompt twice."""
        if first == second:
            raise ConfigurationError("prompt", f"{first} would be compared with itself", hint="name two prompts")
        pairs = self.side_by_side.pairs(first, second, source=asked.source, since=asked.since)
        labels = self._labels({pair.image_id: pair.sha256 for pair in pairs})
        weak = {image_id for image_id, (_, trust) in labels.items() if trust is Trust.WEAK}
        counted = {image_id: is_fake for image_id, (is_fake, trust) in labels.items()
                   if asked.include_weak or trust is Trust.TRUSTED}  # fmt: skip
        decisions, alike = agreement(pairs, rule)
        first_auc, second_auc = _aucs([pair for pair in pairs if pair.image_id in counted], counted)
        return Compared(
            first=first,
            second=second,
            images=len(pairs),
            decisions=decisions,
            alike=alike,
            differences=differences(pairs),
            differing=most_differing(pairs, rule, counted, asked.limit),
            reviewed=who_was_right(pairs, rule, counted),
            weak=len(weak & counted.keys()),
            weak_left_out=len(weak - counted.keys()),
            first_auc=first_auc,
            second_auc=second_auc,
            of_all=right_of_all(pairs, rule, counted, self._chances()),
        )

    def _chances(self) -> dict[ImageId, float]:
        """With which chance each image that was drawn and looked at was drawn."""
        return {each.image_id: each.inclusion_probability for each in self.drawn.list(Scope(), only_reviewed=True)}

    def _labels(self, hashes: Mapping[ImageId, str]) -> dict[ImageId, tuple[bool, Trust]]:
        """Whether an image is a fake, and how sure that is. Labels of other bytes and disputed ones are left out."""
        reviews: dict[ImageId, list[Review]] = defaultdict(list)
        shown = self.side_by_side.shown()
        for review in self.reviews.list():
            sha256 = hashes.get(review.image_id)
            if sha256 is not None and shown.get(review.task_id, sha256) == sha256:
                reviews[review.image_id].append(review)
        trusted = self.reviewers.trusted()
        labels = {image_id: derive_label(said, trusted) for image_id, said in reviews.items()}
        return {
            image_id: (label.answer is Answer.FAKE, label.trust)
            for image_id, label in labels.items()
            if label.answer is not None
        }


def named(prompts: Prompts, first: str | None, second: str | None) -> tuple[PromptRecord, PromptRecord]:
    """The two prompts to compare: those whose ids begin so; where none is named, a shadow and what is active beside it.

    Raises ConfigurationError.
    """
    if first is not None and second is not None:
        return prompts.find(first), prompts.find(second)
    records = prompts.list()
    shadows = [record for record in records if record.state is PromptState.SHADOW]
    if first is None and len(shadows) == 1:
        (shadow,) = shadows
        for record in records:
            if record.state is PromptState.ACTIVE and record.backbone == shadow.backbone:
                return record, shadow
    problem = "two of them are to be named" if first or shadows else "there is no shadow to compare"
    hint = "modctl prompt compare ACTIVE SHADOW; see: modctl prompt list; make a shadow: modctl prompt shadow ID"
    raise ConfigurationError("prompt", problem, hint=hint)


def _aucs(pairs: Sequence[Pair], labels: Mapping[ImageId, bool]) -> tuple[float | None, float | None]:
    is_fake = [labels[pair.image_id] for pair in pairs]
    if all(is_fake) or not any(is_fake):
        return None, None
    return auc(is_fake, [pair.first for pair in pairs]), auc(is_fake, [pair.second for pair in pairs])
