"""A sitting on SQLite and PostgreSQL: keys in, what is shown and stored out, and nothing stays held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import update

from moderation.cli.review.keys import Form, Mode
from moderation.cli.review.picture import Picture
from moderation.cli.review.screen import View
from moderation.cli.review.session import Session
from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.review import Act, Answer, Evidence, Review, TaskState
from moderation.domain.submission import ImageId
from moderation.errors import ServiceDown
from moderation.flows.reviewing.appeal import appeal
from moderation.storage.events import By
from moderation.storage.reviewing.gold import Gold
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.reviewing.tasks import ReviewTasks
from moderation.storage.tables import ReviewTaskRow
from tests.moderated import answer, desk, score
from tests.store import Store

CTRL_C = "ctrl-c"
Typed = str | Callable[[], object]


@dataclass
class Typist:
    """Keys one after the other; a function among them is called when its turn comes. At the end it types q."""

    keys: Sequence[Typed]
    _at: int = 0

    def key(self) -> str:
        if self._at == len(self.keys):
            return "q"
        typed = self.keys[self._at]
        self._at += 1
        if typed == CTRL_C:
            raise KeyboardInterrupt
        if isinstance(typed, str):
            return typed
        typed()
        return ""

    def forget(self) -> None:
        """Nothing is typed ahead."""


@dataclass
class Canvas:
    """Remembers what was drawn."""

    views: list[View] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    is_stale: bool = False

    def draw(self, view: View, form: Form) -> None:
        self.views.append(view)
        self.draw_form(form)

    def draw_form(self, form: Form) -> None:
        self.forms.append(form)

    def hints(self) -> list[str]:
        return [form.hint for form in self.forms if form.hint]


class Gallery:
    """Has small pictures of all but what is `missing`, and says which was opened."""

    missing = ""

    def load(self, image_id: ImageId) -> Picture:
        if image_id == self.missing:
            return Picture(None, "", f"no picture: {image_id} is not there")
        return Picture(Image.new("RGB", (16, 16)), f"the size of {image_id}")

    def zoom(self, picture: Picture) -> str:
        return f"opened {picture.facts.split()[-1]}"


@pytest.fixture
def four(store: Store) -> Store:
    """Four tasks, the least sure first: a, b, c, d."""
    store.policies.set(ANY_SOURCE, Thresholds(0.5, 0.9, 1.0, 1.0), author="ann", reason="all")
    score(store, {"a": 0.5, "b": 0.55, "c": 0.59, "d": 1.0})
    return store


def sitting(store: Store, *keys: Typed, reviewer: str = "ann", now_s: Callable[[], float] | None = None) -> Canvas:
    canvas = Canvas()
    session = Session(desk(store, reviewer), Typist(keys), canvas, Gallery(), now_s or (lambda: 0.0))
    session.run()
    assert [task.claimed_by for task in tasks(store)] == [None] * len(tasks(store))
    return canvas


def tasks(store: Store) -> list:  # type: ignore[type-arg]
    return ReviewTasks(store.database).list(state=TaskState.OPEN)


def said(store: Store, name: str) -> list[Review]:
    return Reviews(store.database).of_image(ImageId(name))


def test_pictures_come_one_after_the_other_and_the_score_only_with_the_answer(four: Store) -> None:
    clock = iter(range(1000))
    canvas = sitting(four, *"rfu", now_s=lambda: float(next(clock)))
    first, second, *_ = canvas.views
    assert first.head == "ann   4 left   0 answered"
    assert first.facts[0] == "a"
    assert "source default   the size of a   waiting" in first.facts[1]
    assert "0.50" not in f"{first}"
    assert second.last == "a: you real, machine REVIEW 0.50; label real, weak"
    assert second.head.startswith("ann   3 left   1 answered   ")
    assert [said(four, name)[0].answer for name in "abc"] == [Answer.REAL, Answer.FAKE, Answer.UNSURE]
    assert all(review.seconds and review.seconds > 0 for review in said(four, "a"))


def test_what_a_task_was_drawn_for_does_not_show(four: Store) -> None:
    canvas = sitting(four, *"rrrr")
    assert {view.facts[1].split("   ")[-1] for view in canvas.views[:4]} == {"routine check"}


def test_evidence_and_a_note_go_with_the_answer_and_not_with_the_next(four: Store) -> None:
    sitting(four, *"12nsix fingers\rf", "r")
    (one,), (other,) = said(four, "a"), said(four, "b")
    assert (one.evidence, one.note) == ((Evidence.HANDS, Evidence.TEXT), "six fingers")
    assert (other.evidence, other.note) == ((), "")


def test_skip_and_escalate_leave_the_task_to_others(four: Store) -> None:
    canvas = sitting(four, *"sea minister?\r")
    assert [view.last for view in canvas.views[1:]] == ["a: skipped", "b: a senior decides"]
    assert [task.detail for task in tasks(four) if task.is_senior] == ["a minister?"]
    assert [review.act for name in "ab" for review in said(four, name)] == [Act.SKIP, Act.ESCALATE]


def test_back_takes_the_last_answer_back_and_shows_its_picture(four: Store) -> None:
    canvas = sitting(four, *"rrb", "f")
    assert canvas.views[3].last == "b: your answer is taken back"
    assert canvas.views[3].facts[0] == "b"
    assert [review.act for review in said(four, "b")] == [Act.ANSWER, Act.UNDO, Act.ANSWER]
    assert [review.answer for review in said(four, "a")] == [Answer.REAL]


def test_back_gives_back_what_was_on_the_screen(four: Store) -> None:
    canvas = sitting(four, *"rb")  # and quits, holding nothing: not a, and not b
    assert canvas.views[-1].facts[0] == "a"
    assert len(tasks(four)) == 4


def test_back_goes_no_further_than_this_sitting(four: Store) -> None:
    sitting(four, "r")
    canvas = sitting(four, *"bb")
    assert len(canvas.hints()) == 2
    assert "no answer of this sitting" in canvas.hints()[0]
    assert len(said(four, "a")) == 1


def test_at_the_end_one_may_still_go_back_or_look_again(four: Store) -> None:
    canvas = sitting(four, *"rrrr", lambda: score(four, {"e": 0.5}), "x", "r", "b", "f")
    assert canvas.views[4].note == "Nothing is left for you to review."
    assert canvas.views[4].last.startswith("d: you real")
    assert canvas.views[5].facts[0] == "e"
    assert [review.act for review in said(four, "e")] == [Act.ANSWER, Act.UNDO, Act.ANSWER]
    assert canvas.forms[-1].mode is Mode.NOTHING


@pytest.mark.parametrize("end", ["q", "\x04"])
def test_quitting_gives_the_task_back(four: Store, end: str) -> None:
    sitting(four, end)
    assert len(tasks(four)) == 4


def test_ctrl_c_gives_the_task_back(four: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        sitting(four, "r", CTRL_C)
    assert [task.claimed_by for task in tasks(four)] == [None] * 3


def lapse(store: Store, lease_s: float = -1.0) -> None:
    with store.database.write() as session:
        past = store.database.now(session) + timedelta(seconds=lease_s)
        session.execute(update(ReviewTaskRow).where(ReviewTaskRow.claimed_by == "ann").values(lease_until=past))


def test_a_lost_lease_is_told_in_a_line_and_the_next_task_comes(four: Store) -> None:
    def bob_answers() -> None:
        lapse(four)
        answer(four, {"a": Answer.REAL}, reviewer="bob")

    canvas = sitting(four, bob_answers, "f", "r")
    assert canvas.views[1].last == "a: this task is no longer yours, so nothing was stored; take the next one"
    assert canvas.views[1].facts[0] == "b"
    assert [(each.reviewer, each.answer) for each in said(four, "a")] == [("bob", Answer.REAL)]
    assert [each.answer for each in said(four, "b")] == [Answer.REAL]


def test_keys_renew_the_lease(four: Store) -> None:
    clock = iter([0.0, 0.0, 100.0, 100.0] + [200.0] * 20)
    taken: list[object] = []

    def another_tries() -> None:
        taken.append(desk(four, "bob").take(ImageId("a")))

    sitting(four, lambda: lapse(four), "v", another_tries, now_s=lambda: next(clock))
    assert taken == [None]


def test_help_and_zoom_answer_nothing(four: Store) -> None:
    canvas = sitting(four, "?", "f", "z")
    assert canvas.forms[1].mode is Mode.HELP
    assert canvas.hints() == ["opened a"]
    assert said(four, "a") == []


def test_without_its_picture_nothing_is_judged(four: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gallery, "missing", "a")
    canvas = sitting(four, *"rfusr")
    assert canvas.views[0].note == "no picture: a is not there"
    assert canvas.hints() == ["there is no picture to judge: s skips it, e escalates it"] * 3
    assert [review.act for review in said(four, "a")] == [Act.SKIP]
    assert [review.answer for review in said(four, "b")] == [Answer.REAL]


def test_an_outage_is_told_and_the_answer_can_be_given_again(four: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise ServiceDown("the SQL database", "no route")

    def away() -> None:
        monkeypatch.setattr(Reviews, "answer", down)

    canvas = sitting(four, away, "f", monkeypatch.undo, "f")
    assert canvas.hints() == ["not done, try again: the SQL database does not answer: no route"]
    assert [each.answer for each in said(four, "a")] == [Answer.FAKE]


def test_an_appeal_comes_with_what_was_decided_and_said(four: Store) -> None:
    answer(four, {"d": Answer.FAKE})
    tasks_ = ReviewTasks(four.database)
    by = By("author", "I drew\x1b[2J it")
    appeal("d", by=by, submissions=four.submissions, verdicts=four.verdicts, tasks=tasks_)
    assert all(view.facts[0] != "d" for view in sitting(four, *"rrr").views[:3])  # not to whom it was about
    canvas = sitting(four, "r", reviewer="bob")
    assert canvas.views[0].facts[1].endswith("appeal")
    assert canvas.views[0].facts[2:] == ["because: I drew\x1b[2J it", "the machine: BLOCK", "ann: fake"]


def test_gold_looks_like_the_task_in_whose_place_it_comes(four: Store) -> None:
    Gold(four.database).add({ImageId("gold/1"): Answer.FAKE}, note="", by=By("admin"))
    at = desk(four)
    gold = Gold(four.database)
    (ordinary,) = [task for task in tasks(four) if task.image_id == "a"]
    found = gold.hand_out(ImageId("gold/1"), "ann", like=ordinary, lease_s=60)
    assert found is not None
    assert (found.source, found.priority, found.created_at) == ("default", 0, ordinary.created_at)
    at.release(found)
    other = replace(ordinary, source="web", priority=7, due_at=ordinary.due_at + timedelta(hours=1))
    again = gold.hand_out(ImageId("gold/1"), "bob", like=other, lease_s=60)
    assert again is not None
    assert (again.task_id, again.source, again.priority, again.due_at) == (found.task_id, "web", 7, other.due_at)
    assert gold.remove([ImageId("gold/1"), ImageId("gold/2")], by=By("admin")) == 1
    assert all(task.image_id != "gold/1" for task in tasks(four))
