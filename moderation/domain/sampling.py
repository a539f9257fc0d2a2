"""Which images people look at: a draw that comes out the same when it is run again, with its probability."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from moderation.domain.order import uncertainty
from moderation.domain.policy import Policy, Thresholds
from moderation.domain.review import Reason
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision


@dataclass(frozen=True, slots=True)
class Drawn:
    """Why an image was taken, with what probability an image of its kind is, and how unsure its verdict was."""

    reason: Reason
    inclusion_probability: float
    uncertainty: float


def draw(image_id: ImageId, decision: Decision, probability: float, policy: Policy) -> Drawn | None:
    """Whether a verdict makes a review task: every REVIEW, and shares of the others by the policy's rates."""
    at = policy.thresholds
    reason, rate = share_drawn(decision, at)
    if not is_drawn(f"{reason}:{policy.policy_id}:{image_id}", rate):
        return None
    return Drawn(reason, rate, uncertainty(probability, at.review_at, at.block_at))


def share_drawn(decision: Decision, at: Thresholds) -> tuple[Reason, float]:
    """For which reason, and with what probability, an image with this decision is looked at."""
    match decision:
        case Decision.REVIEW:
            return Reason.UNSURE, 1.0
        case Decision.BLOCK:
            return Reason.BLOCK_CHECK, at.block_check_rate
        case Decision.ALLOW:
            return Reason.AUDIT, at.audit_rate


def is_drawn(key: str, rate: float) -> bool:
    """True for a share `rate` (0..1) of all keys, always for the same ones."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") < rate * 2**64
