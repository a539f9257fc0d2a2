"""What a run is and where it stands, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from moderation.errors import ConfigurationError
from moderation.training.plan import TunePlan, option


@dataclass(frozen=True)
class RunFacts:
    """What a run needs besides its plan to be repeated, as plan.json holds it."""

    plan: TunePlan
    manifest_sha256: str
    backbone: str
    revision: str
    device: str
    dtype: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    parent: str | None  # the sha256 of the prompt it starts from
    parent_id: str | None  # its id, where it is a registered one
    command: str
    created_at: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """One finished epoch. `epoch` counts from 1; losses are means over pictures."""

    member: int
    epoch: int
    loss: float
    validation_loss: float
    validation_auc: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class State:
    """Where one member, or the pixel expert, stands after its last finished epoch."""

    epochs: int = 0  # finished
    best_epoch: int = 0  # from 1; 0: none yet, or what an expert began from
    best_loss: float = float("inf")
    ended: bool = False  # nothing is left to do for it
    scaler: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Row] = ()

    def with_epoch(self, row: Row, *, scaler: Mapping[str, float]) -> State:
        """The state after one more epoch; it is the best if its validation loss is the lowest so far."""
        after = replace(self, epochs=row.epoch, scaler=scaler, history=(*self.history, row))
        if row.validation_loss < self.best_loss:
            return replace(after, best_epoch=row.epoch, best_loss=row.validation_loss)
        return after


def check_same(before: TunePlan, asked: Mapping[str, Any]) -> None:
    """Raises ConfigurationError for the first option, given beside --resume, that is not as in the run's plan."""
    for name, value in asked.items():
        if (found := getattr(before, name)) != value:
            raise ConfigurationError(
                option(name), f"is {value} now and was {found} when the run began", hint="leave it out, or start anew"
            )
