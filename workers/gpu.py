"""The detector, once per process: loaded before the first task, shared by all threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from moderation.flows.rescoring.backfill import Rescorer
from moderation.flows.retraining.retrain import Teacher
from moderation.flows.scanning.scan import Scanner
from moderation.settings import load_settings
from moderation.wiring import Wiring
from workers.canary import CanaryWatch


@cache
def wiring() -> Wiring:
    """This process's parts."""
    return Wiring(load_settings())


@cache
def scanner() -> Scanner:
    """This process's scanner, its backbone loaded; slow when first called. Raises ConfigurationError, ServiceDown."""
    return wiring().scanner()


@cache
def rescorer() -> Rescorer:
    """What scores stored images again in this process, on the scanner's device."""
    return wiring().rescorer(scanner())


@cache
def teacher() -> Teacher:
    """What works on training runs in this process, on the scanner's device and backbone."""
    return wiring().teacher(scanner().looker.device)


def canary_watch(worker: str, end: Callable[[int], None]) -> CanaryWatch:
    """What checks this process on known pictures. end: told the exit code where it fails."""
    parts = wiring()
    return CanaryWatch(
        parts.canary(scanner().looker, worker=worker),
        last_used=lambda: parts.active_prompt.last_used,
        interval_s=parts.settings.canary_interval_s,
        end=end,
    )
