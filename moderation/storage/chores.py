"""Chores: periodic tasks of which every worker asks, and that one of them does."""

from __future__ import annotations

from datetime import timedelta

from moderation.storage.database import Database
from moderation.storage.tables import ChoreRow as Row


class Chores:
    """The `chore` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: str, *, every: timedelta, worker: str) -> bool:
        """Whether this worker is to do it now: nobody took it on within `every`. One statement, so one worker wins."""
        with self._database.write() as session:
            now = self._database.now(session)
            insert = self._database.insert(Row).values(name=name, taken_at=now, worker=worker)
            taken = insert.on_conflict_do_update(
                index_elements=["name"],
                set_={"taken_at": insert.excluded.taken_at, "worker": insert.excluded.worker},
                where=Row.taken_at <= now - every,
            )
            return session.scalar(taken.returning(Row.name)) is not None
