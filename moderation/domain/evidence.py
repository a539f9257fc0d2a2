"""What labels prove about all images: how each one came to be looked at, and for how many others it stands.

Reviewed images are a biased sample: every unsure verdict is looked at, but few of the others. So each labelled image
comes with the chance with which it was drawn, and each kind of image with its number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from moderation.domain.policy import ANY_SOURCE, Policy, Thresholds, decide
from moderation.domain.review import Reason, Trust
from moderation.domain.sampling import share_drawn
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision

DRAWN_FOR = (Reason.UNSURE, Reason.BLOCK_CHECK, Reason.AUDIT)
"""Reasons that follow from a draw with a known probability. Gold, appeals and second looks are no sample."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Images that were drawn alike: what their newest verdict decided, and the share of such that is looked at."""

    decision: Decision
    rate: float


@dataclass(frozen=True, slots=True)
class Scope:
    """Which images a question is about: those whose newest verdict fits all of this. None: any."""

    source: str | None = None
    except_sources: tuple[str, ...] = ()
    since: datetime | None = None
    prompt_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Thresholds for all sources, and those of the sources that have their own."""

    default: Thresholds
    own: Mapping[str, Thresholds] = field(default_factory=dict)

    def decide(self, source: str, probability: float) -> Decision:
        """What becomes of an image with this source and P(fake)."""
        return decide(probability, self.own.get(source, self.default))


def rule_of(policies: Mapping[str, Policy]) -> Rule:
    """The rule that stored policies make; one for all ('*') must be among them."""
    own = {source: policy.thresholds for source, policy in policies.items() if source != ANY_SOURCE}
    return Rule(policies[ANY_SOURCE].thresholds, own)


@dataclass(frozen=True, slots=True)
class Group:
    """Images of one scope, counted: of one kind, from one policy, decided on again by thresholds of today.

    `before` and `after` are what two pairs of thresholds make of the stored scores. `below`: all of the kind and policy
    score below it.
    """

    kind: Kind
    below: float
    before: Decision
    after: Decision
    images: int


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """An image with a task from a draw. `score` is its newest verdict's probability; `decision`, what that one was.

    `inclusion_probability` is the chance that any of its verdicts was drawn.
    """

    image_id: ImageId
    source: str
    score: float
    kind: Kind
    inclusion_probability: float

    @property
    def decision(self) -> Decision:
        """The newest verdict's decision, at its time."""
        return self.kind.decision


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A drawn image that people have called real or fake."""

    image: DrawnImage
    is_fake: bool
    trust: Trust

    @property
    def weight(self) -> float:
        """For how many images it stands."""
        return 1.0 / self.image.inclusion_probability


@dataclass(frozen=True, slots=True)
class Chance:
    """One draw that an image was in: the same policy draws the same image for the same reason again, so it is one."""

    reason: Reason
    rate: float
    policy_id: int


def kind_of(decision: Decision, at: Thresholds) -> Kind:
    """The kind of an image with this decision under the policy that made it."""
    return Kind(decision, share_drawn(decision, at)[1])


def inclusion_probability(chances: Iterable[Chance]) -> float:
    """The probability that at least one of the draws takes the image; draws of other policies or reasons are
    independent (each hashes its own name)."""
    rates = {(chance.reason, chance.policy_id): chance.rate for chance in chances}
    return 1.0 - math.prod(1.0 - rate for rate in rates.values())
