"""How long the stages of a build took, and on what; said on stderr while they run."""

from __future__ import annotations

import os
import platform
import sys
import time

import torch


class Clock:
    """Says what happens on stderr and keeps how long each stage took."""

    def __init__(self) -> None:
        self._start = self._stage_start = time.monotonic()
        self.seconds: dict[str, int] = {}

    def say(self, text: str) -> None:
        """One line with the seconds since the start."""
        sys.stderr.write(f"{time.monotonic() - self._start:6.0f} s  {text}\n")
        sys.stderr.flush()

    def end_stage(self, name: str) -> None:
        """Closes a stage under its name."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._stage_start)
        self._stage_start = now
        self.say(f"{name} done in {self.seconds[name]} s")


def machine() -> str:
    """In a few words, for the data card."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}, shared with other work), {versions}"
