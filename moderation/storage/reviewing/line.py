"""The line of tasks as one reviewer sees it: which ones they may have, and which comes first. Queries, and no more.

They take the parameters `reviewer` and `now`; `held` and `free` also `beside`, a task that is not meant (0: none).
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import BigInteger, ColumnElement, Select, String, and_, bindparam, exists, not_, or_, select
from sqlalchemy.orm import aliased

from moderation.domain.review import Act, Reason, TaskState
from moderation.storage.tables import ReviewRow, UtcDateTime
from moderation.storage.tables import ReviewTaskRow as Row

# Nobody judges an image twice for these, however long ago the first time was.
_OTHER_EYES = (Reason.APPEAL, Reason.SECOND_LOOK)
ME = bindparam("reviewer", type_=String)
_NOW, _BESIDE = bindparam("now", type_=UtcDateTime), bindparam("beside", type_=BigInteger)
IS_FREE = or_(Row.claimed_by.is_(None), Row.lease_until < _NOW)


@cache
def held(is_senior: bool) -> Select[Row]:
    """The first that the reviewer has at hand already, gold among them; locked."""
    return first(is_senior, Row.claimed_by == ME, Row.task_id != _BESIDE)


@cache
def free(is_senior: bool) -> Select[Row]:
    """The first that nobody holds; locked. Gold is not in the line."""
    return first(is_senior, IS_FREE, Row.task_id != _BESIDE, Row.reason != Reason.GOLD)


@cache
def available(is_senior: bool) -> Select[Row]:
    """All that the reviewer could have now, in no order: what they hold and what is free."""
    return _theirs(is_senior, or_(Row.claimed_by == ME, and_(IS_FREE, Row.reason != Reason.GOLD)))


def first(is_senior: bool, *conditions: ColumnElement[bool]) -> Select[Row]:
    """The first in line that fits and that the reviewer may have; locked, passing over what others have locked."""
    query = _theirs(is_senior, *conditions)
    return query.order_by(Row.due_at, Row.task_id).limit(1).with_for_update(skip_locked=True, of=Row)


def _theirs(is_senior: bool, *conditions: ColumnElement[bool]) -> Select[Row]:
    """What fits and is the reviewer's to have: open, not above them, not skipped by them, and not judged by them where
    other eyes are wanted."""
    undo, other = aliased(ReviewRow), aliased(Row)
    skipped = exists().where(
        ReviewRow.task_id == Row.task_id, ReviewRow.reviewer == ME, ReviewRow.act.in_((Act.SKIP, Act.ESCALATE))
    )
    stands = and_(
        ReviewRow.image_id == Row.image_id,
        ReviewRow.reviewer == ME,
        ReviewRow.act == Act.ANSWER,
        not_(exists().where(undo.undoes == ReviewRow.review_id)),
    )
    same_verdict = exists().where(other.task_id == ReviewRow.task_id, other.verdict_id == Row.verdict_id)
    same_verdict = same_verdict.correlate(ReviewRow, Row)  # by itself SQLAlchemy would read all of Row anew
    judged = exists().where(stands, or_(Row.reason.in_(_OTHER_EYES), same_verdict))
    query = select(Row).where(Row.state == TaskState.OPEN, *conditions, not_(skipped), not_(judged))
    return query if is_senior else query.where(Row.is_senior.is_(False))
