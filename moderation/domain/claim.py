"""A batch a worker holds under a lease, and what can become of each image in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from moderation.domain.image import ImageFacts
from moderation.domain.sampling import Drawn
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.errors import RejectReason


@dataclass(frozen=True, slots=True)
class ClaimedImage:
    """One image of a claim. `attempts` counts this try too."""

    image_id: ImageId
    source: str
    round: int
    attempts: int
    submitted_at: datetime
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """Images that one worker may score until its lease ends. `token` fences: a late write with it is refused."""

    token: str
    images: tuple[ClaimedImage, ...]
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class ScoredBy:
    """Which prompt and which versions made the scores of a batch.

    `scored_at`: when the prompt was read as the one in use, on the database's clock; None where nobody asked it.
    """

    prompt_id: str
    backbone: str
    versions: dict[str, str]
    scored_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShadowScore:
    """What a shadow prompt says of an image, and what it would have decided by the same policy. It decides nothing."""

    by: ScoredBy
    margin: float
    probability: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class Scored:
    """The image has a score and a decision; `latency_ms` runs from the submission to the score."""

    image: ClaimedImage
    facts: ImageFacts
    margin: float
    probability: float
    decision: Decision
    policy_id: int
    latency_ms: float
    drawn: Drawn | None = None  # whether, and why, a person is to look
    shadow: ShadowScore | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The image can never be scored as it is."""

    image: ClaimedImage
    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The image can't be had now; it is tried again in `delay_s` seconds."""

    image: ClaimedImage
    delay_s: float
    detail: str


Outcome = Scored | Rejected | Postponed
