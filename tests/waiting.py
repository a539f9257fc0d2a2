"""Waiting in tests: for a state, never for a time, and so long that only a failing test waits to the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# For what takes milliseconds: a machine with two cores and much else to do is an order of magnitude slower than alone.
GENEROUS_S = 120.0
PAUSE_S = 0.05


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = GENEROUS_S) -> None:
    """Returns as soon as `condition` holds; fails, with `what` was waited for, when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(PAUSE_S)
