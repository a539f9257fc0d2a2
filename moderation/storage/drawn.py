"""Drawn images: the sample that people look at, each with the chance with which it got there.

An image may be scored, and so drawn, more than once. Its chance is that of being drawn at all: from every verdict of
its own comes one draw, also from those that did not take it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, select

from moderation.domain.evidence import DRAWN_FOR, Chance, DrawnImage, Kind, Scope, inclusion_probability, kind_of
from moderation.domain.policy import Thresholds
from moderation.domain.review import Review, TaskState
from moderation.domain.sampling import share_drawn
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.storage.database import Database
from moderation.storage.policies import all_thresholds
from moderation.storage.replay import is_newest, within
from moderation.storage.reviewing.reviews import reviews_where
from moderation.storage.tables import ReviewRow, ReviewTaskRow, VerdictRow


class Drawn:
    """The `review_task` table with the verdicts and reviews of its images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, scope: Scope, *, only_reviewed: bool = False) -> list[DrawnImage]:
        """The images of `scope` that a draw took, by their id."""
        verdict = VerdictRow
        query = (
            select(verdict.image_id, verdict.policy_id, verdict.decision, verdict.probability, verdict.source,
                   verdict.prompt_id, verdict.created_at)
            .where(verdict.shadow.is_(False), verdict.image_id.in_(_drawn(only_reviewed=only_reviewed)))
            .order_by(verdict.verdict_id)
        )  # fmt: skip
        histories: dict[str, list[Any]] = defaultdict(list)
        with self._database.read() as session:
            policies = all_thresholds(session)
            for row in session.execute(query):
                histories[row.image_id].append(row)
        return [
            _drawn_image(history, policies) for _, history in sorted(histories.items()) if _fits(history[-1], scope)
        ]

    def reviews(self) -> Mapping[ImageId, Sequence[Review]]:
        """All reviews of the images that were drawn and looked at, of each image the oldest first."""
        with self._database.read() as session:
            return _by_image(reviews_where(session, ReviewRow.image_id.in_(_drawn(only_reviewed=True))))

    def count(self, scope: Scope) -> dict[Kind, int]:
        """How many images of each kind a draw took, whether they were looked at or not."""
        verdict = VerdictRow
        query = select(verdict.policy_id, verdict.decision, func.count()).where(
            *within(scope), is_newest(scope), verdict.image_id.in_(_drawn(only_reviewed=False))
        )
        counts: Counter[Kind] = Counter()
        with self._database.read() as session:
            policies = all_thresholds(session)
            for policy_id, decision, images in session.execute(query.group_by(verdict.policy_id, verdict.decision)):
                counts[kind_of(Decision(decision), policies[policy_id])] += images
        return counts


def _drawn(*, only_reviewed: bool) -> Select[str]:
    query = select(ReviewTaskRow.image_id).where(ReviewTaskRow.reason.in_(DRAWN_FOR))
    return query.where(ReviewTaskRow.state == TaskState.DONE) if only_reviewed else query


def _by_image(reviews: Iterable[Review]) -> dict[ImageId, list[Review]]:
    found: dict[ImageId, list[Review]] = defaultdict(list)
    for review in reviews:
        found[review.image_id].append(review)
    return dict(found)


def _fits(newest: Any, scope: Scope) -> bool:
    return (
        scope.source in (None, newest.source)
        and newest.source not in scope.except_sources
        and (scope.since is None or newest.created_at >= scope.since)
        and scope.prompt_id in (None, newest.prompt_id)
    )


def _drawn_image(history: Sequence[Any], policies: Mapping[int, Thresholds]) -> DrawnImage:
    """history: an image's verdicts, the oldest first."""
    newest = history[-1]
    chances = [
        Chance(*share_drawn(Decision(row.decision), policies[row.policy_id]), policy_id=row.policy_id)
        for row in history
    ]
    return DrawnImage(
        image_id=ImageId(newest.image_id),
        source=newest.source,
        score=newest.probability,
        kind=kind_of(Decision(newest.decision), policies[newest.policy_id]),
        inclusion_probability=inclusion_probability(chances),
    )
