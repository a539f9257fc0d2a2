"""Events: the audit trail. `append` runs inside the transaction of what it records, so neither is there without the
other; appending is serialised by the lock on the chain's head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from moderation.domain.audit import FIRST_HASH, Break, Event, Head, event_hash, first_broken
from moderation.storage.database import Database
from moderation.storage.tables import EventHeadRow, EventRow

_HEAD = "main"
_PAGE = 5000


@dataclass(frozen=True, slots=True)
class By:
    """Who acts and why, as it goes into the trail."""

    actor: str
    reason: str = ""


SYSTEM = By("antifake-moderation")
"""This program itself, as where it installs what it ships with."""


def append(
    database: Database, session: Session, kind: str, by: By, *, image_id: str = "", payload: Mapping[str, Any]
) -> None:
    """Adds an event to the chain in `session`'s transaction. `payload` must be plain JSON."""
    now = database.now(session)
    session.execute(
        database.insert(EventHeadRow)
        .values(name=_HEAD, seq=0, hash=FIRST_HASH)
        .on_conflict_do_nothing(index_elements=["name"])
    )
    head = session.execute(
        select(EventHeadRow.seq, EventHeadRow.hash).where(EventHeadRow.name == _HEAD).with_for_update()
    ).one()
    fields: dict[str, Any] = {
        "seq": head.seq + 1,
        "kind": kind,
        "actor": by.actor,
        "reason": by.reason,
        "image_id": image_id,
        "payload": dict(payload),
        "created_at": now,
        "prev_hash": head.hash,
    }
    own = event_hash(**fields)
    session.add(EventRow(**fields, hash=own))
    session.flush()
    session.execute(update(EventHeadRow).where(EventHeadRow.name == _HEAD).values(seq=head.seq + 1, hash=own))


class Events:
    """The `event` table, read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(
        self,
        *,
        kind: str | None = None,
        image_id: str | None = None,
        since: datetime | None = None,
        limit: int | None = 100,
    ) -> list[Event]:
        """Events that fit all that is given, the newest first."""
        query = select(EventRow).order_by(EventRow.seq.desc())
        if kind is not None:
            query = query.where(EventRow.kind == kind)
        if image_id is not None:
            query = query.where(EventRow.image_id == image_id)
        if since is not None:
            query = query.where(EventRow.created_at >= since)
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(query.limit(limit))]

    def verify(self) -> tuple[int, Break | None]:
        """How many events there are, and where the chain first fails; all of it is read, a page at a time."""
        with self._database.read() as session:
            last = session.scalar(select(func.max(EventRow.seq))) or 0  # first: what is appended meanwhile has its head
            row = session.get(EventHeadRow, _HEAD)
            head = Head(row.seq, row.hash) if row else Head(0, FIRST_HASH)
            if last > head.seq:
                return head.seq, Break(last, "it was added past the end of the chain")
            return head.seq, first_broken(_until(session, head.seq), head)


def _until(session: Session, last: int) -> Iterator[Event]:
    after: int | None = None
    while True:
        query = select(EventRow).where(EventRow.seq <= last).order_by(EventRow.seq).limit(_PAGE)
        rows = session.scalars(query if after is None else query.where(EventRow.seq > after)).all()
        yield from map(_domain, rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].seq
        session.expunge_all()


def _domain(row: EventRow) -> Event:
    return Event(
        seq=row.seq,
        kind=row.kind,
        actor=row.actor,
        reason=row.reason,
        image_id=row.image_id,
        payload=row.payload,
        created_at=row.created_at,
        prev_hash=row.prev_hash,
        hash=row.hash,
    )
