"""The machine's answer for one image: a stored fact (score) and a decision, with everything that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from moderation.domain.submission import ImageId


class Decision(StrEnum):
    """What the policy makes of a probability."""

    ALLOW = "ALLOW"
    REVIEW = "REVIEW"
    BLOCK = "BLOCK"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One image scored by one prompt.

    `margin` is logit(no) - logit(yes), in nats; `probability` the calibrated P(fake) in 0..1; `backbone` says which
    model spoke. `versions` holds what else made the score: backbone revision, preprocessing, calibration, decoder.
    `latency_ms` runs from the submission to the score; `scored_at` is when the prompt was read as the one in use (None:
    by a version that did not note it). A `shadow`'s decision is what it would have been.
    """

    image_id: ImageId
    source: str
    round: int
    decision: Decision
    probability: float
    margin: float
    backbone: str
    prompt_id: str
    policy_id: int
    shadow: bool
    image_sha256: str
    versions: Mapping[str, str]
    latency_ms: float
    created_at: datetime
    scored_at: datetime | None = None
