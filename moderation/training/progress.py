"""What a person sees of a run and how they stop it: a bar on a terminal, plain lines elsewhere, TensorBoard."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from moderation.errors import ConfigurationError
from moderation.training.state import Row


class Watcher(Protocol):
    """Is told how a run goes."""

    def step(self, loss: float) -> None:
        """One step was made."""
        ...

    def epoch(self, row: Row) -> None:
        """One epoch was finished and validated."""
        ...


class Screen:
    """A bar with loss, validation AUC and time left; without a terminal one line an epoch."""

    def __init__(self, say: Callable[[str], None], bar: Progress | None, members: int) -> None:
        self._say, self._bar, self._members = say, bar, members
        self._short = ""

    def step(self, loss: float) -> None:
        """Moves the bar."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], advance=1, note=f"loss {loss:.3f}{self._short}")

    def epoch(self, row: Row) -> None:
        """Takes the validation into the bar, or prints a line."""
        self._short = f", val {row.validation_loss:.3f}, AUC {row.validation_auc:.3f}"
        if not self._bar:
            figures = f"validation loss {row.validation_loss:.4f}, AUC {row.validation_auc:.3f}"
            member = f"member {row.member + 1}, " if self._members > 1 else ""
            self._say(f"{member}epoch {row.epoch}: loss {row.loss:.4f}, {figures}, {row.seconds:.1f} s")


class TensorBoard:
    """Writes event files that `tensorboard --logdir RUNS_DIR` shows."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigurationError where the package is missing."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise _no_tensorboard() from None
        make: Any = SummaryWriter  # its methods carry no types
        self._writer = make(str(folder))
        self._steps = 0

    def step(self, loss: float) -> None:
        """The training loss by step."""
        self._writer.add_scalar("loss/step", loss, self._steps)
        self._steps += 1

    def epoch(self, row: Row) -> None:
        """The rest by epoch."""
        figures = {
            "loss/train": row.loss,
            "loss/validation": row.validation_loss,
            "auc/validation": row.validation_auc,
            "rate": row.learning_rate,
        }
        for name, value in figures.items():
            self._writer.add_scalar(f"member-{row.member}/{name}", value, row.epoch)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


def check_tensorboard() -> None:
    """Raises ConfigurationError where TensorBoard is not installed: before hours of work, not after."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise _no_tensorboard()


@contextmanager
def screen(title: str, total: int, say: Callable[[str], None], console: Console, members: int = 1) -> Iterator[Screen]:
    """A Screen on `console`, with a bar only if that is a terminal."""
    if not console.is_terminal:
        yield Screen(say, None, members)
        return
    with _bar(console, title, total) as bar:
        yield Screen(say, bar, members)


@contextmanager
def counter(title: str, total: int, console: Console) -> Iterator[Callable[[int], None]]:
    """A bar for a pass over `total` pictures; nothing without a terminal."""
    if not console.is_terminal:
        yield lambda _: None
        return
    with _bar(console, title, total) as bar:
        yield lambda more: bar.update(bar.task_ids[0], advance=more)


class Interrupt:
    """Whether the person asked to stop. The first Ctrl-C asks, the second ends at once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked = False
        self._say = say

    def ask(self) -> None:
        """Stop after the step under way."""
        self.asked = True

    @contextmanager
    def listening(self) -> Iterator[Interrupt]:
        """Takes Ctrl-C for as long as this is entered; only a process's main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGINT, self._heard)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._say("Stopping after this step; the best so far is kept. Again: end at once.")


def _bar(console: Console, title: str, total: int) -> Progress:
    bar = Progress(  # fits into 80 columns
        TextColumn("{task.description}"), BarColumn(bar_width=14), MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"), TimeRemainingColumn(compact=True), TextColumn("left"),
        console=console, transient=True,
    )  # fmt: skip
    bar.add_task(title, total=total, note="")
    return bar


def _no_tensorboard() -> ConfigurationError:
    return ConfigurationError(
        "--tensorboard", "TensorBoard is not installed", hint="pip install 'antifake-moderation[tensorboard]'"
    )
