"""Policies: versions of the thresholds, appended and never changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from moderation.domain.policy import ANY_SOURCE, DEFAULT_THRESHOLDS, Policy, PolicyId, Thresholds
from moderation.errors import ConfigurationError
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.tables import PolicyRow as Row

_AUTHOR = "antifake-moderation"


class Policies:
    """The `policy` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure_default(self) -> None:
        """Writes the first policy for all sources where there is none."""
        with self._database.write() as session:
            if session.scalar(select(Row.policy_id).limit(1)) is None:
                now = self._database.now(session)
                session.add(_row(ANY_SOURCE, DEFAULT_THRESHOLDS, _AUTHOR, "the shipped default", None, now))

    def set(
        self, source: str, thresholds: Thresholds, *, author: str, reason: str, restores: PolicyId | None = None
    ) -> Policy:
        """Appends a version for `source`, with its event, and returns it. `restores`: the version it goes back to."""
        with self._database.write() as session:
            parent = session.scalar(select(func.max(Row.policy_id)).where(Row.source == source))
            row = _row(source, thresholds, author, reason, parent, self._database.now(session))
            session.add(row)
            session.flush()
            payload = {"policy": row.policy_id, "source": source, "parent": parent, **asdict(thresholds)}
            if restores is not None:
                payload["restores"] = restores
            events.append(self._database, session, "policy.set", By(author, reason), payload=payload)
            return _domain(row)

    def current(self) -> dict[str, Policy]:
        """The policy that holds for each source that has one of its own, and for '*'."""
        with self._database.read() as session:
            return current_in(session)

    def get(self, policy_id: PolicyId) -> Policy:
        """The version of this number. Raises ConfigurationError."""
        with self._database.read() as session:
            row = session.get(Row, policy_id)
            if row is None:
                raise ConfigurationError("version", f"there is no {policy_id}", hint="see: modctl threshold history")
            return _domain(row)

    def history(self, source: str | None = None) -> list[Policy]:
        """All versions, or those of `source`, the newest first."""
        query = select(Row).order_by(Row.policy_id.desc())
        if source is not None:
            query = query.where(Row.source == source)
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(query)]


def current_in(session: Session) -> dict[str, Policy]:
    """`Policies.current` inside a transaction under way."""
    newest = select(func.max(Row.policy_id)).group_by(Row.source)
    return {row.source: _domain(row) for row in session.scalars(select(Row).where(Row.policy_id.in_(newest)))}


def for_sources(policies: dict[str, Policy], sources: Collection[str]) -> dict[str, Policy]:
    """The policy that holds for each of `sources`: its own, else the one for all. Raises ConfigurationError."""
    if ANY_SOURCE not in policies:
        raise ConfigurationError("policy", "no source has a default", hint="write the shipped one: modctl db upgrade")
    return {source: policies.get(source, policies[ANY_SOURCE]) for source in sources}


def thresholds_of(row: Row) -> Thresholds:
    """The numbers of a stored version."""
    return Thresholds(row.review_at, row.block_at, row.audit_rate, row.block_check_rate)


def all_thresholds(session: Session) -> dict[int, Thresholds]:
    """The numbers of every version."""
    return {row.policy_id: thresholds_of(row) for row in session.scalars(select(Row))}


def _row(
    source: str, thresholds: Thresholds, author: str, reason: str, parent: int | None, created_at: datetime
) -> Row:
    return Row(
        source=source,
        review_at=thresholds.review_at,
        block_at=thresholds.block_at,
        audit_rate=thresholds.audit_rate,
        block_check_rate=thresholds.block_check_rate,
        author=author,
        reason=reason,
        parent=parent,
        created_at=created_at,
    )


def _domain(row: Row) -> Policy:
    return Policy(
        policy_id=PolicyId(row.policy_id),
        source=row.source,
        thresholds=thresholds_of(row),
        author=row.author,
        reason=row.reason,
        parent=PolicyId(row.parent) if row.parent is not None else None,
        created_at=row.created_at,
    )
