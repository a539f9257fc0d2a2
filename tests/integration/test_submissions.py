"""Submissions: what the platform asks is written once, however often and by however many it is asked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from moderation.domain.submission import ImageId, State
from tests.store import Store, numbered, rejected


def test_a_new_image_is_pending_and_due_at_once(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    assert store.add("a", source="avatars", priority=3) == ["a"]
    row = store.row("a")
    assert (row.source, row.priority, row.state, row.round) == ("avatars", 3, State.PENDING, 1)
    assert (row.attempts, row.crashes, row.claimed, row.finished_at) == (0, 0, False, None)
    assert before < row.submitted_at < datetime.now(UTC) + timedelta(seconds=5)
    assert row.not_before <= row.submitted_at
    assert store.submissions.get(ImageId("b")) is None


def test_a_known_image_is_left_as_it_is(store: Store) -> None:
    store.add("a", source="first", priority=1)
    store.score(store.take("a"))
    assert store.add("a", "b", source="second", priority=9) == ["b"]
    row = store.row("a")
    assert (row.source, row.priority, row.state, row.round) == ("first", 1, State.DONE, 1)


def test_force_begins_a_new_round(store: Store) -> None:
    store.add("a", source="first")
    claim = store.take("a")
    store.claims.settle(claim, [rejected(claim.images[0])], None)
    assert store.add("a", "b", source="second", priority=2, force=True) == ["a", "b"]
    row = store.row("a")
    assert (row.source, row.priority, row.state, row.round) == ("second", 2, State.PENDING, 2)
    assert (row.attempts, row.finished_at, row.reason, row.detail) == (0, None, "", "")
    assert store.row("b").round == 1


def test_an_id_named_twice_in_one_call_is_one_image(store: Store) -> None:
    assert store.add("b", "a", "b", "b") == ["b", "a"]
    assert store.add("a", "a", force=True) == ["a"]
    assert store.row("a").round == 2


def test_five_thousand_ids_in_one_call(store: Store) -> None:
    names = numbered(5_000)
    assert store.add(*names) == list(names)
    assert store.add(*names) == []
    assert store.add(*names, "another") == ["another"]
    assert store.submissions.counts()["waiting"] == 5_001


def test_ids_of_any_script_and_punctuation_survive(store: Store) -> None:
    names = ["фото/кот.jpg", "写真 1.png", "%s?a=1&b='2'", '"quoted"', "emoji 🐈.gif", "a\\b", "x" * 512]
    assert store.add(*names) == names
    assert set(store.states()) == set(names)


def test_many_submitters_at_once_take_each_id_up_once(store: Store) -> None:
    names = numbered(300)
    start = threading.Barrier(6)

    def submit(turn: int) -> list[ImageId]:
        start.wait()
        mine = names if turn % 2 else names[::-1]
        return store.add(*mine)

    with ThreadPoolExecutor(6) as platform:
        found = [name for part in platform.map(submit, range(6)) for name in part]
    assert sorted(found) == sorted(names)


def test_forced_submissions_at_once_each_count_a_round(store: Store) -> None:
    names = numbered(50)
    start = threading.Barrier(4)

    def submit(turn: int) -> None:
        start.wait()
        store.add(*(names if turn % 2 else names[::-1]), force=True)

    with ThreadPoolExecutor(4) as platform:
        list(platform.map(submit, range(4)))
    assert {row.round for row in store.submissions.list(limit=None)} == {4}


def test_listing_by_state_and_source(store: Store) -> None:
    store.add("a", "b", source="avatars")
    store.add("c")
    store.score(store.take("a", limit=1))
    assert [row.image_id for row in store.submissions.list()] == ["c", "a", "b"]
    assert [row.image_id for row in store.submissions.list(limit=1)] == ["c"]
    assert [row.image_id for row in store.submissions.list(source="avatars", state=State.PENDING)] == ["b"]
    assert [row.image_id for row in store.submissions.list(state=State.DONE)] == ["a"]


def test_the_oldest_pending(store: Store) -> None:
    assert store.submissions.oldest_pending() is None
    store.add("old")
    store.add("young")
    assert store.submissions.oldest_pending() == store.row("old").submitted_at
    store.score(store.take("old", limit=1))
    assert store.submissions.oldest_pending() == store.row("young").submitted_at
