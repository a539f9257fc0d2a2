"""Drawn images: the sample that people look at, each with the chance with which it got there.

An image may be scored, and so drawn, more than once. Its chance is that of being drawn at all: from every verdict of
its own comes one draw, also from those that did not take it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from moderation.domain.evidence import DRAWN_FOR, Chance, DrawnImage, Scope, inclusion_probability, kind_of
from moderation.domain.policy import Thresholds
from moderation.domain.review import Reason, TaskState
from moderation.domain.sampling import share_drawn
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.storage.database import Database
from moderation.storage.tables import PolicyRow, ReviewTaskRow, VerdictRow


class Drawn:
    """The `review_task` table with the verdicts of its images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, scope: Scope) -> list[DrawnImage]:
        """The images of `scope` that a draw took, by their id."""
        task, verdict, policy = ReviewTaskRow, VerdictRow, PolicyRow
        drawn = select(task.image_id).where(task.reason.in_(DRAWN_FOR))
        verdicts = (
            select(verdict, policy.review_at, policy.block_at, policy.audit_rate, policy.block_check_rate)
            .join(policy, policy.policy_id == verdict.policy_id)
            .where(verdict.shadow.is_(False), verdict.image_id.in_(drawn))
            .order_by(verdict.verdict_id)
        )
        answered = select(task.image_id).where(task.reason.in_(DRAWN_FOR), task.state == TaskState.DONE)
        with self._database.read() as session:
            reviewed = set(session.scalars(answered))
            histories: dict[str, list[Any]] = defaultdict(list)
            for row in session.execute(verdicts):
                histories[row[0].image_id].append(row)
        return [
            _drawn_image(history, image_id in reviewed)
            for image_id, history in sorted(histories.items())
            if _fits(history[-1][0], scope)
        ]


def _fits(newest: VerdictRow, scope: Scope) -> bool:
    return (
        scope.source in (None, newest.source)
        and newest.source not in scope.except_sources
        and (scope.since is None or newest.created_at >= scope.since)
        and scope.prompt_id in (None, newest.prompt_id)
    )


def _drawn_image(history: Sequence[Any], is_reviewed: bool) -> DrawnImage:
    """history: rows of (verdict, its policy's numbers), the oldest first."""
    newest = history[-1][0]
    return DrawnImage(
        image_id=ImageId(newest.image_id),
        source=newest.source,
        score=newest.probability,
        kind=kind_of(Decision(newest.decision), Thresholds(*history[-1][1:])),
        inclusion_probability=inclusion_probability(_chance(row[0], Thresholds(*row[1:])) for row in history),
        is_reviewed=is_reviewed,
    )


def _chance(verdict: VerdictRow, at: Thresholds) -> Chance:
    reason: Reason
    reason, rate = share_drawn(Decision(verdict.decision), at)
    return Chance(reason, verdict.policy_id, rate)
