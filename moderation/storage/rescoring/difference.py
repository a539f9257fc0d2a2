"""What the new scores of a rescoring run would change, counted and listed in SQL. Nothing is changed here.

All of it is read as of one verdict, the newest when the look began; what comes later is not part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from moderation.domain.evidence import DRAWN_FOR, Rule
from moderation.domain.policy import Thresholds
from moderation.domain.prompt import PromptId
from moderation.domain.rescore import RescoreScope
from moderation.domain.rescore_diff import DiffGroup, Rescored
from moderation.domain.review import Act, TaskState
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.storage.database import Database
from moderation.storage.rescoring.scope import NEW, OLD, has_score, in_scope, lacks_score
from moderation.storage.tables import ReviewRow, ReviewTaskRow, SubmissionRow, VerdictRow


class Rescoring:
    """The `verdict` table: new scores beside the verdicts that hold."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_verdict(self) -> int:
        """The newest verdict's number; 0 if there is none."""
        with self._database.read() as session:
            return session.scalar(select(func.max(VerdictRow.verdict_id))) or 0

    def unscored(self, scope: RescoreScope, prompt_id: PromptId) -> int:
        """How many images of the scope have no score of this prompt."""
        query = select(func.count()).select_from(SubmissionRow, OLD)
        with self._database.read() as session:
            return session.scalar(query.where(*in_scope(self._database, scope, prompt_id), lacks_score(prompt_id))) or 0

    def groups(self, scope: RescoreScope, prompt_id: PromptId, rule: Rule, *, until: int) -> list[DiffGroup]:
        """The images with a new score by source and decisions; `rule`: today's thresholds."""
        columns = (
            OLD.source.label("source"),
            OLD.decision.label("before"),
            _decided(rule, NEW.probability).label("after"),
            _decided(rule, OLD.probability).label("old_today"),
            is_seen().label("is_seen"),
        )
        # Grouped by a subquery's columns: PostgreSQL takes two CASEs for different that differ in their parameters'
        # numbers alone.
        found = select(*columns).where(*_scored(self._database, scope, prompt_id, until)).subquery()
        query = select(*found.c, func.count()).group_by(*found.c)
        with self._database.read() as session:
            return [
                DiffGroup(row[0], Decision(row[1]), Decision(row[2]), Decision(row[3]), bool(row[4]), row[5])
                for row in session.execute(query)
            ]

    def moving(self, scope: RescoreScope, prompt_id: PromptId, rule: Rule, *, until: int, limit: int) -> list[Rescored]:
        """The images that would get another decision, those first whose probability moves most."""
        query = _pairs(rule).where(
            *_scored(self._database, scope, prompt_id, until), OLD.decision != _decided(rule, NEW.probability)
        )
        query = query.order_by(func.abs(NEW.probability - OLD.probability).desc(), OLD.image_id).limit(limit)
        return self._list(query)

    def reviewed(self, scope: RescoreScope, prompt_id: PromptId, rule: Rule, *, until: int) -> list[Rescored]:
        """The images with a new score that people have said something about."""
        answered = exists().where(ReviewRow.image_id == OLD.image_id, ReviewRow.act == Act.ANSWER)
        return self._list(
            _pairs(rule).where(*_scored(self._database, scope, prompt_id, until), answered).order_by(OLD.image_id)
        )

    def _list(self, query: Select[*tuple[Any, ...]]) -> list[Rescored]:
        with self._database.read() as session:
            return [
                Rescored(ImageId(row[0]), row[1], Decision(row[2]), Decision(row[3]), row[4], row[5])
                for row in session.execute(query)
            ]


def _scored(database: Database, scope: RescoreScope, prompt_id: PromptId, until: int) -> Sequence[ColumnElement[bool]]:
    """Joins images of the scope with their verdict, OLD, and their new score, NEW."""
    return *in_scope(database, scope, prompt_id), has_score(prompt_id), OLD.verdict_id <= until, NEW.verdict_id <= until


def is_seen() -> ColumnElement[bool]:
    """Whether people have answered a task that a draw opened for the bytes that OLD is about."""
    about = aliased(VerdictRow)
    return exists().where(
        ReviewTaskRow.image_id == OLD.image_id,
        ReviewTaskRow.state == TaskState.DONE,
        ReviewTaskRow.reason.in_(DRAWN_FOR),
        about.verdict_id == ReviewTaskRow.verdict_id,
        about.image_sha256 == OLD.image_sha256,
    )


def _pairs(rule: Rule) -> Select[*tuple[Any, ...]]:
    after = _decided(rule, NEW.probability)
    return select(OLD.image_id, OLD.source, OLD.decision, after, OLD.probability, NEW.probability)


def _decided(rule: Rule, p: InstrumentedAttribute[float]) -> ColumnElement[str]:
    """`rule.decide` of a probability and its image's source, in SQL."""
    default = _at(rule.default, p)
    if not rule.own:
        return default
    return case(*((OLD.source == source, _at(at, p)) for source, at in rule.own.items()), else_=default)


def _at(at: Thresholds, p: InstrumentedAttribute[float]) -> ColumnElement[str]:
    return case(
        (p >= at.block_at, Decision.BLOCK.value),
        (and_(p >= at.review_at, p < at.block_at), Decision.REVIEW.value),
        else_=Decision.ALLOW.value,
    )
