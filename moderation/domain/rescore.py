"""Scoring stored images again: which ones, how fast, and what a new prompt would change. Pure rules.

New scores are facts that decide nothing; decisions change only when somebody has seen the difference and applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType, Self

from moderation.domain.prompt import PromptId
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision

RescoreId = NewType("RescoreId", int)

BATCH = 16
"""Images scored at once, at most: scans wait for the device no longer than so many take. A convention."""
BURST_S = 2.0
"""A run that was late makes up for so many seconds at most: bells come up to a second late, and the rate is to hold."""
EARLY_S = 1.0
"""A batch may begin so much before it is due: the clocks of workers and database differ."""
LONGEST_BELL_S = 30.0
"""A bell is not hung up for longer; the sweep rings when the time has come."""
MOST_FAILURES = 100
"""So many images that failed are kept by name, the first ones; all are counted."""


class RescoreState(StrEnum):
    """Where a run stands. The first two are open: a backbone has at most one such run."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"  # the scores are there, decisions are as they were
    APPLIED = "applied"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (RescoreState.QUEUED, RescoreState.RUNNING)


@dataclass(frozen=True, slots=True)
class RescoreScope:
    """Which images: those whose newest verdict fits all of this. None: any. `words`: the time as it was asked for.

    again_until: verdicts of the active prompt itself, too, if they were made before then; for scores that are in doubt.
    """

    source: str | None = None
    decision: Decision | None = None
    since: datetime | None = None
    words: str = ""
    again_until: datetime | None = None

    @property
    def is_again(self) -> bool:
        """Whether the active prompt scores what it has scored already."""
        return self.again_until is not None

    def is_asked_by(self, other: RescoreScope) -> bool:
        """Whether the same words ask for both."""
        same = (self.source, self.decision, self.words) == (other.source, other.decision, other.words)
        return same and self.is_again == other.is_again

    def described(self) -> str:
        """For people."""
        parts = [f"source {self.source}"] if self.source is not None else []
        parts += [str(self.decision)] if self.decision else []
        parts += [f"scored since {self.since:%Y-%m-%d %H:%M} UTC"] if self.since else []
        parts += ["those of the active prompt, too"] if self.is_again else []
        return ", ".join(parts) or "all images"

    def to_json(self) -> dict[str, Any]:
        """Plain values by field."""
        since = self.since.isoformat() if self.since else None
        again = {"again_until": self.again_until.isoformat()} if self.again_until else {}
        return {"source": self.source, "decision": self.decision, "since": since, "words": self.words, **again}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        since, decision, again_until = found["since"], found["decision"], found.get("again_until")
        return cls(
            source=found["source"],
            decision=Decision(decision) if decision else None,
            since=datetime.fromisoformat(since) if since else None,
            words=found["words"],
            again_until=datetime.fromisoformat(again_until) if again_until else None,
        )


@dataclass(frozen=True, slots=True)
class RescoreRun:
    """One run. images: how many lacked a score when it began; scored and failed: of them, so far.

    rate: images a second. failures: the first that could not be scored, with the reason. applied: images whose verdict
    is now this run's. error: why it failed, or what it waits for. is_claimed: a worker holds it under a live lease.
    """

    run_id: RescoreId
    state: RescoreState
    prompt_id: PromptId
    scope: RescoreScope
    rate: float
    images: int
    scored: int
    failed: int
    failures: tuple[str, ...]
    applied: int
    error: str
    is_claimed: bool
    not_before: datetime
    actor: str
    reason: str
    created_at: datetime
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether there is still something to score."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class ToRescore:
    """A stored image that lacks a score. image_sha256: of the bytes that its verdict is about."""

    image_id: ImageId
    source: str
    round: int
    image_sha256: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class RescoreBatch:
    """Images that one worker may score until its lease ends. `token` fences: a late write with it is refused.

    is_alone: a worker vanished hereabouts, so this one image is scored by itself. tries: how often none could be had.
    """

    token: str
    run: RescoreRun
    images: tuple[ToRescore, ...]
    is_alone: bool
    tries: int
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class NewScore:
    """A stored image's score by the prompt of the run, and what today's policy would make of it."""

    image: ToRescore
    margin: float
    probability: float
    decision: Decision
    policy_id: int
    latency_ms: float


def images_at_once(rate: float, batch_size: int) -> int:
    """How many images a batch takes at `rate` images a second: about a second's worth."""
    return max(1, min(BATCH, batch_size, round(rate)))


def next_due(not_before: datetime, taken_at: datetime, images: int, rate: float) -> datetime:
    """When the next batch may begin, after one of so many images that was due `not_before` and begun at `taken_at`."""
    began = max(not_before, taken_at - timedelta(seconds=BURST_S))
    return began + timedelta(seconds=images / rate)
