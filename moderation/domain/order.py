"""In which order reviewers get tasks. One rule: everybody waits in one line, and what matters starts further ahead.

A task's place is a moment, fixed when it is made: its age minus a head start that is never more than MAX_HEAD_START.
So a task that has waited longer than that comes before every newer one, whatever their priorities: nothing starves.
"""

from __future__ import annotations

from datetime import datetime, timedelta

UNCERTAINTY_HEAD_START = timedelta(hours=4)
PRIORITY_HEAD_START = timedelta(hours=20)
MAX_HEAD_START = UNCERTAINTY_HEAD_START + PRIORITY_HEAD_START
"""One day: at most so long can what is urgent delay what is not. Conventions, to be changed here alone."""
MAX_PRIORITY = 1000  # as `submit` allows


def due_at(created_at: datetime, uncertainty: float, priority: int) -> datetime:
    """The task's place in the line: the earliest goes first.

    uncertainty: 0 (sure) to 1 (on a threshold), see `uncertainty`. priority: the platform's, -1000 to 1000; below 0 it
    starts as far behind as above 0 ahead.
    """
    ahead = UNCERTAINTY_HEAD_START * min(1.0, max(0.0, uncertainty))
    share = max(-1.0, min(1.0, priority / MAX_PRIORITY))
    return created_at - ahead - PRIORITY_HEAD_START * share


def uncertainty(probability: float, review_at: float, block_at: float) -> float:
    """How near a probability lies to the nearest threshold: 1 on it, 0 at a distance of a half or more."""
    distance = min(abs(probability - review_at), abs(probability - block_at))
    return max(0.0, 1.0 - 2.0 * distance)
