"""Reviewing in a real browser, by keyboard, as somebody does for an hour."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import Route, expect
from sqlalchemy import update

from moderation.domain.review import Act, Answer, Evidence, Reason
from moderation.storage.tables import ReviewTaskRow
from tests.browser.desk import Seat
from tests.moderated import desk


def lapse_to_bob(seat: Seat, image_id: str) -> None:
    """The lease of this picture's task runs out, and another reviewer takes it."""
    database = seat.website.store.database

    def bob_has_it() -> bool:
        with database.write() as session:
            past = database.now(session) - timedelta(seconds=1)
            session.execute(update(ReviewTaskRow).where(ReviewTaskRow.image_id == image_id).values(lease_until=past))
        return desk(seat.website.store, "bob").take(seat.task(image_id).image_id) is not None

    seat.waits_until(bob_has_it)  # the page may renew the lease in between


def test_log_in_with_a_wrong_and_a_right_token(seat: Seat) -> None:
    page = seat.page
    page.goto(seat.address)
    page.get_by_label("Your token").fill("guess")
    page.keyboard.press("Enter")
    expect(seat.notice).to_contain_text("No reviewer has this token")
    page.get_by_label("Your token").fill(seat.token)
    page.keyboard.press("Enter")
    expect(page.locator("#stage-words")).to_contain_text("Nothing is left for you now")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Your token")).to_be_focused()


def test_ten_pictures_by_keyboard(seat: Seat) -> None:
    names = seat.website.add_pictures(10)
    keys = "rfurfrfrfu"
    words = {"r": "real", "f": "fake", "u": "unsure"}
    seat.log_in()
    for number, (name, key) in enumerate(zip(names, keys, strict=True)):
        seat.sees(name)
        expect(seat.page.locator("#progress")).to_contain_text(f"{10 - number} left · {number} done")
        seat.press(key)
        expect(seat.strip).to_contain_text(f"You {words[key]}")
        expect(seat.strip).to_contain_text(f"Machine {50 + 0.2 * number:.0f} % fake, review (tiny)")
    expect(seat.page.locator("#stage-words")).to_contain_text("Nothing is left for you. 10 done")
    assert [(review.image_id, review.answer) for review in seat.reviews()] == [
        (name, words[key]) for name, key in zip(names, keys, strict=True)
    ]
    assert all(0 < (review.seconds or 0) < 60 for review in seat.reviews())
    counts = seat.website.wiring.review_tasks.open_counts()
    assert set(counts) == {Reason.SECOND_LOOK}  # the unsure ones go to others


def test_the_score_stays_hidden_until_the_answer_is_in(seat: Seat) -> None:
    first, second = seat.website.add_pictures(2)
    seat.log_in()
    seat.sees(first)
    assert "%" not in re.sub(r"\d+ %", "", seat.page.inner_text("main"), count=1)  # the scale alone
    expect(seat.strip).to_be_empty()
    seat.press("r")
    seat.sees(second)
    expect(seat.strip).to_contain_text("Machine 50 % fake")


def test_evidence_and_a_note_go_with_the_answer_and_typing_is_no_answer(seat: Seat) -> None:
    first, second = seat.website.add_pictures(2)
    seat.log_in()
    seat.sees(first)
    seat.press("1", "3", "3", "6", "n")
    seat.page.keyboard.type("rfus: six fingers")
    seat.press("Escape")
    expect(seat.page.get_by_role("region", name=re.compile("The picture"))).to_be_focused()
    seat.press("f")
    seat.sees(second)
    (review,) = seat.reviews()
    assert (review.answer, review.evidence) == (Answer.FAKE, (Evidence.HANDS, Evidence.OTHER))
    assert review.note == "rfus: six fingers"
    assert seat.page.get_by_label("Note").input_value() == ""
    expect(seat.page.get_by_role("checkbox", name="Hands")).not_to_be_checked()


def test_undo_brings_the_picture_back(seat: Seat) -> None:
    first, second = seat.website.add_pictures(2)
    seat.log_in()
    seat.sees(first)
    seat.press("b")
    expect(seat.notice).to_contain_text("no answer of this session")
    seat.press("f")
    seat.sees(second)
    seat.press("b")
    seat.sees(first)
    expect(seat.strip).to_contain_text("taken back")
    seat.press("r")
    seat.sees(second)
    acts = [(review.act, review.answer) for review in seat.reviews()]
    assert acts == [(Act.ANSWER, Answer.FAKE), (Act.UNDO, None), (Act.ANSWER, Answer.REAL)]


def test_skip_and_escalate(seat: Seat) -> None:
    first, second, third = seat.website.add_pictures(3)
    seat.log_in()
    seat.sees(first)
    seat.press("s")
    seat.sees(second)
    seat.press("e")
    box = seat.page.get_by_role("dialog", name="Hand it to a senior")
    expect(box.get_by_label("Why?")).to_be_focused()
    seat.page.keyboard.type("a minister?")
    box.get_by_role("button", name="Escalate").click()
    seat.sees(third)
    assert (seat.task(second).is_senior, seat.task(second).detail) == (True, "a minister?")
    assert [review.act for review in seat.reviews()] == [Act.SKIP, Act.ESCALATE]


def test_a_lease_lost_to_another_is_told_and_the_next_picture_comes(seat: Seat) -> None:
    first, second = seat.website.add_pictures(2)
    seat.log_in()
    seat.sees(first)
    lapse_to_bob(seat, first)
    seat.press("f")
    expect(seat.notice).to_contain_text("no longer yours")
    seat.sees(second)
    assert seat.reviews() == []
    assert seat.task(first).claimed_by == "bob"
    seat.press("r")
    expect(seat.notice).to_be_hidden()
    assert [(review.image_id, review.reviewer) for review in seat.reviews()] == [(second, "eve")]


@pytest.mark.parametrize("website", [5.0], indirect=True)
def test_a_lease_is_kept_by_activity_and_its_loss_told_without_a_key(seat: Seat) -> None:
    first, second = seat.website.add_pictures(2)
    seat.log_in()
    seat.sees(first)
    until = seat.task(first).lease_until
    assert until is not None
    seat.stirs_until(lambda: (seat.task(first).lease_until or until) > until)
    lapse_to_bob(seat, first)
    seat.stirs_until(seat.notice.is_visible)
    expect(seat.notice).to_contain_text("no longer yours")
    seat.sees(second)


def test_the_next_picture_is_there_before_it_is_wanted(seat: Seat) -> None:
    first, second = seat.website.add_pictures(2)
    wanted = f"/pictures/{seat.task(second).task_id}"
    with seat.page.expect_response(lambda answer: answer.url.endswith(wanted)) as coming:
        seat.log_in()
        seat.sees(first)
    coming.value.finished()
    asked: list[str] = []
    seat.page.on("request", lambda request: asked.append(request.url))
    seat.press("r")
    seat.sees(second)
    assert not any("/pictures/" in url for url in asked)


def test_leaving_and_pausing_give_the_pictures_back(seat: Seat) -> None:
    names = seat.website.add_pictures(2)
    seat.log_in()
    seat.sees(names[0])
    seat.waits_until(lambda: seat.held() == 2)  # the next one too
    seat.press("q")
    expect(seat.page.locator("#stage-words")).to_contain_text("Paused")
    seat.waits_until(lambda: seat.held() == 0)
    seat.press("q")
    seat.sees(names[0])
    seat.waits_until(lambda: seat.held() == 2)
    seat.page.goto(f"{seat.address}/dashboard")
    seat.waits_until(lambda: seat.held() == 0)


def test_a_window_that_closes_gives_back_what_was_on_its_way_to_it(seat: Seat) -> None:
    first, _ = seat.website.add_pictures(2)
    seat.page.route("**/api/ahead", lambda route: route.fetch())  # the server answers; the page never hears of it
    seat.log_in()
    seat.sees(first)
    seat.waits_until(lambda: seat.held() == 2)
    seat.page.goto(f"{seat.address}/dashboard")
    seat.waits_until(lambda: seat.held() == 0)


def test_a_pause_while_an_answer_is_on_its_way_lets_it_be_stored_and_gives_all_back(seat: Seat) -> None:
    first, _, _ = seat.website.add_pictures(3)
    on_its_way: list[Route] = []

    def keep(route: Route) -> None:
        on_its_way.append(route)

    seat.page.route("**/api/answer", keep)
    seat.log_in()
    seat.sees(first)
    seat.press("f")
    seat.waits_until(lambda: bool(on_its_way))
    seat.press("q")
    seat.page.wait_for_timeout(300)  # time for what must not happen: that the picture is given back before its answer
    on_its_way[0].continue_()
    expect(seat.page.locator("#stage-words")).to_contain_text("Paused")
    expect(seat.picture).to_be_hidden()
    seat.waits_until(lambda: seat.held() == 0)
    assert [review.image_id for review in seat.reviews()] == [first]
    expect(seat.notice).to_be_hidden()


def test_what_comes_into_an_empty_queue_appears_by_itself(seat: Seat) -> None:
    seat.page.clock.install()
    seat.log_in()
    expect(seat.page.locator("#stage-words")).to_contain_text("New pictures appear here")
    (name,) = seat.website.add_pictures(1)
    seat.page.clock.fast_forward(20_000)
    seat.sees(name)


def test_a_picture_that_can_not_be_shown_is_named_and_can_be_skipped(seat: Seat) -> None:
    first, second = seat.website.add_pictures(2)
    (seat.website.images / first).unlink()
    seat.log_in()
    expect(seat.page.locator("#stage-words")).to_contain_text("This picture can't be shown: not found.")
    seat.press("f")
    expect(seat.notice).to_contain_text("There is no picture to judge")
    seat.press("s")
    seat.sees(second)
    assert [review.act for review in seat.reviews()] == [Act.SKIP]
