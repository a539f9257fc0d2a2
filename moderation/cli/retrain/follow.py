"""Following a training run: its row is the truth, whoever works on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from moderation.cli.shared import console, say
from moderation.errors import ServiceDown
from moderation.queue.app import TRAINING_QUEUE

if TYPE_CHECKING:
    from moderation.domain.training_run import TrainingRun
    from moderation.wiring import Wiring

_LOOK_S = 0.5
_LEFT = 130  # as shells have it after Ctrl-C
STAGES = {
    "fetching": "fetching pictures",
    "features": "looking at them",
    "tuning": "tuning",
    "expert": "pixel expert",
    "judging": "judging",
    "reporting": "report",
}


def follow(wiring: Wiring, run: TrainingRun) -> TrainingRun:
    """Waits until the run has ended; Ctrl-C leaves it to the workers."""
    try:
        return _until(wiring, run, lambda found: not found.is_open)
    except KeyboardInterrupt:
        say(f"\nRun {run.run_id} goes on. Pick it up: modctl retrain status {run.run_id} --watch. "
            f"End it: modctl retrain cancel {run.run_id}")  # fmt: skip
        raise SystemExit(_LEFT) from None


def work_here(wiring: Wiring, run: TrainingRun) -> TrainingRun:
    """Does the run's work in this process, unless a worker has it already. Ctrl-C gives it back."""
    teacher, failures = wiring.teacher(), list[BaseException]()

    def work() -> None:
        try:
            teacher.work(run.run_id)
        except BaseException as error:  # noqa: BLE001 - it is raised again where somebody hears it
            failures.append(error)

    thread = threading.Thread(target=work, name="teacher", daemon=True)
    thread.start()
    try:
        found = _until(wiring, run, lambda _: not thread.is_alive())
    except KeyboardInterrupt:
        say("\nStopping after this step. Again: end at once.")
        teacher.stop()
        thread.join()
        found = wiring.training_runs.get(run.run_id)
        if found.is_open:
            say(f"Run {run.run_id} waits. Go on here: modctl retrain resume {run.run_id}; a worker that listens to "
                f"{TRAINING_QUEUE} takes it too. End it: modctl retrain cancel {run.run_id}")  # fmt: skip
            raise SystemExit(_LEFT) from None
    if failures:
        raise failures[0]
    return follow(wiring, found) if found.is_open else found


def say_if_nobody_listens(wiring: Wiring) -> None:
    """Says so where no worker would take the run. Raises ServiceDown."""
    if not wiring.bell.listeners(TRAINING_QUEUE):
        say(f"No worker listens to {TRAINING_QUEUE}. Start one: modctl worker --queues {TRAINING_QUEUE}; "
            "or begin with --local.")  # fmt: skip


def _until(wiring: Wiring, run: TrainingRun, is_over: Callable[[TrainingRun], bool]) -> TrainingRun:
    away = False
    with _bar() as tell:
        while True:
            ended = is_over(run)
            try:
                run = wiring.training_runs.get(run.run_id)
                away = False
            except ServiceDown as error:
                if not away:
                    say(f"Still following, but {error}")
                away, ended = True, False
            tell(run)
            if ended:
                return run
            time.sleep(_LOOK_S)


@contextmanager
def _bar() -> Iterator[Callable[[TrainingRun], None]]:
    """A bar on standard error; without a terminal a line for each stage and epoch."""
    from rich.progress import BarColumn, Progress, TextColumn

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(14), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("", total=1, note="")

        def tell(run: TrainingRun) -> None:
            now = run.progress
            done, total = now.get("done", 0), now.get("total", 0)
            note = "  ".join(filter(None, [f"{done}/{total}" if total else "", _figures(now)]))
            progress.update(task, description=_stage(run), total=total or 1, completed=done if total else 0, note=note)

        yield tell


def _lines() -> Callable[[TrainingRun], None]:
    said = ("", "")

    def tell(run: TrainingRun) -> None:
        nonlocal said
        now = (_stage(run), _figures(run.progress))
        if run.is_open and now != said:
            said = now
            say(": ".join(filter(None, now)))

    return tell


def _stage(run: TrainingRun) -> str:
    if run.state == "queued":
        return "waiting for a worker"
    if run.cancel_requested:
        return "stopping"
    return STAGES.get(run.progress.get("stage", ""), "starting")


def _figures(progress: Any) -> str:
    """'epoch 3, val 0.123, AUC 0.987' while it tunes, the expert's epoch after that; beside the bar into 80 columns."""
    if progress.get("stage") == "expert":
        return f"epoch {progress['done']}" if progress.get("done") else ""
    if progress.get("stage") != "tuning":
        return ""
    loss, auc = progress.get("validation_loss"), progress.get("validation_auc")
    if loss is None or auc is None:
        return ""
    return f"epoch {progress['epoch']}, val {loss:.3f}, AUC {auc:.3f}"
