"""modctl review, reviewer, reviewers, gold and appeal by script, on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.review import Answer
from moderation.domain.submission import ImageId
from moderation.storage.database import Database
from moderation.storage.reviewing.gold import Gold
from moderation.storage.reviewing.reviewers import Reviewers
from tests.command import Done, modctl, ok
from tests.moderated import answer, score
from tests.store import Store, furnish

AT = Thresholds(0.5, 0.9, audit_rate=1.0, block_check_rate=1.0)
SCORES = {"a.jpg": 0.5, "b.jpg": 0.55, "c.jpg": 0.1, "d.jpg": 1.0}


@pytest.fixture
def filled(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """modctl is set to a database with four tasks; olga is at it, and gets neither gold nor second looks."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", database_url)
    monkeypatch.setenv("MODERATION_ACTOR", "olga")
    monkeypatch.setenv("MODERATION_SECOND_LOOK_RATE", "0")
    monkeypatch.setenv("MODERATION_GOLD_RATE", "0")
    ok("db", "upgrade")
    database = Database(database_url)
    store = furnish(database)
    store.policies.set(ANY_SOURCE, AT, author="ann", reason="look at everything")
    score(store, SCORES)
    yield store
    database.dispose()


def refused(done: Done, code: int = 2) -> str:
    assert (done.code, done.out) == (code, ""), done
    return done.err.rpartition("Error: ")[2].strip()


def events(kind: str) -> list[tuple[str, str]]:
    """Actor and reason of the events of this kind, the oldest first."""
    found = ok("audit", "log", "--kind", kind, "--json").lines()
    return [(event["actor"], event["reason"]) for event in reversed(found)]


def test_next_and_label_say_the_score_only_with_the_answer(filled: Store) -> None:
    task = ok("review", "next", "--json").json()["task"]
    assert (task["image_id"], task["source"], task["reason"]) == ("a.jpg", "default", "routine check")
    assert not {"probability", "verdict_id", "inclusion_probability"} & set(task)
    again = ok("review", "next", "--json").json()["task"]
    assert again["task_id"] == task["task_id"]  # still hers
    assert ok("review", "next", "--reviewer", "bob", "--json").json()["task"]["image_id"] == "b.jpg"
    said = ("--evidence", "hands", "--evidence", "source known", "--note", "six fingers")
    done = ok("review", "label", "a.jpg", "fake", *said, "--json").json()
    assert (done["review"]["reviewer"], done["review"]["answer"]) == ("olga", "fake")
    assert (done["review"]["evidence"], done["review"]["note"]) == (["hands", "source known"], "six fingers")
    assert (done["verdict"]["decision"], done["verdict"]["probability"]) == ("REVIEW", 0.5)
    assert done["label"] == {"answer": "fake", "trust": "weak", "votes": 1}
    assert events("review.answer") == [("olga", "six fingers")]
    shown = ok("review", "label", "d.jpg", "real").out
    assert shown.startswith("d.jpg: you real, machine BLOCK 1.00; label real, weak (answer ")


def test_what_has_no_task_is_refused_with_the_reason_and_the_way_out(filled: Store) -> None:
    unknown = refused(modctl("review", "label", "nowhere.jpg", "real"), 1)
    assert unknown.startswith("nowhere.jpg: no task is open for it; a new look is had by: modctl appeal")
    ok("review", "next", "--reviewer", "bob")
    assert "a.jpg: bob is at it until" in refused(modctl("review", "label", "a.jpg", "real"), 1)
    ok("review", "escalate", "b.jpg", "--reason", "a minister?")
    assert "for seniors: --senior" in refused(modctl("review", "label", "b.jpg", "real"), 1)
    ok("review", "label", "b.jpg", "real", "--senior", "--reviewer", "eve")
    ok("review", "skip", "c.jpg")
    assert "olga answered, skipped or escalated it before" in refused(modctl("review", "label", "c.jpg", "real"), 1)
    assert "'maybe' is not one of" in refused(modctl("review", "label", "d.jpg", "maybe"))
    assert "at most 2000 characters" in refused(modctl("review", "label", "d.jpg", "real", "--note", "x" * 2001))
    assert "1 to 80 printable characters" in refused(modctl("review", "next", "--reviewer", " "))


def test_skip_and_escalate(filled: Store) -> None:
    assert ok("review", "skip", "a.jpg").out == "a.jpg: skipped.\n"
    done = ok("review", "escalate", "b.jpg", "--reason", "a minister?", "--json").json()
    assert (done["image_id"], done["done"], done["reviewer"]) == ("b.jpg", "escalated", "olga")
    assert events("review.escalate") == [("olga", "a minister?")]
    assert "--reason is empty" in refused(modctl("review", "escalate", "c.jpg", "--reason", " "))
    listed = {task["image_id"]: task for task in ok("review", "list", "--json").lines()}
    assert (listed["b.jpg"]["is_senior"], listed["b.jpg"]["detail"]) == (True, "a minister?")
    assert ok("review", "next", "--json").json()["task"]["image_id"] in ("c.jpg", "d.jpg")


def test_undo_takes_back_the_newest_or_the_one_named(filled: Store) -> None:
    assert "no answer to take back" in refused(modctl("review", "undo"), 1)
    first = ok("review", "label", "a.jpg", "real", "--json").json()["review"]["review_id"]
    ok("review", "label", "b.jpg", "real")
    assert ok("review", "undo", "--reason", "wrong key", "--json").json() == {"undone": True, "image_id": "b.jpg"}
    assert "a.jpg waits for another answer, yours until" in ok("review", "undo", "--id", first).out
    assert "not theirs, or was taken back" in refused(modctl("review", "undo", "--id", first), 1)
    assert events("review.undo") == [("olga", "wrong key"), ("olga", "")]
    ok("review", "label", "a.jpg", "fake")
    found = ok("review", "history", "a.jpg", "--json").json()
    assert [review["act"] for review in found["reviews"]] == ["answer", "undo", "answer"]
    assert found["label"] == {"answer": "fake", "trust": "weak", "votes": 1}


def test_the_reviewer_may_be_named_before_the_command(filled: Store) -> None:
    ok("review", "--reviewer", "zoe", "label", "a.jpg", "real")
    ok("review", "--reviewer", "zoe", "label", "b.jpg", "real", "--reviewer", "yan")
    assert [actor for actor, _ in events("review.answer")] == ["zoe", "yan"]


def test_list_and_stats_show_what_waits(filled: Store) -> None:
    listed = ok("review", "list", "--json").lines()
    assert [(task["image_id"], task["reason"]) for task in listed] == [
        ("a.jpg", "unsure"), ("b.jpg", "unsure"), ("d.jpg", "block check"), ("c.jpg", "audit"),
    ]  # fmt: skip
    assert not {"probability", "verdict_id"} & set(listed[0])
    assert [task["image_id"] for task in ok("review", "list", "--reason", "audit", "--json").lines()] == ["c.jpg"]
    assert len(ok("review", "list", "--limit", 2, "--json").lines()) == 2
    assert all(word in ok("review", "list").out for word in ("a.jpg", "block check", "held by"))
    ok("review", "label", "a.jpg", "real")
    found = ok("review", "stats", "--json").json()
    assert (found["open"], found["reasons"]) == (3, {"audit": 1, "block check": 1, "unsure": 1})
    assert (found["answers_24h"], found["said_24h"], found["reviewers_24h"]) == (1, {"real": 1}, 1)
    assert 0 <= found["oldest_waits_s"] < 600
    ok("review", "label", "b.jpg", "fake")
    ok("review", "undo")  # what is taken back does not count
    assert "answers in 24 h  1 by 1: 1 real" in ok("review", "stats").out
    for name in ("b.jpg", "c.jpg", "d.jpg"):
        ok("review", "label", name, "real")
    assert ok("review", "list").out == "Nothing waits for review.\n"
    assert ok("review", "next").out == "Nothing is left for olga.\n"
    assert ok("review", "next", "--json").json() == {"task": None}
    assert ok("review", "stats", "--json").json()["oldest_waits_s"] is None


def test_gold_is_not_told_apart_before_it_is_answered(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ok("gold", "add", "gold/1.jpg", "fake")
    monkeypatch.setenv("MODERATION_GOLD_RATE", "1")
    task = ok("review", "next", "--json").json()["task"]
    assert (task["image_id"], task["source"], task["reason"]) == ("gold/1.jpg", "default", "routine check")
    assert "gold" not in f"{[value for name, value in task.items() if name != 'image_id']}"
    assert all(each["image_id"] != "gold/1.jpg" for each in ok("review", "list", "--json").lines())
    assert ok("review", "history", "gold/1.jpg", "--json").json()["tasks"] == []
    ok("review", "label", "gold/1.jpg", "fake")
    (done,) = ok("review", "history", "gold/1.jpg", "--json").json()["tasks"]
    assert done["reason"] == "gold"


def test_history_is_all_that_is_known(filled: Store) -> None:
    ok("review", "label", "d.jpg", "fake", "--note", "hair")
    ok("appeal", "d.jpg", "--reason", "I painted it", "--actor", "the author")
    ok("review", "label", "d.jpg", "real", "--reviewer", "bob")
    found = ok("review", "history", "d.jpg", "--json").json()
    assert [verdict["decision"] for verdict in found["verdicts"]] == ["BLOCK"]
    assert sorted(task["reason"] for task in found["tasks"]) == ["appeal", "block check", "second look"]
    assert found["label"]["trust"] == "disputed"
    kinds = [event["kind"] for event in found["events"]]
    assert kinds == ["review.answer", "appeal.opened", "review.answer", "appeal.overturned"]
    shown = ok("review", "history", "d.jpg").out
    for words in ("BLOCK 1.000 by tiny", "olga: fake (hair)", "because: I painted it", "label  disputed (2 votes)"):
        assert words in shown
    assert ok("review", "history", "nowhere.jpg").out == "Nothing is known about nowhere.jpg.\n"


def test_an_appeal_goes_to_other_eyes_and_only_one_is_open(filled: Store) -> None:
    ok("review", "label", "d.jpg", "fake")
    assert ok("appeal", "d.jpg", "--reason", "I painted it", "--json").json() == {"image_id": "d.jpg", "opened": True}
    assert ok("appeal", "d.jpg", "--reason", "again").out.startswith("An appeal is open already")
    assert events("appeal.opened") == [("olga", "I painted it")]
    assert "answered, skipped or escalated it before" in refused(modctl("review", "label", "d.jpg", "real"), 1)
    task = ok("review", "next", "--reviewer", "bob", "--json").json()["task"]
    assert (task["image_id"], task["reason"], task["detail"]) == ("d.jpg", "appeal", "I painted it")
    assert "nowhere.jpg: never submitted" in refused(modctl("appeal", "nowhere.jpg", "--reason", "x"), 1)
    assert "1 to 2000 characters" in refused(modctl("appeal", "d.jpg", "--reason", " "))
    filled.add("new.jpg")
    assert "there is no verdict yet" in refused(modctl("appeal", "new.jpg", "--reason", "x"), 1)


def test_a_reviewers_token_is_shown_once_and_only_its_hash_is_kept(filled: Store) -> None:
    made = ok("reviewer", "add", "ann", "--role", "senior", "--trusted", "--reason", "hired", "--json").json()
    assert (made["name"], made["role"], made["trusted"], len(made["token"])) == ("ann", "senior", True, 43)
    reviewers = Reviewers(filled.database)
    known = reviewers.by_token(hashlib.sha256(made["token"].encode()).hexdigest())
    assert known is not None
    assert (known.name, known.is_senior, known.is_trusted) == ("ann", True, True)
    listed = ok("reviewer", "list")
    assert made["token"] not in listed.out
    assert "senior" in listed.out
    assert "token" not in ok("reviewer", "list", "--json").json()
    shown = ok("reviewer", "add", "bob", "--actor", "chief")
    assert "not kept" in shown.err
    assert "token" in shown.out
    assert events("reviewer.add") == [("olga", "hired"), ("chief", "")]


def test_a_known_reviewer_is_changed_only_when_asked(filled: Store) -> None:
    first = ok("reviewer", "add", "ann", "--json").json()["token"]
    asked = modctl("reviewer", "add", "ann", "--role", "admin")
    assert "add --yes" in refused(asked)
    assert "role reviewer -> admin" in asked.err
    second = ok("reviewer", "add", "ann", "--role", "admin", "--yes", "--json").json()["token"]
    assert second != first
    assert Reviewers(filled.database).by_token(hashlib.sha256(first.encode()).hexdigest()) is None
    assert "add --yes" in refused(modctl("reviewer", "remove", "ann"))
    ok("reviewer", "remove", "ann", "--yes", "--reason", "left")
    assert events("reviewer.remove") == [("olga", "left")]
    assert ok("reviewer", "list", "--json").json()["is_active"] is False
    assert "ann was removed" in refused(modctl("review", "next", "--reviewer", "ann"))
    assert "'zoe' is unknown" in refused(modctl("reviewer", "remove", "zoe", "--yes"))


def test_a_senior_needs_no_option_to_get_what_was_escalated(filled: Store) -> None:
    ok("reviewer", "add", "eve", "--role", "senior")
    ok("review", "escalate", "a.jpg", "--reason", "a minister?")
    assert ok("review", "next", "--reviewer", "eve", "--json").json()["task"]["detail"] == "a minister?"


def test_reviewers_shows_accuracy_on_gold_and_agreement(filled: Store) -> None:
    assert ok("reviewers").out == "Nobody has reviewed yet. Begin: modctl review\n"
    ok("gold", "add", "a.jpg", "real", "d.jpg", "fake")
    answer(filled, {"a.jpg": Answer.REAL, "d.jpg": Answer.REAL, "b.jpg": Answer.FAKE})
    for name in ("a.jpg", "b.jpg"):
        ok("appeal", name, "--reason", "x")
    answer(filled, {"a.jpg": Answer.REAL, "b.jpg": Answer.FAKE}, reviewer="bob")
    ann, bob = ok("reviewers", "--json").lines()
    assert (ann["reviewer"], ann["answers"], ann["on_gold"]["right"], ann["on_gold"]["total"]) == ("ann", 3, 1, 2)
    assert ann["on_gold"]["low"] == pytest.approx(0.0945, abs=1e-4)
    assert (bob["agreement"], bob["on_gold"]["right"]) == ({"kappa": 1.0, "pairs": 2}, 1)
    assert "50 % [9, 91]" in ok("reviewers").out


def test_gold_comes_from_words_or_from_a_csv(filled: Store, tmp_path: Path) -> None:
    assert ok("gold", "list").out.startswith("There is no gold.")
    assert ok("gold", "add", "x.jpg", "real", "y.jpg", "FAKE", "--json").json() == {"images": 2, "new": 2}
    file = tmp_path / "gold.csv"
    file.write_text("\ufeffimage_id,truth\nx.jpg,fake\nz.jpg, Real\n")
    done = ok("gold", "add", "--csv", file, "--note", "from the police", "--reason", "audit", "--actor", "chief")
    assert done.out == "2 images, 1 of them new.\n"
    named = "id,is\nw.jpg,fake\n"
    ok("gold", "add", "--csv", "-", "--column", "id", "--truth-column", "is", stdin=named)
    listed = {each["image_id"]: each["truth"] for each in ok("gold", "list", "--json").lines()}
    assert listed == {"w.jpg": "fake", "x.jpg": "fake", "y.jpg": "fake", "z.jpg": "real"}
    assert events("gold.add")[:2] == [("olga", ""), ("chief", "audit")]
    assert "add --yes" in refused(modctl("gold", "remove", "w.jpg"))
    removed = ok("gold", "remove", "w.jpg", "q.jpg", "--yes", "--reason", "wrong")
    assert removed.out == "1 image taken off, the others were not on it.\n"
    assert events("gold.remove") == [("olga", "wrong")]
    assert ImageId("w.jpg") not in Gold(filled.database).truths()


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        ((), "", "give IMAGE_ID real|fake, or --csv FILE"),
        (("a.jpg",), "", "after each IMAGE_ID comes real or fake; a.jpg stands alone"),
        (("a.jpg", "maybe"), "", "the truth of a.jpg is 'maybe', must be real or fake"),
        (("a.jpg", "real", "a.jpg", "fake"), "", "a.jpg is given as real and as fake"),
        (("--csv", "-"), "image_id,truth\na.jpg,real\n,fake\n", "line 3: an image id has 1 to 512 characters"),
        (("--csv", "-"), "image,truth\na.jpg,real\n", "the CSV has no column 'image_id': it has image, truth"),
        (("--csv", "-"), "image_id,truth\n", "there are no images in it"),
        (("--csv", "-"), "image_id,truth\na.jpg\n", "line 2: the truth of a.jpg is ''"),
        (("--csv", "-"), b"image_id,truth\n\xff,real\n", "the CSV must be UTF-8 text"),
    ],
)
def test_gold_that_is_wrong_is_refused_whole(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], stdin: str | bytes, message: str
) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
    ok("db", "upgrade")
    assert refused(modctl("gold", "add", *arguments, stdin=stdin)).startswith(message)
    assert ok("gold", "list", "--json").out == ""


def test_web_opens_the_page_for_this_reviewer_alone(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr("moderation.web.local.run", lambda _, reviewer, **how: called.append((reviewer, how)))
    ok("reviewer", "add", "eve", "--role", "senior")
    ok("review", "--web", "--reviewer", "eve", "--port", 8123, "--no-browser")
    ok("review", "--web")
    assert called == [
        ("eve", {"is_senior": True, "open_browser": False, "port": 8123}),
        ("olga", {"is_senior": False, "open_browser": True, "port": 0}),
    ]
    ok("reviewer", "remove", "eve", "--yes")
    assert "eve was removed" in refused(modctl("review", "--web", "--reviewer", "eve"))


def test_a_sitting_needs_a_terminal(filled: Store) -> None:
    assert "this needs a terminal; in scripts: modctl review next" in refused(modctl("review"))
