"""Whose a token is. Only hashes are compared, and all of them, so that the time it takes says nothing."""

from __future__ import annotations

import hmac

from sqlalchemy import select

from moderation.storage.database import Database
from moderation.storage.reviewing.reviewers import Reviewer, Reviewers
from moderation.storage.tables import ReviewerRow as Row


class Logins:
    """The `reviewer` table, asked by token."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reviewers = Reviewers(database)

    def whose(self, token_sha256: str) -> Reviewer | None:
        """The active reviewer whose token has this hash. Takes as long for a wrong hash as for a right one."""
        query = select(Row.name, Row.token_sha256).where(Row.is_active.is_(True), Row.token_sha256.is_not(None))
        with self._database.read() as session:
            rows = session.execute(query).all()
        found = [row.name for row in rows if hmac.compare_digest(row.token_sha256, token_sha256)]
        return self._reviewers.get(found[0]) if found else None
