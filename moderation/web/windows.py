"""What each open window of a session was given, so that one that goes away gives all of it back.

Only the server knows all: a window that closes has not yet heard of what was leased for it a moment ago.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from moderation.domain.review import ReviewTask, TaskId

_REMEMBERED = 64  # windows of one session; what an older one still holds comes back when its lease is over


class Windows:
    """The windows of one session, each by the name that it gave itself. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: OrderedDict[str, dict[TaskId, ReviewTask] | None] = OrderedDict()  # None: gone away

    def give(self, window: str, task: ReviewTask) -> bool:
        """Notes that the window has this lease. False: it has gone away, and nobody is there to take it."""
        with self._lock:
            given = self._given.setdefault(window, {})
            self._given.move_to_end(window)
            if len(self._given) > _REMEMBERED:
                self._given.popitem(last=False)
            if given is None:
                return False
            given[task.task_id] = task
            return True

    def done(self, window: str, task: ReviewTask) -> None:
        """Forgets a task that is off the window's desk."""
        with self._lock:
            (self._given.get(window) or {}).pop(task.task_id, None)

    def close(self, window: str) -> list[ReviewTask]:
        """What the window still has, the newest first; from now on it is given nothing."""
        with self._lock:
            given = self._given.get(window) or {}
            self._given[window] = None
            self._given.move_to_end(window)
            return list(reversed(given.values()))
