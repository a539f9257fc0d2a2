"""The audit trail: whoever changes, removes or adds an event outside it is found, at the first broken place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from moderation.domain.audit import Break, event_hash
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By, Events
from moderation.storage.tables import EventHeadRow, EventRow
from tests.store import Store

COUNT = 12


@pytest.fixture
def trail(store: Store) -> Database:
    """A chain of COUNT events, whatever the installation has written among them."""
    write(store.database, COUNT - count(store.database))
    assert Events(store.database).verify() == (COUNT, None)
    return store.database


def write(database: Database, number: int, actor: str = "ann") -> None:
    for at in range(number):
        with database.write() as session:
            payload = {"number": at, "share": 0.1 + 0.2, "é": [None, True, "x"]}
            events.append(database, session, "test.done", By(actor, "why: é"), image_id=f"a/{at}", payload=payload)


def count(database: Database) -> int:
    return Events(database).verify()[0]


def broken(database: Database) -> Break:
    found = Events(database).verify()[1]
    assert found is not None
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "bob"},
        {"reason": "other"},
        {"kind": "test.undone"},
        {"image_id": "b"},
        {"payload": {"number": 99}},
        {"hash": "0" * 64},
        {"prev_hash": "0" * 64},
        {"created_at": timedelta(microseconds=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_event_is_found(trail: Database, change: dict[str, object]) -> None:
    with trail.write() as session:
        if "created_at" in change:
            change = {"created_at": session.get_one(EventRow, 7).created_at + timedelta(microseconds=1)}
        session.execute(update(EventRow).where(EventRow.seq == 7).values(**change))
    assert broken(trail).seq == 7


def test_a_change_that_mends_its_own_hash_breaks_the_next(trail: Database) -> None:
    with trail.write() as session:
        row = session.get_one(EventRow, 7)
        row.actor = "bob"
        row.hash = event_hash(
            seq=row.seq, kind=row.kind, actor=row.actor, reason=row.reason, image_id=row.image_id,
            payload=row.payload, created_at=row.created_at, prev_hash=row.prev_hash,
        )  # fmt: skip
    found = broken(trail)
    assert (found.seq, found.problem) == (8, "it does not follow from the event before")


@pytest.mark.parametrize("seq", [1, 7, COUNT])
def test_a_removed_event_is_found_also_the_first_and_the_last(trail: Database, seq: int) -> None:
    with trail.write() as session:
        session.execute(delete(EventRow).where(EventRow.seq == seq))
    found = broken(trail)
    assert (found.seq, found.problem.partition(":")[0]) == (seq, "missing")


def test_all_events_removed_is_found(trail: Database) -> None:
    with trail.write() as session:
        session.execute(delete(EventRow))
    assert broken(trail).seq == 1


def test_without_its_head_the_chain_is_broken(trail: Database) -> None:
    with trail.write() as session:
        session.execute(delete(EventHeadRow))
    assert broken(trail).seq == COUNT


def test_an_event_added_past_the_end_is_found(trail: Database) -> None:
    with trail.write() as session:
        last = session.get_one(EventRow, COUNT)
        session.add(
            EventRow(
                seq=COUNT + 1, kind="test.done", actor="eve", reason="", image_id="", payload={},
                created_at=last.created_at, prev_hash=last.hash, hash="f" * 64,
            )
        )  # fmt: skip
    found = broken(trail)
    assert (found.seq, found.problem) == (COUNT + 1, "it was added past the end of the chain")


def test_swapped_events_are_found(trail: Database) -> None:
    def to(old: int, new: int) -> None:
        with trail.write() as session:
            session.execute(update(EventRow).where(EventRow.seq == old).values(seq=new))

    to(5, 500)
    to(6, 5)
    to(500, 6)
    assert broken(trail).seq == 5


def test_a_chain_longer_than_a_page_is_read_whole(trail: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_PAGE", 5)
    assert Events(trail).verify() == (COUNT, None)
    with trail.write() as session:
        session.execute(update(EventRow).where(EventRow.seq == 11).values(actor="bob"))
    assert broken(trail).seq == 11


def test_an_event_is_undone_with_what_it_records(trail: Database) -> None:
    def fail_after_appending() -> None:
        with trail.write() as session:
            events.append(trail, session, "test.done", By("ann"), payload={})
            raise RuntimeError("what it records went wrong")

    with pytest.raises(RuntimeError, match="went wrong"):
        fail_after_appending()
    assert Events(trail).verify() == (COUNT, None)


def test_eight_threads_append_to_one_unbroken_chain(trail: Database) -> None:
    start = threading.Barrier(8)

    def work(name: str) -> None:
        start.wait()
        write(trail, 25, actor=name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [f"thread {number}" for number in range(8)]))
    assert Events(trail).verify() == (COUNT + 200, None)
    actors = [event.actor for event in Events(trail).list(kind="test.done", limit=200)]
    assert {name: actors.count(name) for name in set(actors)} == {f"thread {number}": 25 for number in range(8)}


def test_while_others_append_the_chain_never_looks_broken(trail: Database) -> None:
    done = threading.Event()

    def until_done(check: Callable[[], object]) -> list[object]:
        found = []
        while not done.is_set():
            found.append(check())
        return found

    with ThreadPoolExecutor(2) as pool:
        looks = pool.submit(until_done, lambda: Events(trail).verify()[1])
        write(trail, 60)
        done.set()
        assert set(looks.result()) == {None}


def test_events_are_listed_by_what_is_asked(trail: Database) -> None:
    log = Events(trail)
    assert [event.seq for event in log.list(limit=3)] == [COUNT, COUNT - 1, COUNT - 2]
    assert {event.image_id for event in log.list(image_id="a/3")} == {"a/3"}
    assert log.list(kind="nothing") == []
    newest = log.list(limit=1)[0]
    assert log.list(since=newest.created_at + timedelta(microseconds=1)) == []
    assert newest.seq in [event.seq for event in log.list(since=newest.created_at)]
