"""Reviewers: who may review, in which role, whose word alone suffices. Of a token only its sha256 is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from moderation.domain.review import Role
from moderation.errors import ConfigurationError
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.tables import ReviewerRow as Row


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A person who reviews."""

    name: str
    role: Role
    is_trusted: bool
    is_active: bool
    created_at: datetime

    @property
    def is_senior(self) -> bool:
        """Whether escalated tasks are for them too."""
        return self.role in (Role.SENIOR, Role.ADMIN)


class Reviewers:
    """The `reviewer` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, name: str, role: Role, *, is_trusted: bool, token_sha256: str, by: By) -> Reviewer:
        """Adds a reviewer, or gives a known one a new role and token: the old token is worth nothing any more."""
        with self._database.write() as session:
            row = session.get(Row, name)
            kind = "reviewer.add" if row is None else "reviewer.change"
            if row is None:
                row = Row(name=name, created_at=self._database.now(session))
                session.add(row)
            row.role, row.is_trusted, row.is_active, row.token_sha256 = role, is_trusted, True, token_sha256
            session.flush()
            payload = {"name": name, "role": role, "trusted": is_trusted}
            events.append(self._database, session, kind, by, payload=payload)
            return _domain(row)

    def remove(self, name: str, *, by: By) -> None:
        """Takes the token away; what the reviewer said stays. Raises ConfigurationError for an unknown name."""
        with self._database.write() as session:
            row = session.get(Row, name)
            if row is None:
                raise ConfigurationError("reviewer", f"{name!r} is unknown", hint="see: modctl reviewer list")
            row.is_active, row.token_sha256 = False, None
            events.append(self._database, session, "reviewer.remove", by, payload={"name": name})

    def get(self, name: str) -> Reviewer | None:
        """The reviewer of this name."""
        with self._database.read() as session:
            row = session.get(Row, name)
            return _domain(row) if row else None

    def by_token(self, token_sha256: str) -> Reviewer | None:
        """The active reviewer whose token has this hash."""
        with self._database.read() as session:
            row = session.scalar(select(Row).where(Row.token_sha256 == token_sha256, Row.is_active.is_(True)))
            return _domain(row) if row else None

    def list(self) -> list[Reviewer]:
        """All, by name."""
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(select(Row).order_by(Row.name))]

    def trusted(self) -> frozenset[str]:
        """Names of those whose word alone makes a label trusted."""
        return frozenset(reviewer.name for reviewer in self.list() if reviewer.is_trusted)


def _domain(row: Row) -> Reviewer:
    return Reviewer(row.name, Role(row.role), row.is_trusted, row.is_active, row.created_at)
