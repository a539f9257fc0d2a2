"""A training run: one `modctl retrain`, from its begin to a candidate that the gate let pass or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType, Self

from moderation.domain.prompt import PromptId

RunId = NewType("RunId", int)

MOST_ATTEMPTS = 3
"""Workers that may vanish with a run before it is given up. A convention, as MAX_CRASHES of an image."""


class RunState(StrEnum):
    """Where a run stands. The first two are open: a backbone has at most one such run."""

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What was asked for, beside the lessons. name: of the candidate. epochs: None: as many as the plan says.

    replay: whether lessons of the parent are rehearsed. margin: the gate's. activate: whether to activate what passed.
    """

    name: str
    seed: int
    margin: float
    replay: bool = True
    epochs: int | None = None
    activate: bool = False
    command: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values by field."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(**found)


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A run without its lessons and its report. attempts: how many workers took it up and did not give it back.

    progress: stage, done, total, and of the last epoch epoch, loss, validation_loss, validation_auc; {}: not begun.
    metrics: its lessons in numbers, `counts`, and what came of it, `gate` above all. prompt_id: the candidate, or None.
    """

    run_id: RunId
    state: RunState
    backbone: str
    parent: PromptId
    config: RunConfig
    manifest_sha256: str
    progress: Mapping[str, Any]
    metrics: Mapping[str, Any]
    prompt_id: PromptId | None
    error: str
    attempts: int
    cancel_requested: bool
    lease_until: datetime | None
    actor: str
    reason: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether there is still something to come."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class GateState:
    """What the gate said of a prompt, in the newest run that ended with it. against: the one that was active then.

    judged: the prompt that stood before the gate: this one, or the refused one that it was made from by calibration.
    """

    run_id: RunId
    judged: PromptId
    against: PromptId
    passed: bool
    reasons: tuple[str, ...]

    def what(self, prompt_id: PromptId) -> str:
        """The prompt that was judged, in words about `prompt_id`."""
        return "it" if self.judged == prompt_id else f"{self.judged} (this is its recalibration)"
