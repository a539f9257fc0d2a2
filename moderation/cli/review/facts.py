"""What is said about a task beside its picture, and about an answer once it is in. The score never comes before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from moderation.cli.review.picture import Picture
from moderation.domain.review import Act, Label, Reason, Review, ReviewTask, Trust, shown_reason, standing
from moderation.domain.verdict import Verdict
from moderation.flows.reviewing.review import Answered

_MOST_SAID = 3  # lines of an appeal's history that a small screen has room for


def facts_of(task: ReviewTask, picture: Picture, said: Sequence[Review], verdict: Verdict | None) -> list[str]:
    """Lines about a task. `said` and the decision in `verdict` are told for an appeal alone: others judge blind."""
    why = shown_reason(task.reason) + (", escalated" if task.is_senior else "")
    facts = [f"source {task.source}", picture.facts, f"waiting {age(task.created_at)}", why]
    lines = [task.image_id, "   ".join(filter(None, facts))]
    if task.detail:
        lines.append(f"because: {task.detail}")
    if task.reason is Reason.APPEAL:
        decided = [f"the machine: {verdict.decision}"] if verdict else []
        lines += [*decided, *map(told, standing(said)[-_MOST_SAID:])]
    return lines


def told(review: Review) -> str:
    """'ann: fake (hands; six fingers)'."""
    rests_on = "; ".join(filter(None, [", ".join(review.evidence), review.note]))
    what = review.answer if review.act is Act.ANSWER else review.act
    return f"{review.reviewer}: {what}" + (f" ({rests_on})" if rests_on else "")


def outcome(done: Answered) -> str:
    """The answer beside the verdict: 'a.jpg: you fake, machine BLOCK 0.97; label fake, weak'."""
    verdict = done.verdict
    machine = f"machine {verdict.decision} {verdict.probability:.2f}" if verdict else "machine none"
    return f"{done.review.image_id}: you {done.review.answer}, {machine}; label {label_shown(done.label)}"


def label_shown(label: Label) -> str:
    """'fake, weak', 'disputed' or 'none yet'."""
    if label.answer is None:
        return "disputed" if label.trust is Trust.DISPUTED else "none yet"
    return f"{label.answer}, {label.trust}"


def age(since: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    return span((datetime.now(UTC) - since).total_seconds())


def span(seconds: float) -> str:
    """'5 s', '3 min', '7 h', '2 days'."""
    for unit, size, below in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 2 * 86400)):
        if seconds < below:
            return f"{max(0, int(seconds // size))} {unit}"
    return f"{int(seconds // 86400)} days"
