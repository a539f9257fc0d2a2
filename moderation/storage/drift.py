"""Scores of two spans as histograms, counted in one pass of SQL; what the last look for drift said.

An image counts once, when it was first scored: scored again, by wish or by another prompt, it is nothing that came in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Integer, cast, exists, func, not_, or_, select
from sqlalchemy.orm import aliased

from moderation.domain.shift import STEPS
from moderation.domain.verdict import Decision
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.tables import EventRow
from moderation.storage.tables import VerdictRow as Row

_KINDS = {True: "drift.alarm", False: "drift.ok"}
_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Counted:
    """So many images of one source, prompt and policy, all with one score, in steps of 1 / STEPS."""

    in_window: bool
    source: str
    prompt_id: str
    policy_id: int
    step: int
    images: int
    flagged: int


class Drift:
    """The `verdict` table asked for distributions, and the events about drift."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> datetime:
        """The database's clock, which verdicts are stamped with."""
        with self._database.read() as session:
            return self._database.now(session)

    def count(self, since: datetime, split: datetime, until: datetime, source: str | None = None) -> Iterator[Counted]:
        """Deciding verdicts from `since` to `until`; from `split` on they are in the window. A shadow's never count."""
        in_window = Row.created_at >= split
        step = cast(func.round(Row.probability * STEPS), Integer)
        keys = (in_window, Row.source, Row.prompt_id, Row.policy_id, step)
        query = select(*keys, func.count(), func.count().filter(Row.decision != Decision.ALLOW)).group_by(*keys)
        earlier = aliased(Row)
        before = exists().where(
            earlier.image_id == Row.image_id, earlier.shadow.is_(False), earlier.verdict_id < Row.verdict_id
        )
        query = query.where(
            Row.shadow.is_(False), Row.created_at >= since, Row.created_at < until, or_(Row.round == 1, not_(before))
        )
        if source is not None:
            query = query.where(Row.source == source)
        with self._database.read() as session:
            for row in session.execute(query.execution_options(yield_per=_ROWS)):
                yield Counted(bool(row[0]), *row[1:])

    def note(self, *, alarm: bool, payload: Mapping[str, Any], by: By, repeat: timedelta) -> bool:
        """Writes 'drift.alarm' or 'drift.ok', unless the newest one says the same and is younger than `repeat`.

        The same: of the same kind, with the same `broken` in its payload but for its figures. Returns whether it did.
        """
        newest = select(EventRow).where(EventRow.kind.in_(_KINDS.values())).order_by(EventRow.seq.desc()).limit(1)
        with self._database.write() as session:
            last = session.scalar(newest)
            if last is not None and last.kind == _KINDS[alarm] and _limits(last.payload) == _limits(payload):
                age = self._database.now(session) - last.created_at
                if age < repeat:
                    return False
            events.append(self._database, session, _KINDS[alarm], by, payload=payload)
            return True


def _limits(payload: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(broken["source"], broken["measure"]) for broken in payload["broken"]}
