"""What people say about an image, and the label that it adds up to. Pure rules; nothing is ever erased.

A person's answer is never a fact by itself: one is weak, two that agree are trusted, two that differ ask a third.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from moderation.domain.submission import ImageId

TaskId = NewType("TaskId", int)
ReviewId = NewType("ReviewId", int)

MAX_NOTE_CHARS = 2000
MAX_NAME_CHARS = 80


class Answer(StrEnum):
    """What a reviewer sees in a picture."""

    REAL = "real"
    FAKE = "fake"
    UNSURE = "unsure"


class Evidence(StrEnum):
    """What an answer rests on; several are possible."""

    HANDS = "hands"
    TEXT = "text"
    LIGHTING = "lighting"
    METADATA = "metadata"
    SOURCE_KNOWN = "source known"
    OTHER = "other"


class Reason(StrEnum):
    """Why a person is to look at an image."""

    UNSURE = "unsure"  # the decision was REVIEW
    BLOCK_CHECK = "block check"  # a BLOCK was drawn
    AUDIT = "audit"  # an ALLOW was drawn
    APPEAL = "appeal"
    SECOND_LOOK = "second look"
    GOLD = "gold"  # its truth is known; it measures the reviewer


class Role(StrEnum):
    """Who may do what: a senior also gets what was escalated, an admin also sees the dashboard and manages people."""

    REVIEWER = "reviewer"
    SENIOR = "senior"
    ADMIN = "admin"


class Act(StrEnum):
    """What a row of the `review` table records."""

    ANSWER = "answer"
    SKIP = "skip"
    ESCALATE = "escalate"
    UNDO = "undo"


class TaskState(StrEnum):
    """Whether a task still waits for an answer."""

    OPEN = "open"
    DONE = "done"


class Trust(StrEnum):
    """How much a label is worth."""

    NONE = "none"
    WEAK = "weak"
    TRUSTED = "trusted"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class ReviewTask:
    """An image that a person is to look at. `version` fences: an answer with an older one is refused.

    `inclusion_probability` is the chance with which images like this one get in for this reason; estimates weigh by
    its inverse. `probability` is the verdict's P(fake), None for gold. Leases and times are aware, in UTC.
    """

    task_id: TaskId
    image_id: ImageId
    reason: Reason
    source: str
    inclusion_probability: float
    priority: int
    probability: float | None
    verdict_id: int | None
    is_senior: bool
    state: TaskState
    claimed_by: str | None
    lease_until: datetime | None
    version: int
    detail: str
    created_at: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Review:
    """One thing one person did with a task. `seconds` since it was shown; `undoes` names the row taken back."""

    review_id: ReviewId
    task_id: TaskId
    image_id: ImageId
    reviewer: str
    act: Act
    answer: Answer | None
    evidence: tuple[Evidence, ...]
    note: str
    seconds: float | None
    undoes: ReviewId | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Label:
    """What the reviews of an image add up to. `answer` is None while nobody said real or fake, or people differ."""

    answer: Answer | None
    trust: Trust
    votes: int


@dataclass(frozen=True, slots=True)
class Said:
    """What a reviewer answers with. Raises ValueError for a note that is too long."""

    answer: Answer
    evidence: tuple[Evidence, ...] = ()
    note: str = ""
    seconds: float | None = None

    def __post_init__(self) -> None:
        if len(self.note) > MAX_NOTE_CHARS:
            raise ValueError(f"a note has at most {MAX_NOTE_CHARS} characters, this one has {len(self.note)}")


def shown_reason(reason: Reason) -> str:
    """The reason as a reviewer is told: it must give away neither what the machine decided nor what is gold."""
    return reason.value if reason in (Reason.APPEAL, Reason.SECOND_LOOK) else "routine check"


def check_reviewer(raw: str) -> str:
    """`raw` as a reviewer's name. Raises ValueError."""
    if not raw.strip() or len(raw) > MAX_NAME_CHARS or not raw.isprintable():
        raise ValueError(f"a reviewer's name has 1 to {MAX_NAME_CHARS} printable characters: {raw[:60]!r}")
    return raw


def standing(reviews: Sequence[Review]) -> list[Review]:
    """The answers that count, in their order: not undone, and of each reviewer only the newest."""
    undone = {review.undoes for review in reviews if review.act is Act.UNDO}
    newest: dict[str, Review] = {}
    for review in reviews:
        if review.act is Act.ANSWER and review.review_id not in undone:
            newest.pop(review.reviewer, None)
            newest[review.reviewer] = review
    return list(newest.values())


def derive_label(reviews: Sequence[Review], trusted: Collection[str] = ()) -> Label:
    """The label of one image from all its reviews, oldest first. `trusted` names reviewers whose word alone suffices.

    Trusted reviewers outvote the others; among them, or among the others where none answered, a majority of two or
    more is trusted, a tie is disputed, one alone is weak (trusted, if it is a trusted reviewer's). `unsure` is no vote.
    """
    votes = [review for review in standing(reviews) if review.answer is not Answer.UNSURE]
    if not votes:
        return Label(None, Trust.NONE, 0)
    heavy = [review for review in votes if review.reviewer in trusted]
    counts = Counter(review.answer for review in heavy or votes)
    (winner, most), *others = counts.most_common()
    if others and others[0][1] == most:
        return Label(None, Trust.DISPUTED, len(votes))
    is_trusted = bool(heavy) or most >= 2
    return Label(winner, Trust.TRUSTED if is_trusted else Trust.WEAK, len(votes))
