"""Pace: tells the run's row how far the work is, and stops the work when somebody asks."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from moderation.errors import ServiceDown

if TYPE_CHECKING:
    from moderation.training.state import Row

log = logging.getLogger(__name__)

Tell = Callable[[Mapping[str, Any]], None]


class Why(StrEnum):
    """Why a run stops before its end."""

    CANCELLED = "cancelled"
    GIVEN_BACK = "given back"
    LOST = "lost"


class Stopped(Exception):
    """The work was stopped between two steps. `why` says what becomes of the run."""

    def __init__(self, why: Why) -> None:
        self.why = why
        super().__init__(why)


class Pace:
    """Is told of every picture and step; `ask` may be called from any thread, the rest from the working one."""

    def __init__(self, tell: Tell, *, every_s: float = 1.0) -> None:
        """tell: writes progress; called at most every `every_s` seconds, and at once for a new stage or epoch."""
        self._tell = tell
        self._every_s = every_s
        self._told = -math.inf
        self._asked: Why | None = None
        self._lock = threading.Lock()
        self._progress: dict[str, Any] = {}

    def ask(self, why: Why) -> None:
        """Stops the work after the step under way. Who asked first is heard; only a lost run overrules."""
        with self._lock:
            if self._asked is None or why is Why.LOST:
                self._asked = why

    def check(self) -> None:
        """Raises Stopped if somebody asked."""
        if self._asked is not None:
            raise Stopped(self._asked)

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Another part of the work begins; total: of what it counts, 0 where that is not known."""
        self._progress |= {"stage": name, "done": done, "total": total}
        self._say(at_once=True)

    def advance(self, more: int) -> None:
        """So many more are done."""
        self._progress["done"] = self._progress.get("done", 0) + more
        self._say()

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A pass over pictures, as a tuning run announces it."""
        self.stage("features", total)
        yield self.advance

    def said(self, text: str) -> None:
        """What a tuning run says of itself goes into the log."""
        log.info("%s", text)
        self.check()

    def step(self, loss: float) -> None:
        """One step of tuning."""
        self.advance(1)

    def epoch(self, row: Row) -> None:
        """One epoch of tuning, validated."""
        self._progress |= {
            "epoch": row.epoch,
            "loss": _finite(row.loss),
            "validation_loss": _finite(row.validation_loss),
            "validation_auc": _finite(row.validation_auc),
        }
        self._say(at_once=True)

    def _say(self, *, at_once: bool = False) -> None:
        self.check()
        now = time.monotonic()
        if at_once or now - self._told >= self._every_s:
            self._told = now
            try:
                self._tell(dict(self._progress))
            except ServiceDown as error:  # the work matters, not the bar
                log.warning("progress is not told: %s", error)


def _finite(value: float) -> float | None:
    """SQL's JSON knows no NaN."""
    return round(value, 6) if math.isfinite(value) else None
