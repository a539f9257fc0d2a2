"""modctl threshold, estimate and audit as an operator calls them, on SQLite and PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, update

from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.review import Answer
from moderation.storage.database import Database
from moderation.storage.tables import EventRow
from tests.command import Done, modctl, ok
from tests.moderated import answer, score
from tests.store import Store, furnish, numbered

AT = Thresholds(0.5, 0.9, audit_rate=1.0, block_check_rate=1.0)


@pytest.fixture
def filled(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """modctl is set to a database of 40 reviewed images: fakes from .5 up, and all of it drawn."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", database_url)
    monkeypatch.setenv("MODERATION_ACTOR", "olga")
    ok("db", "upgrade")
    database = Database(database_url)
    store = furnish(database)
    store.policies.set(ANY_SOURCE, AT, author="ann", reason="look at everything")
    real, fake = numbered(30), numbered(10, start=100)
    score(store, dict.fromkeys(real, 0.1) | {real[0]: 0.45, real[1]: 0.6})
    score(store, dict.fromkeys(fake[:6], 0.95) | dict.fromkeys(fake[6:], 0.7))
    answer(store, dict.fromkeys(real, Answer.REAL) | dict.fromkeys(fake, Answer.FAKE))
    yield store
    database.dispose()


def usage(done: Done) -> str:
    assert (done.code, done.out) == (2, ""), done
    return done.err.rpartition("Error: ")[2].strip()


def version() -> int:
    (shown,) = ok("threshold", "show", "--json").lines()
    found: int = shown["policy_id"]
    return found


def test_preview_shows_moves_load_errors_and_samples_and_sets_nothing(filled: Store) -> None:
    before = version()
    found = ok("threshold", "preview", "--review-at", 0.4, "--block-at", 0.65, "--json").json()
    moves = {(m["before"], m["after"]): (m["images"], len(m["sample"])) for m in found["moves"] if m["images"]}
    assert moves == {
        ("ALLOW", "ALLOW"): (28, 0), ("ALLOW", "REVIEW"): (1, 1), ("REVIEW", "REVIEW"): (1, 0),
        ("REVIEW", "BLOCK"): (4, 4), ("BLOCK", "BLOCK"): (6, 0),
    }  # fmt: skip
    assert found["images"] == 40
    assert found["after"]["decisions"] == {"ALLOW": 28, "REVIEW": 2, "BLOCK": 10}
    assert found["before"]["real_to_review"]["value"] == pytest.approx(1)
    assert found["after"]["real_to_review"]["value"] == pytest.approx(2)
    assert found["after"]["fakes_allowed"]["value"] == 0
    assert found["after"]["fakes_allowed"]["high"] > 0
    assert found["before"]["load_per_day"] == {"unsure": 5, "block_check": 6, "audit": 29}

    shown = ok("threshold", "preview", "--block-at", 0.65).out
    assert "40 images scored in 1.0 days by prompt" in shown
    assert "REVIEW -> BLOCK, e.g.: uploads/00109.jpg" in shown
    assert "\x1b" not in shown
    assert version() == before


def test_preview_is_of_what_the_thresholds_would_hold_for(filled: Store) -> None:
    score(filled, {"web/1": 0.7}, source="web")
    assert ok("threshold", "preview", "--block-at", 0.65, "--json").json()["images"] == 41
    ok("threshold", "set", "--block-at", 0.6, "--source", "web", "--reason", "x", "--yes")
    assert ok("threshold", "preview", "--block-at", 0.65, "--json").json()["images"] == 40
    web = ok("threshold", "preview", "--block-at", 0.8, "--source", "web", "--json").json()
    assert (web["images"], web["before"]["thresholds"]["block_at"]) == (1, 0.6)
    assert ok("threshold", "preview", "--block-at", 0.8, "--source", "new").out == (
        "No stored score is concerned: nothing would move.\n"
    )
    late = ok("threshold", "preview", "--block-at", 0.65, "--since", "2100-01-01", "--json").json()
    assert late["images"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to set: give --review-at"),
        (("--review-at", "0.95"), "review_at 0.95 lies above block_at 0.9; swap them"),
        (("--block-at", "1.5"), "block_at is 1.5, must lie in 0..1"),
        (("--block-at", "0.8", "--source", ""), "--source has 1 to 200 printable characters"),
    ],
)
def test_preview_refuses_what_set_would_refuse(filled: Store, arguments: tuple[str, ...], message: str) -> None:
    assert usage(modctl("threshold", "preview", *arguments)).startswith(message)


def test_set_shows_the_preview_before_it_asks(filled: Store) -> None:
    before = version()
    done = modctl("threshold", "set", "--block-at", 0.65, "--reason", "too late")
    assert usage(done) == "this changes data and there is no terminal to ask on; add --yes"
    assert "block_at          0.9 -> 0.65" in done.err
    assert "REVIEW -> BLOCK, e.g.: uploads/00109.jpg" in done.err
    assert version() == before
    set_ = ok("threshold", "set", "--block-at", 0.65, "--reason", "too late", "--actor", "bob", "--yes", "--json")
    assert set_.json()["author"] == "bob"
    assert "REVIEW -> BLOCK" not in set_.err


def test_rollback_is_a_new_version_with_the_old_numbers(filled: Store) -> None:
    old = version()
    new = ok("threshold", "set", "--block-at", 0.65, "--reason", "too late", "--yes", "--json").json()
    assert usage(modctl("threshold", "rollback", old, "--yes")) == "Missing option '--reason'."
    assert usage(modctl("threshold", "rollback", old, "--reason", " ", "--yes")).startswith("--reason is empty")
    assert "add --yes" in usage(modctl("threshold", "rollback", old, "--reason", "complaints"))
    back = ok("threshold", "rollback", old, "--reason", "complaints", "--yes", "--json").json()
    assert (back["parent"], back["author"], back["reason"]) == (new["policy_id"], "olga", "complaints")
    assert back["thresholds"]["block_at"] == 0.9
    event = ok("audit", "log", "--kind", "policy.set", "--limit", 1, "--json").json()
    assert event["payload"] == {
        "policy": back["policy_id"], "source": "*", "parent": new["policy_id"], "restores": old, **back["thresholds"],
    }  # fmt: skip
    again = usage(modctl("threshold", "rollback", old, "--reason", "complaints", "--yes"))
    assert again == f"the numbers of version {old} hold for source * already"
    unknown = modctl("threshold", "rollback", 999, "--reason", "x", "--yes")
    assert (unknown.code, unknown.err) == (2, "Error: version: there is no 999\n  see: modctl threshold history\n")


def test_history_names_author_reason_and_parent(filled: Store) -> None:
    ok("threshold", "set", "--block-at", 0.6, "--source", "web", "--reason", "children", "--yes")
    newest, *older = ok("threshold", "history", "--json").lines()
    assert (newest["source"], newest["author"], newest["reason"], newest["parent"]) == ("web", "olga", "children", None)
    assert [each["author"] for each in older] == ["ann", "antifake-moderation"]
    assert older[0]["parent"] == older[1]["policy_id"]
    assert len(ok("threshold", "history", "--source", "web", "--json").lines()) == 1
    shown = ok("threshold", "history").out
    assert all(word in shown for word in ("children", "olga", "look at everything", "parent"))
    assert ok("threshold", "history", "--source", "new").out == (
        "new has no thresholds of its own; those of '*' hold.\n"
    )


def test_suggest_refuses_with_too_few_labels_and_says_how_many_more(filled: Store) -> None:
    done = modctl("threshold", "suggest", "--max-fpr", 0.01)
    assert (done.code, done.out) == (4, "")
    assert done.err == (
        "No threshold is proven to keep the false-positive rate below 1.00 %: at least 269 more images labelled real "
        "are needed (30 images labelled real so far).\n"
    )
    done = modctl("threshold", "suggest", "--max-fpr", 0.01, "--json")
    assert (done.code, done.json()["certificate"]["more"]) == (4, 269)


def test_suggest_names_the_threshold_and_what_it_rests_on(filled: Store) -> None:
    found = ok("threshold", "suggest", "--max-fpr", 0.1, "--json").json()
    assert found["certificate"]["threshold"] == 0.601
    assert (found["certificate"]["flagged"], found["certificate"]["real"], found["flagged"]) == (0, 30, 10)
    done = ok("threshold", "suggest", "--max-fpr", 0.1)
    assert "exact binomial (Clopper-Pearson)" in done.out
    assert "10 of 40 images" in done.out
    assert done.err == "See what it would change: modctl threshold preview --block-at 0.601\n"
    ok("threshold", "preview", "--block-at", 0.601)
    assert "0<x<1" in usage(modctl("threshold", "suggest", "--max-fpr", 1))


def test_without_scipy_suggest_says_how_to_get_it_and_the_rest_works(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("moderation.evaluation", "moderation.flows"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("numpy", "scipy"):
        monkeypatch.setitem(sys.modules, name, None)
    done = modctl("threshold", "suggest", "--max-fpr", 0.1)
    assert (done.code, done.out) == (2, "")
    assert "pip install 'antifake-moderation[train]'" in done.err
    ok("estimate")
    ok("threshold", "preview", "--block-at", 0.8)


def test_suggest_is_blind_where_no_blocked_image_was_checked(filled: Store) -> None:
    ok("threshold", "set", "--block-check-rate", 0, "--source", "web", "--reason", "x", "--yes")
    score(filled, {"web/1": 0.95}, source="web")
    done = modctl("threshold", "suggest", "--max-fpr", 0.1)
    assert done.code == 4
    assert "nobody has looked at images that score highest (BLOCK, 0 % drawn)" in done.err
    assert "none are drawn while block_check_rate is 0, so raise it." in done.err
    assert done.err.endswith("leave them out: --since.\n")


def test_estimate_says_how_good_the_thresholds_are(filled: Store) -> None:
    found = ok("estimate", "--json").json()
    assert found["images"] == 40
    assert found["prevalence"]["value"] == pytest.approx(0.25)
    assert found["review_at"]["false_positive_rate"]["value"] == pytest.approx(1 / 30)
    assert found["review_at"]["recall"]["value"] == pytest.approx(1)
    assert found["review_at"]["precision"]["value"] == pytest.approx(10 / 11)
    assert found["block_at"]["recall"]["value"] == pytest.approx(0.6)
    shown = ok("estimate").out
    assert "BLOCK, 100 % drawn        6      6         6  100.00 % [" in shown
    assert "prevalence of fakes  25.00 % [" in shown
    assert ok("estimate", "--source", "nowhere").out == "No verdict fits.\n"


def test_estimate_changes_with_an_answer_and_says_what_it_lacks(filled: Store) -> None:
    ok("threshold", "set", "--audit-rate", 0, "--source", "web", "--reason", "x", "--yes")
    score(filled, {"web/1": 0.1, "web/2": 0.7, "web/3": 0.7}, source="web")
    before = ok("estimate", "--source", "web").out
    assert "No label among 2 REVIEW images, so figures that need them are ?: 2 drawn, not reviewed yet." in before
    assert "No label among 1 ALLOW image, so figures that need them are ?: none are drawn while audit_rate" in before
    answer(filled, {"web/2": Answer.FAKE})
    found = ok("estimate", "--source", "web", "--json").json()
    assert (found["prevalence"], found["review_at"]["precision"]["value"]) == (None, 1.0)


def test_all_of_it_is_in_the_audit_log(filled: Store) -> None:
    ok("threshold", "set", "--block-at", 0.8, "--reason", "too late", "--yes")
    newest, *others = ok("audit", "log", "--all", "--json").lines()
    assert (newest["kind"], newest["actor"], newest["reason"]) == ("policy.set", "olga", "too late")
    assert [each["kind"] for each in others].count("review.answer") == 40
    (about,) = ok("audit", "log", "--image", "uploads/00003.jpg", "--json").lines()
    assert (about["actor"], about["payload"]["answer"]) == ("ann", "real")
    assert len(ok("audit", "log", "--json").lines()) == len(ok("audit", "log", "--limit", 50, "--json").lines())
    assert ok("audit", "log", "--kind", "nothing").out == "No event fits.\n"
    assert ok("audit", "log", "--since", "2100-01-01", "--json").out == ""
    assert "too late" in ok("audit", "log", "--limit", 2).out


def test_a_changed_or_removed_event_is_named(filled: Store) -> None:
    whole = ok("audit", "verify", "--json").json()
    assert whole["broken"] is None
    assert ok("audit", "verify").out.startswith(f"The audit trail is whole: {whole['events']} events.\n")
    with filled.database.write() as session:
        session.execute(update(EventRow).where(EventRow.seq == 9).values(reason="nothing happened"))
    done = modctl("audit", "verify")
    assert (done.code, done.out) == (4, "")
    assert (
        done.err == "Error: the audit trail is broken at seq 9: it was changed: its hash is not that of its content\n"
    )
    with filled.database.write() as session:
        session.execute(delete(EventRow).where(EventRow.seq == 5))
    done = modctl("audit", "verify", "--json")
    assert (done.code, done.json()["broken"]["seq"]) == (4, 5)
