"""What a reviewer is shown of a task, and what is kept from them until they have answered.

Never the score, nor what would give it away: why a task was drawn says how the machine decided, and a task whose truth
is known must look like any other.
"""

from __future__ import annotations

from typing import Any

from moderation.domain.review import Act, Reason, Review, ReviewTask, shown_reason, standing
from moderation.domain.verdict import Decision, Verdict
from moderation.flows.reviewing.review import Answered, Desk
from moderation.web.sessions import Session

LEFT_LIMIT = 1000


def task_shown(task: ReviewTask, desk: Desk) -> dict[str, Any]:
    """What people and machine said before comes with an appeal alone: everywhere else people judge blind."""
    return {
        "task_id": task.task_id,
        "version": task.version,
        "image_id": task.image_id,
        "source": task.source,
        "why": shown_reason(task.reason).capitalize() + (", escalated" if task.is_senior else ""),
        "detail": task.detail,
        "waiting_since": task.created_at.isoformat(),
        "history": _history(task, desk) if task.reason is Reason.APPEAL else [],
        "picture": picture_of(task),
    }


def picture_of(task: ReviewTask) -> str:
    """Where its picture is to be had."""
    return f"/pictures/{task.task_id}"


def answered_shown(answered: Answered) -> dict[str, Any]:
    """The answer beside the machine's verdict and the label so far."""
    review, verdict, label = answered.review, answered.verdict, answered.label
    return {
        "image_id": review.image_id,
        "answer": review.answer,
        "verdict": None if verdict is None else _verdict_shown(verdict),
        "agrees": None if verdict is None else _agrees(answered),
        "label": {"answer": label.answer, "trust": label.trust, "votes": label.votes},
    }


def progress_shown(desk: Desk, session: Session) -> dict[str, Any]:
    """How much there is, how much was done, and how fast."""
    left = desk.tasks.left(desk.reviewer, is_senior=desk.is_senior, limit=LEFT_LIMIT)
    pace_s = session.seconds / session.answered if session.answered else None
    return {"left": left, "is_more": left >= LEFT_LIMIT, "done": session.answered, "pace_s": pace_s}


def _verdict_shown(verdict: Verdict) -> dict[str, Any]:
    return {"decision": verdict.decision, "probability": verdict.probability, "backbone": verdict.backbone}


def _agrees(answered: Answered) -> bool | None:
    """Whether person and machine say the same; None where either was unsure."""
    said = {"fake": Decision.BLOCK, "real": Decision.ALLOW}.get(answered.review.answer or "")
    if said is None or answered.verdict is None or answered.verdict.decision is Decision.REVIEW:
        return None
    return said is answered.verdict.decision


def _history(task: ReviewTask, desk: Desk) -> list[dict[str, Any]]:
    """What the machine decided (not how sure it was), then what people said that counts, and escalations."""
    verdict = desk.verdicts.latest([task.image_id]).get(task.image_id)
    reviews = desk.reviews.of_image(task.image_id)
    stands = {review.review_id for review in standing(reviews)}
    told = [_review_shown(each) for each in reviews if each.review_id in stands or each.act is Act.ESCALATE]
    return told if verdict is None else [_decision_shown(verdict), *told]


def _decision_shown(verdict: Verdict) -> dict[str, Any]:
    said = f"decided {verdict.decision}"
    return {"who": "The machine", "said": said, "why": "", "at": verdict.created_at.isoformat()}


def _review_shown(review: Review) -> dict[str, Any]:
    said = f"said {review.answer}" if review.act is Act.ANSWER else "escalated it"
    why = "; ".join(filter(None, [", ".join(review.evidence), review.note]))
    return {"who": review.reviewer, "said": said, "why": why, "at": review.created_at.isoformat()}
