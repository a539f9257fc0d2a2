"""The images of a rescoring run, as conditions: done, their newest verdict within its scope and, but for a run that
scores again, by another prompt.

A submission that is done has its newest verdict in its current round; so rounds say which that is.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, not_
from sqlalchemy.orm import aliased

from moderation.domain.rescore import RescoreScope
from moderation.domain.submission import State
from moderation.storage.database import Database
from moderation.storage.tables import SubmissionRow, VerdictRow

OLD = aliased(VerdictRow)
NEW = aliased(VerdictRow)


def in_scope(database: Database, scope: RescoreScope, prompt_id: str) -> list[ColumnElement[bool]]:
    """Joins SubmissionRow with its newest verdict, OLD, where it fits and is not by `prompt_id` (see `again_until`)."""
    conditions = [
        # By the index of states, nearly all images would be sorted for each page of them.
        database.unindexed(SubmissionRow.state) == State.DONE,
        OLD.image_id == SubmissionRow.image_id,
        OLD.round == SubmissionRow.round,
        OLD.shadow.is_(False),
        OLD.prompt_id != prompt_id if scope.again_until is None else OLD.created_at < scope.again_until,
    ]
    if scope.source is not None:
        conditions.append(OLD.source == scope.source)
    if scope.decision is not None:
        conditions.append(OLD.decision == scope.decision)
    if scope.since is not None:
        conditions.append(OLD.created_at >= scope.since)
    return conditions


def has_score(prompt_id: str) -> ColumnElement[bool]:
    """Joins with NEW, the score of `prompt_id` for the same round and the same bytes."""
    return and_(
        NEW.image_id == OLD.image_id,
        NEW.round == OLD.round,
        NEW.prompt_id == prompt_id,
        NEW.shadow.is_(True),
        NEW.image_sha256 == OLD.image_sha256,
    )


def lacks_score(prompt_id: str) -> ColumnElement[bool]:
    """Whether there is no such score."""
    return not_(exists().where(has_score(prompt_id)))
