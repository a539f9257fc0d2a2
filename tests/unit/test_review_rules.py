"""The rules of review: what a label is, who comes first, what is drawn, and a chain that shows tampering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.domain.audit import FIRST_HASH, Break, Event, Head, event_hash, first_broken
from moderation.domain.order import MAX_HEAD_START, due_at, uncertainty
from moderation.domain.policy import Policy, PolicyId, Thresholds, decide
from moderation.domain.review import (
    MAX_NOTE_CHARS,
    Act,
    Answer,
    Label,
    Reason,
    Review,
    ReviewId,
    Said,
    TaskId,
    Trust,
    check_reviewer,
    derive_label,
    shown_reason,
    standing,
)
from moderation.domain.sampling import draw, is_drawn
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REAL, FAKE, UNSURE = Answer.REAL, Answer.FAKE, Answer.UNSURE
WORDS = {"real": REAL, "fake": FAKE, "unsure": UNSURE}


def reviews(*said: str) -> list[Review]:
    """'ann real', 'ann skip', 'ann undo 1' (the number of a row, from 1)."""
    found = []
    for number, line in enumerate(said, 1):
        who, what, *which = line.split()
        act = Act.ANSWER if what in WORDS else Act(what)
        undoes = ReviewId(int(which[0])) if which else None
        found.append(
            Review(
                ReviewId(number), TaskId(1), ImageId("a"), who, act, WORDS.get(what), (), "", None, undoes,
                NOW + timedelta(seconds=number),
            )
        )  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("said", "trusted", "label"),
    [
        ((), (), Label(None, Trust.NONE, 0)),
        (("ann skip", "bob escalate"), (), Label(None, Trust.NONE, 0)),
        (("ann unsure",), (), Label(None, Trust.NONE, 0)),
        (("ann real",), (), Label(REAL, Trust.WEAK, 1)),
        (("ann real", "bob unsure"), (), Label(REAL, Trust.WEAK, 1)),
        (("ann real", "ann real"), (), Label(REAL, Trust.WEAK, 1)),  # twice is still one person
        (("ann real", "ann fake"), (), Label(FAKE, Trust.WEAK, 1)),
        (("ann real", "bob real"), (), Label(REAL, Trust.TRUSTED, 2)),
        (("ann real", "bob fake"), (), Label(None, Trust.DISPUTED, 2)),
        (("ann real", "bob fake", "cid fake"), (), Label(FAKE, Trust.TRUSTED, 3)),
        (("ann real", "bob fake", "cid unsure"), (), Label(None, Trust.DISPUTED, 2)),
        (("ann real", "bob fake", "cid fake", "dan real"), (), Label(None, Trust.DISPUTED, 4)),
        (("ann real",), ("ann",), Label(REAL, Trust.TRUSTED, 1)),
        (("ann real", "bob fake", "cid fake"), ("ann",), Label(REAL, Trust.TRUSTED, 3)),
        (("ann real", "eve fake"), ("ann", "eve"), Label(None, Trust.DISPUTED, 2)),
        (("ann unsure", "bob fake"), ("ann",), Label(FAKE, Trust.WEAK, 1)),
        (("ann real", "ann undo 1"), (), Label(None, Trust.NONE, 0)),
        (("ann real", "ann undo 1", "ann fake"), (), Label(FAKE, Trust.WEAK, 1)),
        (("ann real", "bob real", "bob undo 2"), (), Label(REAL, Trust.WEAK, 1)),
        (("ann fake", "ann real", "ann undo 2"), (), Label(FAKE, Trust.WEAK, 1)),
    ],
)
def test_a_label_is_what_the_reviews_add_up_to(said: Sequence[str], trusted: Sequence[str], label: Label) -> None:
    assert derive_label(reviews(*said), trusted) == label


NAMES = st.sampled_from(["ann", "bob", "cid", "dan"])
LINES = st.lists(st.tuples(NAMES, st.sampled_from(sorted(WORDS))).map(" ".join), max_size=8)


@given(LINES)
def test_only_two_people_who_agree_are_trusted_and_nothing_said_names_no_answer(lines: list[str]) -> None:
    given = reviews(*lines)
    label = derive_label(given)
    votes = [review.answer for review in standing(given) if review.answer is not UNSURE]
    assert label.votes == len(votes)
    if label.trust is Trust.TRUSTED:
        assert votes.count(label.answer) >= 2
        assert votes.count(label.answer) > len(votes) / 2
    if label.answer is None:
        assert votes.count(REAL) == votes.count(FAKE)


def test_a_note_and_a_name_have_limits() -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_NOTE_CHARS}"):
        Said(REAL, note="x" * (MAX_NOTE_CHARS + 1))
    assert check_reviewer("Ann Ö.") == "Ann Ö."
    for wrong in ("", " ", "x" * 81, "a\nb"):
        with pytest.raises(ValueError, match="1 to 80 printable characters"):
            check_reviewer(wrong)


def test_a_reviewer_is_not_told_what_the_machine_decided_nor_what_is_gold() -> None:
    told = {reason: shown_reason(reason) for reason in Reason}
    blind = {told[reason] for reason in (Reason.UNSURE, Reason.BLOCK_CHECK, Reason.AUDIT, Reason.GOLD)}
    assert len(blind) == 1
    assert told[Reason.APPEAL] == "appeal"


PRIORITIES = st.integers(-1000, 1000)


@given(st.floats(0, 1), PRIORITIES, st.floats(0, 1), PRIORITIES, st.integers(1, 10**6))
def test_nothing_starves(mine: float, low: int, theirs: float, high: int, seconds: int) -> None:
    """Twice the greatest head start after a task was made, everything newer comes behind it, whatever it is."""
    later = NOW + 2 * MAX_HEAD_START + timedelta(seconds=seconds)
    assert due_at(NOW, mine, low) < due_at(later, theirs, high)


@given(st.floats(0, 1), st.floats(0, 1), PRIORITIES, PRIORITIES)
def test_what_is_less_sure_or_more_urgent_goes_first(one: float, other: float, low: int, high: int) -> None:
    (one, other), (low, high) = sorted((one, other)), sorted((low, high))
    assert due_at(NOW, other, high) <= due_at(NOW, one, low)
    assert due_at(NOW, 1.0, 0) < due_at(NOW, 0.0, 0)
    assert NOW - MAX_HEAD_START <= due_at(NOW, other, max(0, high)) <= NOW


@given(st.floats(0, 1))
def test_uncertainty_is_greatest_on_a_threshold(probability: float) -> None:
    assert 0.0 <= uncertainty(probability, 0.5, 0.9) <= uncertainty(0.9, 0.5, 0.9) == 1.0
    assert uncertainty(0.0, 0.5, 0.9) == 0.0


def policy(audit: float, check: float, number: int = 1) -> Policy:
    at = Thresholds(0.5, 0.9, audit_rate=audit, block_check_rate=check)
    return Policy(PolicyId(number), "*", at, "ann", "", None, NOW)


def drawn(rule: Policy, probability: float, count: int = 4000) -> list[str]:
    decision = decide(probability, rule.thresholds)
    ids = [ImageId(f"uploads/{number}") for number in range(count)]
    return [each for each in ids if draw(each, decision, probability, rule)]


def test_every_unsure_verdict_is_drawn_and_shares_of_the_others() -> None:
    rule = policy(audit=0.05, check=0.2)
    assert len(drawn(rule, 0.7)) == 4000
    for probability, rate in ((0.1, 0.05), (0.95, 0.2)):
        spread = 4 * (4000 * rate * (1 - rate)) ** 0.5
        assert abs(len(drawn(rule, probability)) - 4000 * rate) < spread
    assert drawn(policy(0.0, 0.0), 0.1) == drawn(policy(0.0, 0.0), 0.95) == []
    assert len(drawn(policy(1.0, 1.0), 0.1)) == 4000


def test_the_reason_and_the_chance_go_with_the_draw() -> None:
    rule = policy(audit=1.0, check=1.0)
    for probability, reason in ((0.1, Reason.AUDIT), (0.7, Reason.UNSURE), (0.95, Reason.BLOCK_CHECK)):
        found = draw(ImageId("a"), decide(probability, rule.thresholds), probability, rule)
        assert found is not None
        assert (found.reason, found.inclusion_probability) == (reason, 1.0)
        assert found.uncertainty == uncertainty(probability, 0.5, 0.9)


def test_a_draw_comes_out_the_same_again_and_anew_with_each_policy() -> None:
    one, other = policy(0.1, 0.1, number=1), policy(0.1, 0.1, number=2)
    assert drawn(one, 0.1) == drawn(one, 0.2) == drawn(one, 0.1)  # whatever the score within a decision
    assert set(drawn(one, 0.1)) != set(drawn(other, 0.1))


@given(st.text(min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_rate_draws_what_a_lower_one_does(key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert not is_drawn(key, low) or is_drawn(key, high)
    assert is_drawn(key, 1.0)
    assert not is_drawn(key, 0.0)


def chain(count: int) -> tuple[list[Event], Head]:
    events, before = [], FIRST_HASH
    for seq in range(1, count + 1):
        said: dict[str, Any] = {
            "seq": seq, "kind": "review.answer", "actor": "ann", "reason": "é", "image_id": "a",
            "payload": {"n": seq, "share": 0.1}, "created_at": NOW, "prev_hash": before,
        }  # fmt: skip
        before = event_hash(**said)
        events.append(Event(**said, hash=before))
    return events, Head(count, before)


def test_a_whole_chain_holds() -> None:
    assert first_broken([], Head(0, FIRST_HASH)) is None
    assert first_broken(*chain(5)) is None


@given(st.integers(1, 6), st.sampled_from(["kind", "actor", "reason", "image_id", "payload", "created_at"]))
def test_a_changed_event_is_found_where_it_stands(seq: int, field: str) -> None:
    events, head = chain(6)
    other: dict[str, Any] = {"payload": {"n": 0}, "created_at": NOW + timedelta(microseconds=1)}
    events[seq - 1] = replace(events[seq - 1], **{field: other.get(field, "other")})
    found = first_broken(events, head)
    assert found is not None
    assert found.seq == seq


@given(st.integers(1, 6))
def test_a_removed_event_is_missed_at_the_end_too(seq: int) -> None:
    events, head = chain(6)
    del events[seq - 1]
    found = first_broken(events, head)
    assert isinstance(found, Break)
    assert (found.seq, found.problem.startswith("missing")) == (seq, True)


def test_an_event_made_anew_with_its_hash_breaks_the_next_link() -> None:
    events, head = chain(3)
    said = {name: getattr(events[1], name) for name in Event.__slots__ if name != "hash"} | {"actor": "bob"}
    events[1] = Event(**said, hash=event_hash(**said))
    assert first_broken(events, head) == Break(3, "it does not follow from the event before")


def test_a_decision_is_drawn_by_its_own_rate() -> None:
    assert drawn(policy(audit=1.0, check=0.0), 0.95) == []
    assert draw(ImageId("a"), Decision.ALLOW, 0.1, policy(audit=0.0, check=1.0)) is None
