"""Thresholds from evidence: what others would change, the lowest that can be proven, how good today's are.

Nothing here scores an image or changes a policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from moderation.domain.evidence import Rule, Scope
from moderation.domain.policy import Thresholds
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.evaluation.estimate import AtThreshold, Estimated, Population
from moderation.flows.reviewing.evidence import Archive, Coverage

SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Move:
    """Images that would move from one decision to another, and some of them, the newest first."""

    before: Decision
    after: Decision
    images: int
    sample: Sequence[ImageId]


@dataclass(frozen=True, slots=True)
class Load:
    """How many images a day people would be asked about, for each reason; second looks and gold come on top."""

    unsure: float
    block_check: float
    audit: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.unsure + self.block_check + self.audit


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pair of thresholds makes of the scope's images. The last three are None where labels are missing."""

    thresholds: Thresholds
    decisions: Mapping[Decision, int]
    load_per_day: Load
    real_blocked: Estimated | None
    real_to_review: Estimated | None
    fakes_allowed: Estimated | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What another pair of thresholds would change on the stored scores. `days`: the time they were made in."""

    prompt_id: str | None
    images: int
    days: float
    before: Outcome
    after: Outcome
    moves: Sequence[Move]
    kinds: Sequence[Coverage]


@dataclass(frozen=True, slots=True)
class KindEstimate:
    """A kind of image, and the share of fakes in it."""

    coverage: Coverage
    fakes: Estimated | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """How good the thresholds are that hold now. A figure is None where a kind that it needs has no label."""

    prompt_id: str | None
    images: int
    kinds: Sequence[KindEstimate]
    prevalence: Estimated | None
    review_at: AtThreshold
    block_at: AtThreshold


def preview(archive: Archive, scope: Scope, before: Thresholds, after: Thresholds) -> Preview:
    """What `after` would do with the scope's stored scores where `before` holds now."""
    rules = Rule(before), Rule(after)
    evidence = archive.gather(scope, *rules, count_drawn=False)
    found = evidence.counted
    days = max(timedelta(days=1), found.last - found.first) / timedelta(days=1) if found.first and found.last else 1.0
    numbers = {(old, new): 0 for old in Decision for new in Decision}
    for group in found.groups:
        numbers[group.before, group.after] += group.images

    def some(old: Decision, new: Decision) -> Sequence[ImageId]:
        if old is new or not numbers[old, new]:
            return ()
        return archive.replay.moving(evidence.scope, *rules, old=old, new=new, limit=SAMPLES)

    return Preview(
        prompt_id=evidence.scope.prompt_id,
        images=evidence.images,
        days=days,
        before=_outcome(evidence.now, before, days),
        after=_outcome(evidence.then, after, days),
        moves=[Move(old, new, images, some(old, new)) for (old, new), images in numbers.items()],
        kinds=evidence.kinds(),
    )


def estimate(archive: Archive, scope: Scope, rule: Rule) -> Estimate:
    """How good `rule` is on the scope's images."""
    evidence = archive.gather(scope, rule, rule)
    people = evidence.now
    return Estimate(
        prompt_id=evidence.scope.prompt_id,
        images=evidence.images,
        kinds=[KindEstimate(each, people.share_of_fakes(each.kind)) for each in evidence.kinds()],
        prevalence=people.prevalence(),
        review_at=people.at((Decision.REVIEW, Decision.BLOCK)),
        block_at=people.at((Decision.BLOCK,)),
    )


def _outcome(people: Population, at: Thresholds, days: float) -> Outcome:
    images = {each: sum(count for cell, count in people.images.items() if cell.decision is each) for each in Decision}
    return Outcome(
        thresholds=at,
        decisions=images,
        load_per_day=Load(
            unsure=images[Decision.REVIEW] / days,
            block_check=images[Decision.BLOCK] * at.block_check_rate / days,
            audit=images[Decision.ALLOW] * at.audit_rate / days,
        ),
        real_blocked=people.number(Decision.BLOCK, of_fakes=False),
        real_to_review=people.number(Decision.REVIEW, of_fakes=False),
        fakes_allowed=people.number(Decision.ALLOW, of_fakes=True),
    )
