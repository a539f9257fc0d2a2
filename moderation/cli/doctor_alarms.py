"""What workers reported lately: one whose canary failed, and drift. Nothing where all is well."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from moderation.cli.finding import Finding, Health
from moderation.cli.shared import local_time

if TYPE_CHECKING:
    from moderation.wiring import Wiring

_LATELY = timedelta(days=1)
_REPEATS = 20  # a worker that is started again and again fails each time


def alarm_findings(wiring: Wiring) -> Iterator[Finding]:
    """A warning for each kind of alarm of the last day. Raises ServiceDown."""
    since = datetime.now(UTC) - _LATELY
    failed = wiring.events.list(kind="canary.failed", since=since, limit=_REPEATS)
    if failed:
        workers = ", ".join(sorted({event.actor for event in failed}))
        seen = f"{workers} failed, last at {local_time(failed[0].created_at)}: {failed[0].reason}"
        remedy = "it takes no work; mend its device, settings or packages: docs/drift.md, modctl canary list"
        yield Finding("canary", Health.WARNING, seen, remedy)
    alarm, fine = (wiring.events.list(kind=kind, limit=1) for kind in ("drift.alarm", "drift.ok"))
    if alarm and (not fine or fine[0].seq < alarm[0].seq):
        broken = sorted({f"{each['source']}: {each['measure']}" for each in alarm[0].payload["broken"]})
        seen = f"since {local_time(alarm[0].created_at)}: {', '.join(broken)}"
        yield Finding("drift", Health.WARNING, seen, "figures and what to do: modctl drift")
