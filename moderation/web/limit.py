"""A limit on failed logins for each address, in memory."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

MAX_FAILURES = 10
WINDOW_S = 300.0
_MAX_ADDRESSES = 10_000  # so that a flood of addresses takes no memory without end


class LoginLimit:
    """Counts failures. Safe to use from several threads. `clock` gives seconds that only rise."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """For how many seconds this address may not try again; 0: it may now."""
        with self._lock:
            failures = self._recent(address)
            if len(failures) < MAX_FAILURES:
                return 0
            return max(1, math.ceil(failures[0] + WINDOW_S - self._clock()))

    def failed(self, address: str) -> None:
        """A login from this address failed."""
        with self._lock:
            self._failures[address] = self._recent(address)
            self._failures[address].append(self._clock())
            self._failures.move_to_end(address)
            while len(self._failures) > _MAX_ADDRESSES:
                self._failures.popitem(last=False)

    def _recent(self, address: str) -> deque[float]:
        after = self._clock() - WINDOW_S
        return deque((at for at in self._failures.get(address, ()) if at > after), maxlen=MAX_FAILURES)
