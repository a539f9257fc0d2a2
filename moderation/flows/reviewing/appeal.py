"""Appeal: somebody says that the machine or a reviewer was wrong. Other eyes look, with the full history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from moderation.domain.order import due_at
from moderation.domain.review import MAX_NOTE_CHARS, Reason
from moderation.domain.submission import check_image_id
from moderation.errors import NotYetScored, UnknownImage
from moderation.storage.events import By
from moderation.storage.reviewing.tasks import NewTask, ReviewTasks
from moderation.storage.submissions import Submissions
from moderation.storage.verdicts import Verdicts

PRIORITY = 500  # a person waits for the answer


def appeal(
    image_id: str,
    *,
    by: By,
    submissions: Submissions,
    verdicts: Verdicts,
    tasks: ReviewTasks,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> bool:
    """Puts the image before a reviewer who has not judged it. False: an appeal is open already.

    Raises UnknownImage, NotYetScored (there is nothing to appeal against yet), ValueError for an empty or long reason.
    """
    known = check_image_id(image_id)
    if not by.reason.strip() or len(by.reason) > MAX_NOTE_CHARS:
        raise ValueError(f"an appeal has a reason of 1 to {MAX_NOTE_CHARS} characters")
    submission = submissions.get(known)
    if submission is None:
        raise UnknownImage(image_id)
    found = verdicts.latest_with_id(known)
    if found is None:
        raise NotYetScored(image_id, 0)
    verdict_id, verdict = found
    priority = max(PRIORITY, submission.priority)
    task = NewTask(
        image_id=known,
        reason=Reason.APPEAL,
        source=verdict.source,
        inclusion_probability=1.0,
        priority=priority,
        probability=verdict.probability,
        verdict_id=verdict_id,
        due_at=due_at(now(), 0.0, priority),
        detail=by.reason,
    )
    return tasks.appeal(task, by=by)
