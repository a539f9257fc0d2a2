"""What `modctl doctor` finds of the loop's runs: open ones, and whether anybody would take them; lately failed ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from moderation.cli.finding import Finding, Health
from moderation.errors import ServiceDown
from moderation.queue.app import BACKFILL_QUEUE, TRAINING_QUEUE

if TYPE_CHECKING:
    from moderation.domain.rescore import RescoreRun
    from moderation.domain.training_run import TrainingRun
    from moderation.wiring import Wiring

_LATELY = timedelta(days=1)


def run_findings(wiring: Wiring) -> Iterator[Finding]:
    """One for the newest run of each kind, if it is open or failed within a day. Raises ServiceDown of SQL."""
    for trained in wiring.training_runs.list(limit=1):
        yield from _findings(wiring, "training", "retrain", TRAINING_QUEUE, trained)
    for rescored in wiring.rescores.list(limit=1):
        yield from _findings(wiring, "rescoring", "rescore", BACKFILL_QUEUE, rescored)


def _findings(wiring: Wiring, part: str, verb: str, queue: str, run: TrainingRun | RescoreRun) -> Iterator[Finding]:
    seen = f"run {run.run_id} is {run.state}" + (f": {run.error}" if run.error else "")
    ended = run.finished_at
    if run.state == "failed" and ended is not None and datetime.now(UTC) - ended < _LATELY:
        yield Finding(part, Health.WARNING, seen, f"see: modctl {verb} status {run.run_id}, docs/operations.md")
    elif run.is_open and _is_deaf(wiring, queue):
        remedy = f"start one: modctl worker --queues {queue}; or end the run: modctl {verb} cancel {run.run_id}"
        yield Finding(part, Health.WARNING, f"{seen}, and no worker listens to {queue}", remedy)
    elif run.is_open:
        yield Finding(part, Health.OK, seen)


def _is_deaf(wiring: Wiring, queue: str) -> bool:
    try:
        return not wiring.bell.listeners(queue)
    except ServiceDown:
        return False  # the broker's own finding says so
