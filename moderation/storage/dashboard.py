"""Figures for the dashboard, counted in SQL: the queue, verdicts and answers by day, scores, who reviews how fast."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import InstrumentedAttribute

from moderation.domain.review import Act, Reason, TaskState
from moderation.domain.verdict import Decision
from moderation.storage.database import Database
from moderation.storage.tables import ReviewRow, ReviewTaskRow, VerdictRow

LONGEST_S = 300.0
"""A longer answer counts as so many seconds: its reviewer was away."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Open tasks of one reason: how many, how many of them somebody is at, how many only seniors may take."""

    reason: Reason
    open: int
    held: int
    senior: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Pace:
    """One reviewer's answers in a span. `seconds` for each on average, None where none was timed."""

    reviewer: str
    answers: int
    seconds: float | None
    last: datetime


class Dashboard:
    """Verdicts, tasks and reviews, counted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self) -> list[Waiting]:
        """Open tasks by reason, the oldest line first. Gold is in no line."""
        row = ReviewTaskRow
        with self._database.read() as session:
            is_held = and_(row.claimed_by.is_not(None), row.lease_until >= self._database.now(session))
            senior = func.count().filter(row.is_senior.is_(True))
            oldest = func.min(row.created_at)
            query = select(row.reason, func.count(), func.count().filter(is_held), senior, oldest)
            query = query.where(row.state == TaskState.OPEN, row.reason != Reason.GOLD)
            found = session.execute(query.group_by(row.reason).order_by(oldest)).all()
        return [Waiting(Reason(each[0]), *each[1:]) for each in found]

    def decisions_by_day(self, since: datetime) -> dict[date, dict[Decision, int]]:
        """Verdicts of each day (UTC) that has any, the first day first."""
        day = self._day(VerdictRow.created_at)
        query = select(day, VerdictRow.decision, func.count()).group_by(day, VerdictRow.decision).order_by(day)
        query = query.where(VerdictRow.shadow.is_(False), VerdictRow.created_at >= since)
        found: dict[date, dict[Decision, int]] = defaultdict(dict)
        with self._database.read() as session:
            for at, decision, count in session.execute(query):
                found[_date(at)][Decision(decision)] = count
        return dict(found)

    def answers_by_day(self, since: datetime) -> dict[date, int]:
        """People's answers of each day (UTC) that has any, those taken back among them."""
        day = self._day(ReviewRow.created_at)
        query = select(day, func.count()).group_by(day).order_by(day)
        query = query.where(ReviewRow.act == Act.ANSWER, ReviewRow.created_at >= since)
        with self._database.read() as session:
            return {_date(at): count for at, count in session.execute(query)}

    def scores(self, since: datetime, bins: int) -> list[int]:
        """How many verdicts have a probability in each of `bins` equal parts of 0..1; 1 is in the last."""
        p: InstrumentedAttribute[float] = VerdictRow.probability
        inner = [(number / bins, (number + 1) / bins) for number in range(bins - 1)]
        counts = [func.count().filter(p >= low, p < high) for low, high in inner]
        query = select(*counts, func.count().filter(p >= (bins - 1) / bins))
        with self._database.read() as session:
            found = session.execute(query.where(VerdictRow.shadow.is_(False), VerdictRow.created_at >= since)).one()
        return list(found)

    def pace(self, since: datetime) -> list[Pace]:
        """Who answered, the busiest first."""
        capped = case((ReviewRow.seconds > LONGEST_S, LONGEST_S), else_=ReviewRow.seconds)
        answers = func.count()
        query = select(ReviewRow.reviewer, answers, func.avg(capped), func.max(ReviewRow.created_at))
        query = query.where(ReviewRow.act == Act.ANSWER, ReviewRow.created_at >= since)
        query = query.group_by(ReviewRow.reviewer).order_by(answers.desc(), ReviewRow.reviewer)
        with self._database.read() as session:
            return [Pace(*row) for row in session.execute(query)]

    def _day(self, moment: InstrumentedAttribute[datetime]) -> ColumnElement[Any]:
        return func.date(moment if self._database.is_sqlite else func.timezone("UTC", moment))


def _date(found: date | str) -> date:
    return date.fromisoformat(found) if isinstance(found, str) else found
