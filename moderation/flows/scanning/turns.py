"""What the threads of a worker share: the gate that lets suspects ride alone, the claims under way, and the halt."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from moderation.errors import CanaryFailed


class Gate:
    """Many batches at a time, or one suspect alone.

    A suspect may take the whole process down; whoever ran beside it would be blamed for the crash. Waiting suspects
    go before new batches, so they get their turn under load.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._alone = False
        self._waiting_alone = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Enter with others; waits while a suspect is in, or waits."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting_alone)
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Enter when nobody is in, and keep everybody out."""
        with self._changed:
            self._waiting_alone += 1
            self._changed.wait_for(lambda: not self._alone and not self._together)
            self._waiting_alone -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


class UnderWay:
    """The claims this process holds, by token, each with the time it began (monotonic seconds)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}

    @contextmanager
    def holding(self, token: str) -> Iterator[None]:
        """Lists the claim while its batch is worked on."""
        with self._lock:
            self._began[token] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._began[token]

    def tokens(self) -> list[str]:
        """The tokens to renew."""
        with self._lock:
            return list(self._began)

    def oldest_s(self) -> float:
        """How long the oldest batch has been under way; 0 if there is none."""
        with self._lock:
            return time.monotonic() - min(self._began.values(), default=time.monotonic())


class Halt:
    """Whether this worker may score. Once it may not, it never does again."""

    def __init__(self) -> None:
        self._why: CanaryFailed | None = None

    def halt(self, why: CanaryFailed) -> None:
        """No further score of this process counts, not that of a batch under way either."""
        self._why = why

    def check(self) -> None:
        """Raises the CanaryFailed that halted it."""
        if self._why is not None:
            raise self._why
