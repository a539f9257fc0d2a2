"""Labels: every image that people looked at, with what they say of the picture it is now. Read in a few passes.

What was said of an earlier picture under the same id does not count; nor do answers to gold tasks, which hold no hash
of what was shown. Images on the gold list are barred: their truth goes by the id alone, and those who chose them by
hand chose no sample.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Row as Columns
from sqlalchemy import Select, select

from moderation.domain.review import Act, Answer, Label, Review, ReviewId, TaskId, derive_label
from moderation.domain.reviewed import LeftOut, Reviewed
from moderation.domain.submission import ImageId, State
from moderation.storage.database import Database
from moderation.storage.tables import (
    GoldRow,
    ImageRow,
    ReviewerRow,
    ReviewRow,
    ReviewTaskRow,
    SubmissionRow,
    VerdictRow,
)

_PAGE = 5000  # rows held at once by the driver


class Labels:
    """The `review` table with the images, as a retraining sees them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reviewed(self) -> Iterator[Reviewed]:
        """The images that were answered or skipped, in no order, and have been scanned.

        Holds what is read of each image but not the reviews: 100,000 images are fine.
        """
        with self._database.read() as session:
            paged = session.connection().execution_options(yield_per=_PAGE)
            probabilities = {row.image_id: row.probability for row in paged.execute(_scores())}
            gold = set(session.scalars(select(GoldRow.image_id)))
            trusted = set(session.scalars(select(ReviewerRow.name).where(ReviewerRow.is_trusted.is_(True))))
            for image_id, rows in groupby(paged.execute(_reviews()), key=lambda row: row.image_id):
                yield _image(list(rows), trusted, probabilities.get(image_id), is_gold=image_id in gold)


def _reviews() -> Select[*tuple[Any, ...]]:
    """A row a review, those of an image one after the other, each with the image as it is and as it was shown."""
    return (
        select(
            ReviewRow.review_id, ReviewRow.task_id, ReviewRow.image_id, ReviewRow.reviewer, ReviewRow.act,
            ReviewRow.answer, ReviewRow.undoes, ReviewRow.created_at, ReviewTaskRow.reason,
            VerdictRow.image_sha256.label("shown"), ImageRow.sha256, ImageRow.pdq, ImageRow.width, ImageRow.height,
            SubmissionRow.source, SubmissionRow.uploader, SubmissionRow.state,
        )
        .join(ReviewTaskRow, ReviewTaskRow.task_id == ReviewRow.task_id)
        .join(ImageRow, ImageRow.image_id == ReviewRow.image_id)
        .join(SubmissionRow, SubmissionRow.image_id == ReviewRow.image_id)
        .outerjoin(VerdictRow, VerdictRow.verdict_id == ReviewTaskRow.verdict_id)
        .order_by(ReviewRow.image_id, ReviewRow.review_id)
    )  # fmt: skip


def _scores() -> Select[str, float]:
    """The deciding verdicts of reviewed images, the newest last."""
    return (
        select(VerdictRow.image_id, VerdictRow.probability)
        .where(VerdictRow.shadow.is_(False), VerdictRow.image_id.in_(select(ReviewRow.image_id)))
        .order_by(VerdictRow.verdict_id)
    )


def _image(
    rows: Sequence[Columns[Any]], trusted: Collection[str], probability: float | None, *, is_gold: bool
) -> Reviewed:
    """rows: all reviews of one image, the oldest first."""
    image = rows[0]
    current = [row for row in rows if row.shown == image.sha256]
    label = derive_label([_review(row) for row in current], trusted)
    return Reviewed(
        image_id=ImageId(image.image_id),
        source=image.source,
        uploader=image.uploader,
        sha256=image.sha256,
        pdq=image.pdq,
        width=image.width,
        height=image.height,
        is_fake=None if label.answer is None else label.answer is Answer.FAKE,
        trust=label.trust,
        reason=(current or rows)[0].reason,
        probability=probability,
        barred=_barred(rows, trusted, label, is_gold=is_gold),
    )


def _barred(rows: Sequence[Columns[Any]], trusted: Collection[str], label: Label, *, is_gold: bool) -> LeftOut | None:
    if is_gold:
        return LeftOut.GOLD
    if rows[0].state == State.FAILED:
        return LeftOut.FAILED
    earlier = [row for row in rows if row.shown is not None]
    if not label.votes and derive_label([_review(row) for row in earlier], trusted).votes:
        return LeftOut.CHANGED
    return None


def _review(row: Columns[Any]) -> Review:
    return Review(
        review_id=ReviewId(row.review_id),
        task_id=TaskId(row.task_id),
        image_id=ImageId(row.image_id),
        reviewer=row.reviewer,
        act=Act(row.act),
        answer=Answer(row.answer) if row.answer else None,
        evidence=(),
        note="",
        seconds=None,
        undoes=ReviewId(row.undoes) if row.undoes else None,
        created_at=row.created_at,
    )
