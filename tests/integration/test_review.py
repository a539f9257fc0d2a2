"""Review on SQLite and PostgreSQL: who gets which task, what an answer leads to, and what is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from moderation.domain.order import due_at
from moderation.domain.review import Act, Answer, Evidence, Reason, ReviewTask, Role, Said, TaskState, Trust
from moderation.domain.submission import ImageId
from moderation.errors import LeaseLost, NothingToUndo
from moderation.flows.reviewing.review import Desk
from moderation.storage.events import By, Events
from moderation.storage.reviewing.gold import Gold
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.reviewing.tasks import NewTask, ReviewTasks
from moderation.storage.tables import ReviewTaskRow
from tests.store import LONG_S, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = By("admin", "for the test")


def task(name: str, *, priority: int = 0, reason: Reason = Reason.UNSURE, created_at: datetime = NOW) -> NewTask:
    place = due_at(created_at, 0.0, priority)
    return NewTask(ImageId(name), reason, "default", 1.0, priority, 0.6, None, place)


def desk(
    store: Store, reviewer: str = "ann", *, is_senior: bool = False, second: float = 0.0, gold: float = 0.0
) -> Desk:
    database = store.database
    return Desk(
        reviewer=reviewer,
        is_senior=is_senior,
        tasks=ReviewTasks(database),
        reviews=Reviews(database),
        reviewers=Reviewers(database),
        gold=Gold(database),
        verdicts=store.verdicts,
        lease_s=LONG_S,
        second_look_rate=second,
        gold_rate=gold,
    )


def opened(store: Store, *tasks: NewTask) -> None:
    ReviewTasks(store.database).open(tasks)


def given(desk: Desk) -> ReviewTask:
    found = desk.next()
    assert found is not None
    return found


def lapse(store: Store, held: ReviewTask) -> None:
    """The lease of this task is over."""
    with store.database.write() as session:
        past = store.database.now(session) - timedelta(seconds=1)
        session.execute(update(ReviewTaskRow).where(ReviewTaskRow.task_id == held.task_id).values(lease_until=past))


def kinds(store: Store) -> list[str]:
    """The kinds of events since the installation, the oldest first."""
    found = [event.kind for event in Events(store.database).list(limit=None)]
    return [kind for kind in reversed(found) if not kind.startswith("prompt.")]


def test_tasks_go_out_in_their_order_and_to_one_reviewer_each(store: Store) -> None:
    opened(store, task("old"), task("urgent", priority=900), task("new", created_at=NOW + timedelta(hours=1)))
    ann, bob = desk(store, "ann"), desk(store, "bob")
    assert given(ann).image_id == "urgent"
    assert given(bob).image_id == "old"
    assert given(ann).image_id == "urgent"  # still hers: a page that is loaded again shows the same picture
    assert given(desk(store, "cid")).image_id == "new"
    assert desk(store, "dan").next() is None


def test_a_second_task_for_the_same_image_and_reason_is_not_opened(store: Store) -> None:
    opened(store, task("a"), task("a"))
    opened(store, task("a"), task("a", reason=Reason.AUDIT))
    assert ReviewTasks(store.database).open_counts() == {Reason.UNSURE: 1, Reason.AUDIT: 1}


def test_an_answer_is_stored_with_its_event_and_ends_the_task(store: Store) -> None:
    opened(store, task("a"))
    ann = desk(store)
    said = Said(Answer.FAKE, (Evidence.HANDS, Evidence.TEXT), "six fingers", 3.5)
    done = ann.answer(given(ann), said)
    assert (done.review.answer, done.review.evidence, done.review.note) == (Answer.FAKE, said.evidence, "six fingers")
    assert (done.label.answer, done.label.trust) == (Answer.FAKE, Trust.WEAK)
    assert ann.next() is None
    assert kinds(store) == ["review.answer"]
    assert Events(store.database).verify()[1] is None


def test_an_expired_lease_comes_back_and_the_late_answer_is_refused(store: Store) -> None:
    opened(store, task("a"))
    ann, bob = desk(store, "ann"), desk(store, "bob")
    held = given(ann)
    assert bob.next() is None
    lapse(store, held)
    taken = given(bob)
    with pytest.raises(LeaseLost, match="no longer yours"):
        ann.answer(held, Said(Answer.REAL))
    for late in (ann.skip, ann.renew):
        with pytest.raises(LeaseLost):
            late(held)
    ann.release(held)  # changes nothing
    bob.answer(taken, Said(Answer.FAKE))
    (only,) = Reviews(store.database).of_image(ImageId("a"))
    assert (only.reviewer, only.answer) == ("bob", Answer.FAKE)
    with pytest.raises(LeaseLost):
        bob.answer(taken, Said(Answer.REAL))  # sent twice


def test_a_renewed_lease_stays(store: Store) -> None:
    opened(store, task("a"))
    ann = desk(store)
    held = given(ann)
    lapse(store, held)
    ann.renew(held)
    assert desk(store, "bob").next() is None
    ann.answer(held, Said(Answer.REAL))


def test_a_skipped_task_goes_to_others_only(store: Store) -> None:
    opened(store, task("a"))
    ann = desk(store)
    ann.skip(given(ann))
    assert ann.next() is None
    assert given(desk(store, "bob")).image_id == "a"


def test_a_released_task_may_come_back(store: Store) -> None:
    opened(store, task("a"))
    ann = desk(store)
    ann.release(given(ann))
    assert given(ann).image_id == "a"


def test_an_escalated_task_goes_to_seniors_with_the_reason(store: Store) -> None:
    opened(store, task("a"))
    ann = desk(store)
    ann.escalate(given(ann), "a minister?")
    assert desk(store, "bob").next() is None
    found = given(desk(store, "eve", is_senior=True))
    assert (found.image_id, found.detail) == ("a", "a minister?")
    assert kinds(store) == ["review.escalate"]


def test_undo_is_a_new_row_and_brings_the_task_back(store: Store) -> None:
    opened(store, task("a"), task("b", created_at=NOW + timedelta(hours=1)))
    ann = desk(store)
    ann.answer(given(ann), Said(Answer.REAL))
    again = ann.undo()
    assert again is not None
    assert again.image_id == "a"
    assert given(ann) == again or given(ann).task_id == again.task_id
    done = ann.answer(given(ann), Said(Answer.FAKE))
    assert (done.label.answer, done.label.votes) == (Answer.FAKE, 1)
    acts = [review.act for review in Reviews(store.database).of_image(ImageId("a"))]
    assert acts == [Act.ANSWER, Act.UNDO, Act.ANSWER]
    assert kinds(store) == ["review.answer", "review.undo", "review.answer"]


def test_undo_takes_back_only_what_is_ones_own_and_stands(store: Store) -> None:
    opened(store, task("a"))
    ann = desk(store)
    with pytest.raises(NothingToUndo):
        ann.undo()
    answered = ann.answer(given(ann), Said(Answer.REAL)).review
    with pytest.raises(NothingToUndo):
        desk(store, "bob").undo(review_id=answered.review_id)
    with pytest.raises(NothingToUndo):
        ann.undo(since=answered.created_at + timedelta(seconds=1))
    assert ann.undo(review_id=answered.review_id) is not None
    with pytest.raises(NothingToUndo):
        ann.undo(review_id=answered.review_id)


def test_a_disagreement_asks_a_third_who_settles_it(store: Store) -> None:
    opened(store, task("a"))
    ann, bob, cid = (desk(store, name, second=1.0) for name in ("ann", "bob", "cid"))
    ann.answer(given(ann), Said(Answer.REAL))
    assert ann.next() is None  # the second look is not for her
    second = given(bob)
    assert second.reason is Reason.SECOND_LOOK
    assert bob.answer(second, Said(Answer.FAKE)).label.trust is Trust.DISPUTED
    assert (ann.next(), bob.next()) == (None, None)
    settled = cid.answer(given(cid), Said(Answer.FAKE)).label
    assert (settled.answer, settled.trust, settled.votes) == (Answer.FAKE, Trust.TRUSTED, 3)
    assert desk(store, "dan").next() is None


def test_an_unsure_answer_asks_another(store: Store) -> None:
    opened(store, task("a"))
    ann, bob = desk(store, "ann"), desk(store, "bob")
    assert ann.answer(given(ann), Said(Answer.UNSURE)).label.trust is Trust.NONE
    assert given(bob).reason is Reason.SECOND_LOOK


def test_the_word_of_a_trusted_reviewer_suffices(store: Store) -> None:
    Reviewers(store.database).save("ann", Role.REVIEWER, is_trusted=True, token_sha256="0" * 64, by=ADMIN)
    opened(store, task("a"))
    ann = desk(store)
    assert ann.answer(given(ann), Said(Answer.REAL)).label.trust is Trust.TRUSTED


def test_gold_is_mixed_in_unseen_once_for_each_reviewer(store: Store) -> None:
    Gold(store.database).add({ImageId("gold/1"): Answer.FAKE}, note="", by=ADMIN)
    opened(store, *(task(f"{number}") for number in range(3)))
    for name in ("ann", "bob"):
        at = desk(store, name, gold=1.0)
        first = given(at)
        assert (first.image_id, first.reason) == ("gold/1", Reason.GOLD)
        assert at.answer(first, Said(Answer.FAKE)).verdict is None
        assert given(at).reason is Reason.UNSURE
        at.release(given(at))
    assert ReviewTasks(store.database).open_counts() == {Reason.UNSURE: 3}


def test_eight_reviewers_answer_two_thousand_tasks_once_each(store: Store) -> None:
    count = 2000
    opened(store, *(task(f"{number:05}") for number in range(count)))
    answered: list[str] = []
    lock = threading.Lock()

    def work(name: str) -> None:
        at = desk(store, name)
        while (held := at.next()) is not None:
            at.answer(held, Said(Answer.REAL))
            with lock:
                answered.append(held.image_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [f"reviewer {number}" for number in range(8)]))
    assert len(answered) == len(set(answered)) == count
    assert len(Reviews(store.database).list()) == count
    assert ReviewTasks(store.database).list(state=TaskState.OPEN) == []
    assert Events(store.database).verify()[1] is None
