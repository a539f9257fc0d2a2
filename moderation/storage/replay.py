"""Replay: what other thresholds would make of the stored scores, counted in SQL. No score is computed, none changed.

An image counts once, with its newest verdict that is not a shadow's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from moderation.domain.evidence import Group, Rule, Scope, kind_of
from moderation.domain.policy import Thresholds
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.storage.database import Database
from moderation.storage.policies import all_thresholds
from moderation.storage.tables import VerdictRow as Row

# Enough to hash a million image ids in memory. PostgreSQL's default of 4 MB would take them through temporary files.
_WORK_MEM = "256MB"


@dataclass(frozen=True, slots=True)
class Counted:
    """The images of a scope in groups, and when the first and the last of them came (None: there are none).

    An image came when it was scored first: verdicts that a rescoring made at once were not a day's work.
    """

    groups: tuple[Group, ...]
    first: datetime | None
    last: datetime | None


class Replay:
    """The `verdict` table, asked what if."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest_prompt(self, source: str | None = None) -> str | None:
        """The prompt that scored last."""
        query = select(Row.prompt_id).where(Row.shadow.is_(False)).order_by(Row.verdict_id.desc()).limit(1)
        if source is not None:
            query = query.where(Row.source == source)
        with self._database.read() as session:
            return session.scalar(query)

    def count(self, scope: Scope, before: Rule, after: Rule) -> Counted:
        """The scope's images by kind and by what the two rules make of them, in one pass."""
        pairs = [(old, new) for old in Decision for new in Decision if before != after or old is new]
        # A sum for each pair, not a group: PostgreSQL expects hundreds of thousands of groups of a CASE, and then
        # neither joins nor adds up in parallel.
        sums = [func.count().filter(_is(before, old), _is(after, new)) for old, new in pairs]
        times = [ends(Row.created_at).filter(Row.round == 1) for ends in (func.min, func.max)]
        query = select(Row.policy_id, Row.decision, func.count().filter(Row.round > 1), *times, *sums)
        query = query.where(*within(scope), is_newest(scope)).group_by(Row.policy_id, Row.decision)
        with self._database.read() as session:
            self._make_room(session)
            rows = session.execute(query).all()
            came: list[datetime | None] = [moment for row in rows for moment in row[3:5]]
            if any(row[2] for row in rows):
                came += session.execute(_first_times(scope)).one()
            policies = all_thresholds(session)
        groups = [
            _group(policies[row[0]], row[1], old, new, images)
            for row in rows
            for (old, new), images in zip(pairs, row[5:], strict=True)
            if images
        ]
        known = [moment for moment in came if moment is not None]
        return Counted(tuple(groups), min(known, default=None), max(known, default=None))

    def moving(
        self, scope: Scope, before: Rule, after: Rule, *, old: Decision, new: Decision, limit: int
    ) -> list[ImageId]:
        """Some images that would move from `old` to `new`, the newest first."""
        query = select(Row.image_id).where(*within(scope), _is(before, old), _is(after, new))
        query = query.where(is_newest(scope)).order_by(Row.verdict_id.desc()).limit(limit)
        with self._database.read() as session:
            return [ImageId(image_id) for image_id in session.scalars(query)]

    def _make_room(self, session: Session) -> None:
        if not self._database.is_sqlite:
            session.execute(select(func.set_config("work_mem", _WORK_MEM, True)))  # for this transaction


def within(scope: Scope) -> list[ColumnElement[bool]]:
    """The verdicts that fit `scope`; with `is_newest`, its images."""
    conditions: list[ColumnElement[bool]] = [Row.shadow.is_(False)]
    if scope.source is not None:
        conditions.append(Row.source == scope.source)
    if scope.except_sources:
        conditions.append(Row.source.not_in(scope.except_sources))
    if scope.since is not None:
        conditions.append(Row.created_at >= scope.since)
    if scope.prompt_id is not None:
        conditions.append(Row.prompt_id == scope.prompt_id)
    return conditions


def is_newest(scope: Scope) -> ColumnElement[bool]:
    """Whether a verdict within `scope` is its image's newest."""
    newer = aliased(Row)
    later = and_(newer.image_id == Row.image_id, newer.shadow.is_(False), newer.verdict_id > Row.verdict_id)
    if scope.prompt_id is not None:
        # Rounds only rise, and one prompt scores a round once: so what is newer than one of this prompt's verdicts is
        # a later round's or another prompt's. That says nothing new, but leaves few rows to compare with.
        later = and_(later, or_(newer.round > 1, newer.prompt_id != scope.prompt_id))
    return not_(exists().where(later))


def _first_times(scope: Scope) -> Select[datetime | None, datetime | None]:
    """When the first and the last of the images in later rounds were scored first.

    Of all that the scope's prompt scored, also what another one scores by now: near enough, and cheaper.
    """
    first = aliased(Row)
    query = select(func.min(first.created_at), func.max(first.created_at))
    query = query.where(first.image_id == Row.image_id, first.shadow.is_(False), first.round == 1)
    return query.where(Row.round > 1, *within(scope))


def _is(rule: Rule, decision: Decision) -> ColumnElement[bool]:
    """Whether `rule.decide` gives `decision`, in SQL."""
    default = _in_range(rule.default, decision)
    if not rule.own:
        return default
    return case(*((Row.source == source, _in_range(at, decision)) for source, at in rule.own.items()), else_=default)


def _in_range(at: Thresholds, decision: Decision) -> ColumnElement[bool]:
    p: InstrumentedAttribute[float] = Row.probability
    match decision:
        case Decision.BLOCK:
            return p >= at.block_at
        case Decision.REVIEW:
            return and_(p >= at.review_at, p < at.block_at)
        case Decision.ALLOW:
            return p < at.review_at


def _group(at: Thresholds, decision: str, before: Decision, after: Decision, images: int) -> Group:
    ends = {Decision.ALLOW: at.review_at, Decision.REVIEW: at.block_at, Decision.BLOCK: float("inf")}
    return Group(kind_of(Decision(decision), at), ends[Decision(decision)], before, after, images)
