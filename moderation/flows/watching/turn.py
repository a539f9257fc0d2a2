"""The periodic look for drift: one worker does it for all, writes an event, and warns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from moderation.domain.drift import DriftReport, SourceDrift
from moderation.domain.drift_limits import Broken, Measure
from moderation.flows.watching.drift import DriftWatch
from moderation.storage.chores import Chores
from moderation.storage.events import By

log = logging.getLogger(__name__)

CHORE = "drift"
REPEAT = timedelta(days=1)
"""An unchanged finding goes into the trail at most so often."""


def look_in_turn(watch: DriftWatch, chores: Chores, *, every: timedelta, worker: str) -> DriftReport | None:
    """The look of one worker for all of them: None where another took it on within `every`. Raises ServiceDown.

    Writes an event and warns of broken limits. A report that can't say anything leaves no event.
    """
    if not chores.take(CHORE, every=every, worker=worker):
        return None
    report = watch.look()
    for broken in report.broken:
        log.warning("drift: %s", told(broken))
    if report.says_anything:
        alarm = bool(report.broken)
        watch.drift.note(alarm=alarm, payload=_payload(report), by=By(worker), repeat=REPEAT)
    return report


def told(broken: Broken) -> str:
    """A broken limit in one line."""
    value = f"{broken.value:+.3g}" if broken.measure is Measure.FLAGGED else f"{broken.value:.3g}"
    return f"{broken.source}: {broken.measure.said} is {value}, the limit {broken.limit:g} ({broken.setting})"


def _payload(report: DriftReport) -> dict[str, Any]:
    """What the trail keeps: the figures of all sources together and of those with an alarm."""
    alarmed = {broken.source for broken in report.broken}
    kept: Sequence[SourceDrift] = [
        each for number, each in enumerate(report.sources) if not number or each.source in alarmed
    ]
    return {
        "since": report.since.isoformat(),
        "split": report.split.isoformat(),
        "until": report.until.isoformat(),
        "prompt": report.prompt_id,
        "sources": len(report.sources) - 1,
        "figures": [_figures(each) for each in kept],
        "broken": [
            {"source": each.source, "measure": str(each.measure), "value": round(each.value, 6), "limit": each.limit}
            for each in report.broken
        ],
    }


def _figures(found: SourceDrift) -> dict[str, Any]:
    comparison, error = found.comparison, found.error
    return {
        "source": found.source,
        "images": found.images,
        "images_before": found.images_before,
        "psi": round(comparison.psi.value, 6) if comparison else None,
        "ks": round(comparison.ks.value, 6) if comparison else None,
        "flagged": round(comparison.flagged.value, 6) if comparison else None,
        "flagged_before": round(comparison.flagged_before.value, 6) if comparison else None,
        "overturned": asdict(found.overturned.all) if found.overturned.all else None,
        "error": asdict(error) if error else None,
        "notes": list(found.notes),
    }
