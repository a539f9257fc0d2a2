"""Canaries: the known answers, as first recorded on each kind of machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select

from moderation.domain.canary import Asked, Known, Machine
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.tables import CanaryRow as Row

_KEY = ("prompt_id", "backbone_revision", "device", "dtype", "pictures")


class Canaries:
    """The `canary` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, asked: Asked) -> list[Known]:
        """What was recorded on all kinds of machines, the oldest first."""
        query = select(Row).where(
            Row.prompt_id == asked.prompt_id,
            Row.backbone_revision == asked.backbone_revision,
            Row.pictures == asked.pictures,
        )
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(query.order_by(Row.created_at))]

    def record(self, known: Known) -> bool:
        """Keeps the answers, with an event; False where another worker was first."""
        asked, machine = known.asked, known.machine
        values = {
            "prompt_id": asked.prompt_id,
            "backbone_revision": asked.backbone_revision,
            "device": machine.device,
            "dtype": machine.dtype,
            "pictures": asked.pictures,
            "answers": list(known.answers),
            "worker": known.worker,
        }
        with self._database.write() as session:
            insert = self._database.insert(Row).values(**values, created_at=self._database.now(session))
            added = session.scalar(insert.on_conflict_do_nothing(index_elements=_KEY).returning(Row.prompt_id))
            if added is None:
                return False
            payload = {name: value for name, value in values.items() if name != "worker"}
            events.append(self._database, session, "canary.recorded", By(known.worker), payload=payload)
            return True

    def failed(self, payload: Mapping[str, Any], *, worker: str, reason: str) -> None:
        """Writes the event of a worker whose answers moved."""
        with self._database.write() as session:
            events.append(self._database, session, "canary.failed", By(worker, reason), payload=payload)

    def list(self) -> list[Known]:
        """All that is known, the newest first."""
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(select(Row).order_by(Row.created_at.desc()))]

    def forget(self, prompt_id: str | None, *, by: By) -> int:
        """Removes what was recorded for this prompt, or for all, with an event. Returns how many rows went."""
        statement = delete(Row) if prompt_id is None else delete(Row).where(Row.prompt_id == prompt_id)
        with self._database.write() as session:
            gone = len(session.scalars(statement.returning(Row.prompt_id)).all())
            if gone:
                payload = {"prompt": prompt_id, "rows": gone}
                events.append(self._database, session, "canary.forgotten", by, payload=payload)
            return gone


def _domain(row: Row) -> Known:
    return Known(
        asked=Asked(row.prompt_id, row.backbone_revision, row.pictures),
        machine=Machine(row.device, row.dtype),
        answers=tuple(row.answers),
        worker=row.worker,
        created_at=row.created_at,
    )
