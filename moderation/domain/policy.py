"""Thresholds: what a probability leads to. A policy is an immutable version; changing one makes the next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from moderation.domain.verdict import Decision

PolicyId = NewType("PolicyId", int)
ANY_SOURCE = "*"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From `review_at` on a person looks, from `block_at` on the picture is blocked; rates of the rest get checked.

    All in 0..1. Raises ValueError when they are not, or when review would begin above block.
    """

    review_at: float
    block_at: float
    audit_rate: float = 0.0
    block_check_rate: float = 0.0

    def __post_init__(self) -> None:
        for name in ("review_at", "block_at", "audit_rate", "block_check_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 <= value <= 1.0):
                raise ValueError(f"{name} is {value}, must lie in 0..1")
        if self.review_at > self.block_at:
            raise ValueError(f"review_at {self.review_at} lies above block_at {self.block_at}; swap them")


# Even odds ask a person, nine to one blocks: a start for calibrated probabilities, not a recommendation. An operator
# sets thresholds from reviewed evidence.
DEFAULT_THRESHOLDS = Thresholds(review_at=0.5, block_at=0.9, audit_rate=0.01, block_check_rate=0.05)


@dataclass(frozen=True, slots=True)
class Policy:
    """One stored version of the thresholds of a source ('*' stands for every source without its own)."""

    policy_id: PolicyId
    source: str
    thresholds: Thresholds
    author: str
    reason: str
    parent: PolicyId | None
    created_at: datetime


def decide(probability: float, thresholds: Thresholds) -> Decision:
    """The decision for a calibrated P(fake) in 0..1."""
    if probability >= thresholds.block_at:
        return Decision.BLOCK
    if probability >= thresholds.review_at:
        return Decision.REVIEW
    return Decision.ALLOW
