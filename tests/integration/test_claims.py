"""Claims: each image is held by one worker at a time, and none is lost, doubled or taken down by its neighbours."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, event, func, make_url, select, text, update

from moderation.domain.claim import Claim, Outcome, Postponed, Rejected
from moderation.domain.submission import MAX_CRASHES, ImageId, State
from moderation.domain.verdict import Decision
from moderation.embedded import Server
from moderation.errors import RejectReason
from moderation.storage.tables import ImageRow, SubmissionRow, VerdictRow
from tests.store import FACTS, LONG_S, OVER_S, Store, furnish, ids, numbered, open_database, rejected, taken


def test_take_gives_the_ids_asked_for_first_and_fills_up_by_priority_then_age(store: Store) -> None:
    store.add("old")
    store.add("young")
    store.add("urgent", priority=5)
    store.add("asked for")
    claim = store.take("asked for", limit=3)
    assert taken(claim) == {"asked for", "urgent", "old"}
    assert taken(store.take(limit=3)) == {"young"}


def test_take_never_gives_more_than_the_limit(store: Store) -> None:
    names = numbered(10)
    store.add(*names)
    assert len(store.take(*names, limit=4).images) == 4
    assert len(store.take(limit=4).images) == 4
    assert len(store.take(limit=4).images) == 2
    assert store.claims.take([], limit=4, lease_s=LONG_S) is None


def test_a_claimed_image_is_not_given_again(store: Store) -> None:
    store.add("a", "b")
    store.take("a", limit=1)
    assert taken(store.take("a", "b")) == {"b"}
    assert store.claims.take_alone(ImageId("a"), lease_s=LONG_S) is None


def test_a_finished_image_is_not_given_again(store: Store) -> None:
    store.add("good", "bad")
    claim = store.take()
    good, bad = sorted(claim.images, key=lambda image: image.image_id, reverse=True)
    store.claims.settle(claim, [store.scored(good), rejected(bad)], store.by)
    assert store.claims.take(ids("good", "bad"), limit=8, lease_s=LONG_S) is None


def test_a_claim_tells_what_was_asked(store: Store) -> None:
    store.add("a", source="avatars")
    claim = store.take("a")
    (image,) = claim.images
    assert (image.source, image.round, image.attempts) == ("avatars", 1, 1)
    assert image.submitted_at <= claim.claimed_at
    assert store.row("a").claimed


def test_eight_workers_at_once_never_share_an_image(store: Store) -> None:
    names = numbered(2_000)
    store.add(*names)
    start = threading.Barrier(8)

    def work(_: int) -> list[Claim]:
        claims = []
        start.wait()
        while store.submissions.counts()["waiting"]:
            claim = store.claims.take([], limit=32, lease_s=LONG_S)
            if claim:  # else others were just claiming every row that is left
                claims.append(claim)
                assert store.score(claim) == []
        return claims

    with ThreadPoolExecutor(8) as workers:
        claims = [claim for found in workers.map(work, range(8)) for claim in found]
    held = Counter(image.image_id for claim in claims for image in claim.images)
    assert set(held.values()) == {1}
    assert len(held) == store.submissions.counts()["done"] == sum(store.verdicts.counts().values()) == 2_000


def test_the_same_ids_asked_for_at_once_go_to_one_worker(store: Store) -> None:
    names = numbered(64)
    store.add(*names)
    start = threading.Barrier(6)

    def work(_: int) -> set[str]:
        start.wait()
        return taken(store.claims.take(ids(*names), limit=64, lease_s=LONG_S))

    with ThreadPoolExecutor(6) as workers:
        found = list(workers.map(work, range(6)))
    assert sum(map(len, found)) == len(set().union(*found))
    assert set().union(*found) <= set(names)


def test_workers_and_forced_submissions_do_not_lock_each_other_out(store: Store) -> None:
    names = numbered(60)
    store.add(*names)
    over = threading.Event()

    def force(turn: int) -> None:
        for _ in range(8):
            store.add(*(names if turn % 2 else names[::-1]), force=True)

    def work(_: int) -> None:
        while not over.is_set():
            claim = store.claims.take([], limit=16, lease_s=LONG_S)
            if claim:
                store.claims.renew([claim.token], lease_s=LONG_S)
                store.score(claim)
            store.claims.expire()

    with ThreadPoolExecutor(6) as threads:
        workers = [threads.submit(work, number) for number in range(3)]
        try:
            list(threads.map(force, range(3)))
        finally:
            over.set()
        for worker in workers:
            worker.result()
    while claim := store.claims.take([], limit=64, lease_s=LONG_S):
        assert store.score(claim) == []
    assert {row.round for row in store.submissions.list(limit=None)} == {25}
    assert all(verdict.round == 25 for verdict in store.verdicts.latest(ids(*names)).values())


@pytest.fixture
def english_url(postgres_server: Server) -> Iterator[str]:
    """A PostgreSQL database that sorts a < A < b, as most outside of tests do; Python sorts A < B < a."""
    url = make_url(postgres_server.url).set(database=f"english_{uuid.uuid4().hex}")
    engine = create_engine(postgres_server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as line:
        line.execute(text(f"CREATE DATABASE {url.database} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"))
        yield url.render_as_string(hide_password=False)
        line.execute(text(f"DROP DATABASE {url.database} WITH (FORCE)"))
    engine.dispose()


def test_nor_do_they_where_the_database_sorts_by_a_language(english_url: str) -> None:
    with open_database(english_url) as database:
        store = furnish(database)
        names = [f"{letter}{number}" for number in range(10) for letter in "aAbBcC"]
        store.add(*names)
        over = threading.Event()

        def work(_: int) -> None:
            while not over.is_set():
                if claim := store.claims.take([], limit=16, lease_s=LONG_S):
                    store.score(claim)

        def force(_: int) -> None:
            for _ in range(30):
                store.add(*names, force=True)

        with ThreadPoolExecutor(6) as threads:
            workers = [threads.submit(work, number) for number in range(3)]
            try:
                list(threads.map(force, range(3)))
            finally:
                over.set()
            for worker in workers:
                worker.result()  # a deadlock would be ServiceDown


def test_settle_writes_the_verdict_and_what_was_seen(store: Store) -> None:
    store.add("a", source="avatars")
    claim = store.take("a")
    assert store.score(claim, probability=0.125) == []
    row = store.row("a")
    assert (row.state, row.claimed, row.attempts, row.crashes, row.reason) == (State.DONE, False, 1, 0, "")
    assert row.finished_at is not None
    assert row.finished_at >= row.submitted_at
    verdict = store.verdicts.latest(ids("a"))[ImageId("a")]
    assert (verdict.probability, verdict.margin, verdict.decision) == (0.125, -1.5, Decision.ALLOW)
    assert (verdict.source, verdict.round, verdict.shadow) == ("avatars", 1, False)
    assert (verdict.prompt_id, verdict.backbone, verdict.versions) == (
        store.by.prompt_id,
        store.by.backbone,
        store.by.versions,
    )
    assert verdict.image_sha256 == FACTS.sha256
    with store.database.read() as session:
        image = session.get_one(ImageRow, "a")
    assert (image.sha256, image.width, image.height, image.format, image.bytes) == (
        FACTS.sha256,
        FACTS.width,
        FACTS.height,
        FACTS.format,
        FACTS.bytes,
    )


def test_settle_records_why_an_image_failed(store: Store) -> None:
    store.add("a")
    claim = store.take("a")
    assert store.claims.settle(claim, [rejected(claim.images[0])], None) == []
    row = store.row("a")
    assert (row.state, row.reason, row.detail) == (State.FAILED, "truncated", "its second half is missing")
    assert store.submissions.failures() == {RejectReason.TRUNCATED: 1}
    assert store.verdicts.latest(ids("a")) == {}


def test_a_detail_that_no_text_column_takes_is_told_as_far_as_it_can_be(store: Store) -> None:
    store.add("a", "b")
    claim = store.take()
    first, second = claim.images
    outcomes: list[Outcome] = [
        Rejected(first, RejectReason.UNSUPPORTED, "brand \0\ud800"),
        Postponed(second, 0.0, "\0"),
    ]
    assert store.claims.settle(claim, outcomes, None) == []
    assert (store.row("a").detail, store.row("b").detail) == ("brand ??", "?")
    store.claims.abandon(store.take("b"), "ValueError: \0")
    assert store.row("b").detail == "ValueError: ?"


def test_settle_is_all_or_nothing(store: Store) -> None:
    store.add("a", "b")
    claim = store.take()
    first, second = claim.images
    broken = store.scored(second)
    object.__setattr__(broken, "policy_id", 999)  # no such policy
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        store.claims.settle(claim, [store.scored(first), broken], store.by)
    assert store.verdicts.list() == []
    assert store.submissions.counts()["claimed"] == 2
    assert store.score(claim) == []


def test_settling_twice_gives_one_verdict(store: Store) -> None:
    store.add("a")
    claim = store.take("a")
    assert store.score(claim) == []
    assert store.score(claim) == ["a"]
    assert len(store.verdicts.list()) == 1


def test_a_worker_that_comes_back_late_changes_nothing(store: Store) -> None:
    store.add("a", "b")
    late = store.take("a", "b", lease_s=OVER_S)
    store.claims.expire()
    store.score(store.alone("a"), probability=0.75)
    assert set(store.score(late, probability=0.25)) == {"a", "b"}
    assert store.verdicts.latest(ids("a", "b"))[ImageId("a")].probability == 0.75
    assert store.states() == {"a": State.DONE, "b": State.PENDING}


def test_a_late_failure_does_not_undo_a_verdict(store: Store) -> None:
    store.add("a")
    late = store.take("a", lease_s=OVER_S)
    store.claims.expire()
    store.score(store.alone("a"))
    assert store.claims.settle(late, [rejected(late.images[0])], None) == ["a"]
    assert store.states() == {"a": State.DONE}


def test_part_of_a_batch_may_come_late(store: Store) -> None:
    store.add("a", "b")
    claim = store.take("a", "b")
    store.add("a", force=True)
    assert store.score(claim) == ["a"]
    assert store.states() == {"a": State.PENDING, "b": State.DONE}


def test_a_forced_round_refuses_the_result_of_the_round_before(store: Store) -> None:
    store.add("a")
    before = store.take("a")
    assert store.add("a", force=True) == ["a"]
    again = store.take("a")
    assert [image.round for image in again.images] == [2]
    assert store.score(before, probability=0.1) == ["a"]
    assert store.score(again, probability=0.9) == []
    assert [(verdict.round, verdict.probability) for verdict in store.verdicts.list()] == [(2, 0.9)]


def test_every_round_keeps_its_verdict(store: Store) -> None:
    for probability in (0.1, 0.9):
        store.add("a", force=True)
        store.score(store.take("a"), probability)
    assert [(verdict.round, verdict.probability) for verdict in store.verdicts.list()] == [(2, 0.9), (1, 0.1)]
    assert store.verdicts.latest(ids("a"))[ImageId("a")].probability == 0.9


def test_a_postponed_image_waits_for_its_time(store: Store) -> None:
    store.add("later", "soon")
    claim = store.take()
    delays = {"later": 3_600.0, "soon": 0.0}
    outcomes = [Postponed(image, delays[image.image_id], "the source is away") for image in claim.images]
    assert store.claims.settle(claim, outcomes, None) == []
    row = store.row("later")
    assert (row.state, row.attempts, row.detail, row.finished_at) == (State.PENDING, 1, "the source is away", None)
    assert 3_500 < (row.not_before - row.submitted_at).total_seconds() < 3_800
    assert store.submissions.counts()["retrying"] == 1
    assert store.claims.owed(ring_again_s=0.0, limit=8, suspects_limit=8) == (["soon"], [])
    again = store.take("later", "soon")
    assert [(image.image_id, image.attempts) for image in again.images] == [("soon", 2)]
    assert store.claims.take_alone(ImageId("later"), lease_s=LONG_S) is None


def test_a_lease_that_is_kept_does_not_end(store: Store) -> None:
    store.add("kept", "lost")
    kept, lost = store.take("kept", limit=1, lease_s=OVER_S), store.take("lost", limit=1, lease_s=OVER_S)
    store.claims.renew([kept.token], lease_s=LONG_S)
    assert store.claims.expire() == (1, 0)
    assert store.score(kept) == []
    assert store.score(lost) == ["lost"]


def test_a_vanished_worker_frees_its_images_and_they_ride_alone(store: Store) -> None:
    store.add("a", "b", "innocent")
    store.take("a", "b", limit=2, lease_s=OVER_S)
    assert store.claims.expire() == (2, 0)
    assert store.claims.expire() == (0, 0)
    assert (store.row("a").crashes, store.row("a").claimed) == (1, False)
    assert set(store.claims.suspects(ids("a", "b", "innocent", "unknown"))) == {"a", "b"}
    assert taken(store.take("a", "b")) == {"innocent"}
    assert taken(store.alone("a")) == {"a"}


def test_an_image_is_given_up_after_the_third_worker(store: Store) -> None:
    store.add("poison")
    store.take("poison", lease_s=OVER_S)
    assert store.claims.expire() == (1, 0)
    store.alone("poison", lease_s=OVER_S)
    assert store.claims.expire() == (1, 0)
    store.alone("poison", lease_s=OVER_S)
    assert store.claims.expire() == (0, 1)
    row = store.row("poison")
    assert (row.state, row.reason, row.crashes) == (State.FAILED, RejectReason.CRASHED, MAX_CRASHES)
    assert "3 workers" in row.detail
    assert row.finished_at is not None
    assert store.claims.take_alone(ImageId("poison"), lease_s=LONG_S) is None


def test_a_new_round_begins_without_suspicion(store: Store) -> None:
    store.add("poison")
    for _ in range(MAX_CRASHES):
        store.crash("poison")
    assert store.states() == {"poison": State.FAILED}
    store.add("poison", force=True)
    row = store.row("poison")
    assert (row.state, row.crashes, row.attempts, row.round, row.reason, row.detail) == (
        State.PENDING,
        0,
        0,
        2,
        "",
        "",
    )
    assert store.score(store.take("poison")) == []


def test_a_crash_is_not_explained_by_an_earlier_tries_trouble(store: Store) -> None:
    store.add("a")
    claim = store.take("a")
    store.claims.settle(claim, [Postponed(claim.images[0], 0.0, "the source is away")], None)
    for _ in range(MAX_CRASHES):
        store.crash("a")
    row = store.row("a")
    assert row.reason == RejectReason.CRASHED
    assert "3 workers" in row.detail


def test_an_abandoned_claim_counts_as_a_crash_and_says_why_in_the_end(store: Store) -> None:
    store.add("guilty")
    store.claims.abandon(store.take("guilty"), "ValueError: boom")
    assert store.claims.expire() == (1, 0)
    for _ in range(MAX_CRASHES - 1):
        store.claims.abandon(store.alone("guilty"), "ValueError: boom")
        store.claims.expire()
    row = store.row("guilty")
    assert (row.state, row.reason, row.detail) == (State.FAILED, RejectReason.CRASHED, "ValueError: boom")


def test_given_back_images_are_as_if_never_claimed(store: Store) -> None:
    store.add("a")
    claim = store.take("a")
    store.claims.give_back(claim)
    row = store.row("a")
    assert (row.claimed, row.attempts, row.crashes, row.state) == (False, 0, 0, State.PENDING)
    assert store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=8) == (["a"], [])
    assert store.score(claim) == ["a"]
    assert taken(store.take("a")) == {"a"}


def test_rows_are_rung_for_once_and_again_only_after_a_while(store: Store) -> None:
    store.add(*numbered(5))
    assert store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=8) == ([], [])
    _lose_bells(store)
    assert store.claims.owed(ring_again_s=LONG_S, limit=3, suspects_limit=8) == (list(numbered(3)), [])
    assert store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=8) == (list(numbered(2, start=3)), [])
    assert store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=8) == ([], [])
    _lose_bells(store)
    assert len(store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=8)[0]) == 5


def test_claimed_and_finished_rows_are_owed_no_bell(store: Store) -> None:
    store.add("claimed", "done", "waiting")
    store.take("claimed", limit=1)
    store.score(store.take("done", limit=1))
    _lose_bells(store)
    assert store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=8) == (["waiting"], [])


def test_suspects_are_owed_bells_of_their_own(store: Store) -> None:
    store.add("plain", "s1", "s2", "s3")
    store.crash("s1", "s2", "s3")
    _lose_bells(store)
    assert store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=2) == (["plain"], ["s1", "s2"])
    assert store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=2) == ([], ["s3"])


def test_no_statement_outgrows_the_database_however_many_rows_it_means(store: Store) -> None:
    count = 3_000
    store.add(*numbered(count))
    _lose_bells(store)
    sizes: list[int] = []

    def measure(*arguments: Any) -> None:
        parameters = arguments[3]
        sizes.append(len(parameters))

    event.listen(store.database.engine, "before_cursor_execute", measure)
    try:
        assert len(store.claims.owed(ring_again_s=LONG_S, limit=count, suspects_limit=8)[0]) == count
        with store.database.write() as session:
            until = store.database.now(session)
            session.execute(update(SubmissionRow).values(claimed_by="gone", lease_until=until))
        store.claims.renew(["gone"], lease_s=LONG_S)
        assert store.claims.expire() == (0, 0)
        store.claims.renew(["gone"], lease_s=OVER_S)
        assert store.claims.expire() == (count, 0)
    finally:
        event.remove(store.database.engine, "before_cursor_execute", measure)
    assert max(sizes) < count  # SQLite takes 32,766 in all, PostgreSQL 65,535


def test_what_was_written_is_what_is_counted(store: Store) -> None:
    store.add(*numbered(10))
    claim = store.take(limit=4)
    store.claims.settle(
        claim, [store.scored(claim.images[0]), rejected(claim.images[1]), Postponed(claim.images[2], 99, "")], store.by
    )
    assert store.submissions.counts() == {"waiting": 7, "claimed": 1, "retrying": 1, "done": 1, "failed": 1}
    with store.database.read() as session:
        assert session.scalar(select(func.count()).select_from(VerdictRow)) == 1
        assert session.scalar(select(func.count()).select_from(ImageRow)) == 1


def _lose_bells(store: Store) -> None:
    """As if every bell had been rung an hour ago, and been lost."""
    with store.database.write() as session:
        long_ago = store.database.now(session) - timedelta(hours=1)
        session.execute(update(SubmissionRow).values(enqueued_at=long_ago))
