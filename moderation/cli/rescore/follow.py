"""Following a rescoring run: its row is the truth, whoever works on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moderation.cli.shared import console, say
from moderation.errors import ServiceDown
from moderation.queue.app import BACKFILL_QUEUE

if TYPE_CHECKING:
    from moderation.domain.rescore import RescoreRun
    from moderation.flows.scanning.scan import Scanner
    from moderation.wiring import Wiring

_LOOK_S = 0.5
_LEFT = 130  # as shells have it after Ctrl-C


def follow(wiring: Wiring, run: RescoreRun) -> RescoreRun:
    """Waits until the run has ended; Ctrl-C leaves it to the workers."""
    with _leaving(run), _bar(run) as told:
        while run.is_open:
            time.sleep(_LOOK_S)
            run = wiring.rescores.get(run.run_id)
            told(run)
    return run


def work_here(wiring: Wiring, run: RescoreRun, scanner: Scanner) -> RescoreRun:
    """Does the run's work in this process, at its rate, unless a worker is at it."""
    # No housekeeper renews leases here, so this one has to last for a batch, however long that takes.
    rescorer = wiring.rescorer(scanner, lease_s=wiring.settings.batch_timeout_s)
    with _leaving(run), _bar(run) as told:
        while run.is_open:
            delay_s = rescorer.step(run.run_id)
            run = wiring.rescores.get(run.run_id)
            told(run)
            if run.is_open:
                time.sleep(_LOOK_S if delay_s is None else delay_s)
    return run


def say_if_nobody_listens(wiring: Wiring) -> None:
    """Says so where no worker would take the run."""
    try:
        if wiring.bell.listeners(BACKFILL_QUEUE):
            return
    except ServiceDown:
        return  # said already, or not this command's to say
    say(f"No worker listens to {BACKFILL_QUEUE}. Start one: modctl worker --queues {BACKFILL_QUEUE}; or add --local.")


@contextmanager
def _leaving(run: RescoreRun) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nRun {run.run_id} stays open, and workers go on with it. Pick it up: the same command, or "
            f"modctl rescore status {run.run_id} --watch. End it: modctl rescore cancel {run.run_id}")  # fmt: skip
        raise SystemExit(_LEFT) from None


@contextmanager
def _bar(run: RescoreRun) -> Iterator[Callable[[RescoreRun], None]]:
    """A bar on standard error, none without a terminal; what a run waits for is said once."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    columns = (
        TextColumn("scoring"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    said = ""
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=run.images, completed=run.scored + run.failed)

        def told(now: RescoreRun) -> None:
            nonlocal said
            progress.update(task, completed=now.scored + now.failed)
            if now.is_open and now.error and now.error != said:
                said = now.error
                screen.print(f"It waits: {said}", markup=False)

        yield told
