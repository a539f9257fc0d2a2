"""Review: one reviewer's desk. Take a task, answer it, take an answer back; what else must be looked at follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from moderation.domain.order import due_at
from moderation.domain.review import (
    Act,
    Answer,
    Label,
    Reason,
    Review,
    ReviewId,
    ReviewTask,
    Said,
    Trust,
    derive_label,
    standing,
)
from moderation.domain.sampling import is_drawn
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Verdict
from moderation.storage.reviewing.gold import Gold
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.reviewing.tasks import NewTask, ReviewTasks
from moderation.storage.verdicts import Verdicts

MOST_LOOKS = 5  # at an image on which people keep differing; then a senior decides, or nobody


@dataclass(frozen=True, slots=True)
class Answered:
    """What is shown once the answer is in: it, the machine's verdict (None for gold), and what people say so far."""

    review: Review
    verdict: Verdict | None
    label: Label


@dataclass(frozen=True)
class Desk:
    """Where one reviewer works. `now` is this machine's clock, used for nothing but the order of gold."""

    reviewer: str
    is_senior: bool
    tasks: ReviewTasks
    reviews: Reviews
    reviewers: Reviewers
    gold: Gold
    verdicts: Verdicts
    lease_s: float
    second_look_rate: float
    gold_rate: float
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def next(self, *, beside: ReviewTask | None = None) -> ReviewTask | None:
        """The next task, leased; now and then, unseen, one whose truth is known. None when nothing is left.

        `beside`: what the reviewer is still at; meant is the one after it, to be made ready.
        """
        task = self.tasks.next(self.reviewer, is_senior=self.is_senior, lease_s=self.lease_s, beside=beside)
        if task is None or task.reason is Reason.GOLD or not self._is_gold_due(task):
            return task
        for image_id in self.gold.unseen_by(self.reviewer, limit=3):
            gold = self.gold.hand_out(image_id, self.reviewer, like=task, lease_s=self.lease_s)
            if gold is not None:
                self.tasks.release(task, self.reviewer)
                return gold
        return task

    def take(self, image_id: ImageId) -> ReviewTask | None:
        """An open task of this image, leased; None if there is none for this reviewer."""
        return self.tasks.take(image_id, self.reviewer, is_senior=self.is_senior, lease_s=self.lease_s)

    def renew(self, task: ReviewTask) -> None:
        """Keeps the lease while the reviewer is at it. Raises LeaseLost."""
        self.tasks.renew(task, self.reviewer, lease_s=self.lease_s)

    def release(self, task: ReviewTask) -> None:
        """Gives the task back, to be offered to anybody, this reviewer too."""
        self.tasks.release(task, self.reviewer)

    def leave(self) -> None:
        """Gives back whatever this reviewer holds."""
        self.tasks.release_all(self.reviewer)

    def answer(self, task: ReviewTask, said: Said) -> Answered:
        """Stores the answer, opens what follows from it, and shows verdict and label. Raises LeaseLost."""
        trusted = self.reviewers.trusted()

        def follow_up(reviews: Sequence[Review], now: datetime) -> list[NewTask]:
            return follow_ups(task, reviews, trusted, second_look_rate=self.second_look_rate, now=now)

        review = self.reviews.answer(task, self.reviewer, said, follow_up=follow_up)
        label = derive_label(self.reviews.of_image(task.image_id), trusted)
        return Answered(review, self.verdicts.latest([task.image_id]).get(task.image_id), label)

    def skip(self, task: ReviewTask) -> None:
        """Leaves the task to others for good. Raises LeaseLost."""
        self.reviews.skip(task, self.reviewer)

    def escalate(self, task: ReviewTask, reason: str) -> None:
        """Hands the task to the seniors. Raises LeaseLost."""
        self.reviews.escalate(task, self.reviewer, reason)

    def undo(
        self, *, review_id: ReviewId | None = None, since: datetime | None = None, reason: str = ""
    ) -> ReviewTask | None:
        """Takes back the newest answer (since `since`), or the one named; the task is on the desk again.

        Raises NothingToUndo.
        """
        return self.reviews.undo(self.reviewer, review_id=review_id, since=since, lease_s=self.lease_s, reason=reason)

    def _is_gold_due(self, task: ReviewTask) -> bool:
        return is_drawn(f"gold:{self.reviewer}:{task.task_id}", self.gold_rate)


def follow_ups(
    task: ReviewTask, reviews: Sequence[Review], trusted: frozenset[str], *, second_look_rate: float, now: datetime
) -> list[NewTask]:
    """The tasks that an answer to `task` leads to; `reviews` are all of the image, this answer among them.

    Another look is wanted where people differ, where the only one was unsure, and for a share of all others. A task
    that seniors alone may take stays with them.
    """
    if task.reason is Reason.GOLD:
        return []
    answers = standing(reviews)
    label = derive_label(reviews, trusted)
    looks = sum(review.act is Act.ANSWER for review in reviews)
    is_first = task.reason is not Reason.SECOND_LOOK
    undecided = label.trust is Trust.DISPUTED or (len(answers) == 1 and answers[0].answer is Answer.UNSURE)
    drawn = is_first and is_drawn(f"{Reason.SECOND_LOOK}:{task.task_id}", second_look_rate)
    if looks >= MOST_LOOKS or not (undecided or drawn):
        return []
    share = task.inclusion_probability * (1.0 if undecided else second_look_rate)
    return [
        NewTask(
            image_id=task.image_id,
            reason=Reason.SECOND_LOOK,
            source=task.source,
            inclusion_probability=share,
            priority=task.priority,
            probability=task.probability,
            verdict_id=task.verdict_id,
            due_at=due_at(now, float(undecided), task.priority),
            is_senior=task.is_senior,
        )
    ]
