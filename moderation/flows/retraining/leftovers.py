"""Leftovers: what training runs leave on disk, and what of it goes when one has ended.

A run's own folders keep its plan and its log. Pictures never stay. Vision features do as long as runs use them, because
the next one looks at mostly the same pictures.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

FEATURES = "features"
"""The cache of vision features, below the folder of the runs and shared by all of them."""
_IN_USE = timedelta(days=1)  # longer than an epoch of another run, which uses each of its features once in it


def clear_attempt(attempt: Path) -> None:
    """Removes one worker's copies of the pictures, and its folder where it holds nothing else."""
    shutil.rmtree(attempt / "pictures", ignore_errors=True)
    for folder in (attempt, attempt.parent):
        with suppress(OSError):  # one that is not empty, or gone
            folder.rmdir()


def clear_run(folder: Path) -> None:
    """Clears all attempts at a run that has ended, also those of workers that were killed."""
    for attempt in sorted(folder.glob("*/")):
        clear_attempt(attempt)


def prune_features(folder: Path, began: datetime, now: datetime) -> int:
    """Removes the features that a run did not use which began then and has done its work; how many.

    What others may be using stays: features that were used within a day.
    """
    from moderation.training.cache import prune

    return prune(folder, unused_since=min(began, now - _IN_USE).timestamp())
