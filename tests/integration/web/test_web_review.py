"""What the page's script gets: tasks without what would sway, answers stored once, lost leases told, undo."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.domain.review import Act, Answer, Evidence, Reason, Role
from moderation.domain.submission import ImageId
from moderation.flows.reviewing.appeal import appeal
from moderation.settings import load_settings
from moderation.storage.events import By
from moderation.web.app import create_app
from moderation.web.site import Site
from moderation.wiring import Wiring
from tests.store import Store
from tests.visitor import Visitor, held
from tests.website import BY, Website, draw_picture, open_website


def test_an_answer_is_stored_and_brings_verdict_label_and_the_next_picture(website: Website) -> None:
    first, second = website.add_pictures(2)
    visitor = Visitor.logged_in(website)
    start = visitor.post("next").json()
    assert start["task"]["image_id"] == first
    assert start["progress"] == {"left": 2, "is_more": False, "done": 0, "pace_s": None}
    done = visitor.answer(start["task"], "fake", evidence=["hands", "text", "hands"], note=" six fingers ").json()
    assert done["task"]["image_id"] == second
    assert done["progress"] == {"left": 1, "is_more": False, "done": 1, "pace_s": 2.5}
    assert done["answered"] == {
        "image_id": first,
        "answer": "fake",
        "verdict": {"decision": "REVIEW", "probability": 0.5, "backbone": "tiny"},
        "agrees": None,
        "label": {"answer": "fake", "trust": "weak", "votes": 1},
    }
    (review,) = website.wiring.reviews.of_image(ImageId(first))
    assert (review.reviewer, review.answer, review.note, review.seconds) == ("ann", Answer.FAKE, "six fingers", 2.5)
    assert review.evidence == (Evidence.HANDS, Evidence.TEXT)
    assert visitor.answer(done["task"]).json()["task"] is None


def test_a_look_ahead_that_comes_after_the_answer_does_not_take_the_next_task_away(website: Website) -> None:
    website.add_pictures(2)
    visitor = Visitor.logged_in(website)
    first = visitor.post("next").json()["task"]
    second = visitor.answer(first).json()["task"]
    assert visitor.post("ahead", held(first)).json()["picture"] is None
    assert visitor.answer(second).status_code == 200


def test_nothing_sent_before_the_answer_gives_the_score_or_the_draw_away(store: Store, tmp_path: Path) -> None:
    with open_website(store, tmp_path, gold_rate=1.0) as website:
        website.add_pictures(1)
        draw_picture(tmp_path / "known.png", (64, 64), 7)
        website.wiring.gold.add({ImageId("known.png"): Answer.FAKE}, note="", by=BY)
        visitor = Visitor.logged_in(website)
        gold = visitor.post("next").json()["task"]
        assert gold["image_id"] == "known.png"
        shown = visitor.answer(gold).json()
        assert shown["answered"]["verdict"] is None
        plain = shown["task"]
        assert set(gold) == set(plain)
        for name in ("source", "why", "detail", "history", "waiting_since"):
            assert gold[name] == plain[name], name
        for task in (gold, plain):
            assert "gold" not in str(task).replace("known", "")
            assert not {"probability", "reason", "inclusion_probability"} & set(task)


def test_the_next_task_is_leased_ahead_and_comes_next(website: Website) -> None:
    website.add_pictures(3)
    ann, bob = Visitor.logged_in(website, "ann"), Visitor.logged_in(website, "bob")
    first = ann.post("next").json()["task"]
    ahead = ann.post("ahead", held(first)).json()["picture"]
    assert bob.post("next").json()["task"]["image_id"] == "002.png"
    assert ann.client.get(ahead).status_code == 200
    after = ann.answer(first).json()["task"]
    assert after["picture"] == ahead
    assert ann.post("ahead", held(after)).json() == {"picture": None}


def test_a_lease_lost_to_another_is_told_and_nothing_is_stored(store: Store, tmp_path: Path) -> None:
    with open_website(store, tmp_path, review_lease_s=5) as website:
        website.add_pictures(1)
        ann, bob = Visitor.logged_in(website, "ann"), Visitor.logged_in(website, "bob")
        task = ann.post("next").json()["task"]
        ann.post("leave")
        assert bob.post("next").json()["task"]["task_id"] == task["task_id"]
        for name, more in (("answer", {"answer": "real", "seconds": 1}), ("skip", {}), ("renew", {}),
                           ("escalate", {"reason": "why not"})):  # fmt: skip
            late = ann.post(name, {**held(task), **more})
            assert (late.status_code, late.json()["kind"]) == (409, "lease_lost")
            assert "no longer yours" in late.json()["error"]
        assert website.wiring.reviews.list() == []
        assert ann.post("next").json()["task"] is None


def test_an_older_window_is_refused_and_gives_nothing_back_that_a_newer_one_has(website: Website) -> None:
    website.add_pictures(1)
    visitor = Visitor.logged_in(website)
    older = visitor.post("next").json()["task"]
    visitor.window = "second window"
    newer = visitor.post("next").json()["task"]
    visitor.window = "first window"
    assert visitor.answer(older).status_code == 409
    visitor.post("leave")
    visitor.window = "second window"
    assert visitor.post("renew", held(newer)).status_code == 200
    assert visitor.answer(newer).status_code == 200


def test_a_window_that_goes_away_gives_back_what_it_has_not_heard_of_yet(website: Website) -> None:
    website.add_pictures(3)
    ann = Visitor.logged_in(website, "ann")
    first = ann.post("next").json()["task"]
    ann.post("ahead", held(first))  # the window closes before the answer is there
    ann.post("leave")
    assert held_by_anybody(website) == 0
    ann.post("next")  # sent before it closed, here after it
    assert held_by_anybody(website) == 0
    ann.window = "second window"
    assert ann.post("next").json()["task"]["image_id"] == first["image_id"]


def test_leaving_after_undo_gives_back_every_picture(website: Website) -> None:
    website.add_pictures(4)
    visitor = Visitor.logged_in(website)
    after = visitor.answer(visitor.answer(visitor.post("next").json()["task"]).json()["task"]).json()["task"]
    visitor.post("ahead", held(after))
    visitor.post("undo")
    visitor.post("undo")
    assert held_by_anybody(website) == 4
    visitor.post("leave")
    assert held_by_anybody(website) == 0


def held_by_anybody(website: Website) -> int:
    return sum(task.claimed_by is not None for task in website.wiring.review_tasks.list())


def test_undo_brings_the_picture_back_and_takes_only_this_session_s_answers(website: Website) -> None:
    first, _ = website.add_pictures(2)
    earlier = Visitor.logged_in(website)
    visitor = Visitor.logged_in(website)
    assert visitor.post("undo").json()["kind"] == "nothing_to_undo"
    visitor.answer(visitor.post("next").json()["task"], "fake")
    back = visitor.post("undo").json()
    assert back["task"]["image_id"] == first
    assert back["progress"]["done"] == 0
    visitor.answer(back["task"], "real")
    acts = [(review.act, review.answer) for review in website.wiring.reviews.of_image(ImageId(first))]
    assert acts == [(Act.ANSWER, Answer.FAKE), (Act.UNDO, None), (Act.ANSWER, Answer.REAL)]
    assert earlier.post("undo").status_code == 200  # the same person, in a session that began before


def test_skipping_and_escalating(website: Website) -> None:
    first, second = website.add_pictures(2)
    ann = Visitor.logged_in(website, "ann")
    senior = Visitor.logged_in(website, "sam", Role.SENIOR)
    after = ann.post("skip", held(ann.post("next").json()["task"])).json()
    assert (after["task"]["image_id"], after["progress"]["left"]) == (second, 1)
    assert ann.post("escalate", held(after["task"])).status_code == 422  # without a reason
    assert ann.post("escalate", {**held(after["task"]), "reason": "a minister?"}).json()["task"] is None
    assert senior.post("next").json()["task"]["image_id"] == first
    senior.answer(senior.post("next").json()["task"])
    escalated = senior.post("next").json()["task"]
    assert (escalated["why"], escalated["detail"]) == ("Routine check, escalated", "a minister?")


def test_an_appeal_comes_with_its_history_and_no_score(website: Website) -> None:
    (name,) = website.add_pictures(1)
    ann, bob = Visitor.logged_in(website, "ann"), Visitor.logged_in(website, "bob")
    ann.answer(ann.post("next").json()["task"], "fake", note="six fingers")
    wiring = website.wiring
    by = By("uploader", "I painted it")
    assert appeal(name, by=by, submissions=wiring.submissions, verdicts=wiring.verdicts, tasks=wiring.review_tasks)
    assert ann.post("next").json()["task"] is None
    task = bob.post("next").json()["task"]
    assert (task["why"], task["detail"]) == ("Appeal", "I painted it")
    said = [(each["who"], each["said"], each["why"]) for each in task["history"]]
    assert said == [("The machine", "decided REVIEW", ""), ("ann", "said fake", "six fingers")]
    for told in (task, *task["history"]):  # a time of day may hold any digits
        told.pop("waiting_since", told.pop("at", None))
    assert "0.5" not in str(task)


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": "maybe"},
        {"evidence": ["smell"]},
        {"note": "x" * 2001},
        {"seconds": -1},
        {"task_id": 0},
        {"task_id": 2**70},
        {"version": "x"},
    ],
)
def test_what_makes_no_sense_is_refused(website: Website, wrong: dict[str, object]) -> None:
    website.add_pictures(1)
    visitor = Visitor.logged_in(website)
    task = visitor.post("next").json()["task"]
    refused = visitor.post("answer", {**held(task), "answer": "real", "seconds": 1, **wrong})
    assert (refused.status_code, refused.json()["kind"]) == (422, "invalid")
    assert visitor.answer(task).status_code == 200


def test_a_database_that_is_down_is_told_without_its_address(tmp_path: Path) -> None:
    url = "postgresql://someone:secret@127.0.0.1:9/db"
    wiring = Wiring(load_settings(database_url=url, images=str(tmp_path)))
    site = Site(wiring)
    visitor = Visitor(create_app(site))
    session = site.sessions.begin("ann", "0" * 64)
    visitor.client.cookies.set(site.cookie, session.session_id)
    for answer in (visitor.client.get("/review"), visitor.post("next")):
        assert answer.status_code == 503
        assert "secret" not in answer.text
        assert "127.0.0.1" not in answer.text
    wiring.close()


def test_tasks_of_one_reason_look_like_those_of_another(website: Website) -> None:
    website.add_pictures(1)
    task = Visitor.logged_in(website).post("next").json()["task"]
    assert task["why"] == "Routine check"
    assert website.wiring.review_tasks.list()[0].reason is Reason.UNSURE
