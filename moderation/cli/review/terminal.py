"""The terminal while pictures are reviewed: single keys, a screen of its own, and all of it put back at the end."""

from __future__ import annotations

import codecs
import importlib.util
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import click

END = "\x04"
_ESCAPE = "\x1b"
_IDLE_S = 0.5
_SEQUENCE_S = 0.05  # the rest of an arrow key's sequence comes within this, a person's next key does not


class Keyboard:
    """Keys one by one, without Enter. Ctrl-C stays an interrupt."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")

    def key(self) -> str:
        """The next character that was typed; '\\x04' at the end of input, '' where none was for a while.

        Arrow and function keys are passed over.
        """
        if not self._waits(_IDLE_S):
            return ""
        one = self._one()
        if one != _ESCAPE or not self._waits():
            return one
        self._drop_sequence()
        return ""

    def forget(self) -> None:
        """Drops what was typed ahead: nobody answers a picture before it is on the screen."""
        import termios

        termios.tcflush(self._descriptor, termios.TCIFLUSH)
        self._decoder.reset()

    def _one(self) -> str:
        while True:
            byte = os.read(self._descriptor, 1)
            if not byte:
                return END
            if text := self._decoder.decode(byte):
                return text

    def _waits(self, seconds: float = _SEQUENCE_S) -> bool:
        return bool(select.select([self._descriptor], [], [], seconds)[0])

    def _drop_sequence(self) -> None:
        if self._one() not in ("[", "O"):
            return
        while self._waits() and not "@" <= self._one() <= "~":
            pass


def check_terminal() -> None:
    """Raises UsageError where there is no terminal, or one that can't give single keys (Windows)."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("this needs a terminal; in scripts: modctl review next, modctl review label")
    if importlib.util.find_spec("termios") is None:
        raise click.UsageError("single keys can't be read on this system; use: modctl review next, label")


@contextmanager
def own_terminal() -> Iterator[Keyboard]:
    """Single keys and a blank screen; both are put back whatever happens, an end by signal included."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        with _ends_orderly():
            tty.setcbreak(descriptor)
            sys.stdout.write("\x1b[?1049h\x1b[?25l")  # another screen, no cursor
            sys.stdout.flush()
            yield Keyboard(descriptor)
    finally:
        with suppress(OSError, termios.error):  # the window was closed
            sys.stdout.write("\x1b[0m\x1b[?25h\x1b[?1049l")
            sys.stdout.flush()
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _ends_orderly() -> Iterator[None]:
    """A closed window and a `kill` end the program as Ctrl-C does, so that nothing stays behind."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    handlers = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
