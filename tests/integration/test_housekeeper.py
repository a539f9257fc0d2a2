"""The housekeeper: leases are kept, rows left behind are rung for, and a process that hangs ends itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from moderation import embedded
from moderation.domain.submission import State
from moderation.embedded import Server
from moderation.flows.scanning.turns import UnderWay
from moderation.queue.app import create_app
from moderation.queue.bell import Bell
from moderation.settings import Settings, load_settings
from tests.store import Store, furnish, ids, open_database
from tests.waiting import GENEROUS_S, wait_until
from workers.housekeeper import EXIT_HUNG, Housekeeper

LEASE_S = 2.0  # renewed four times within it


@contextmanager
def keeping_house(
    store: Store,
    broker_url: str,
    under_way: UnderWay,
    exit_process: Callable[[int], None] = lambda _: None,
    **more: float,
) -> Iterator[Bell]:
    settings: Settings = load_settings(
        broker_url=broker_url, lease_s=LEASE_S, sweep_interval_s=0.1, ring_again_s=0.5, **more
    )
    bell = Bell(create_app(settings), settings)
    keeper = Housekeeper(
        claims=store.claims, bell=bell, under_way=under_way, settings=settings, exit_process=exit_process
    )
    keeper.start()
    try:
        yield bell
    finally:
        keeper.stop()
        bell.close()


def test_a_claim_under_way_outlives_its_lease_and_one_that_is_not_does_not(store: Store, broker_url: str) -> None:
    store.add("kept", "lost")
    under_way = UnderWay()
    with keeping_house(store, broker_url, under_way):
        kept = store.take("kept", limit=1, lease_s=LEASE_S)
        with under_way.holding(kept.token):
            store.take("lost", limit=1, lease_s=LEASE_S)
            wait_until(lambda: store.row("lost").crashes == 1, "the lease that nobody keeps has ended")
            assert store.row("kept").claimed
    assert store.score(kept) == []


def test_rows_left_behind_are_rung_for_at_once(store: Store, broker_url: str) -> None:
    store.add("suspect")
    store.crash("suspect")
    with keeping_house(store, broker_url, UnderWay()) as bell:
        wait_until(lambda: sum(bell.depths().values()) == 1, "it is rung for")
    assert store.claims.suspects(ids("suspect")) == ["suspect"]


def test_housekeeping_goes_on_after_the_broker_was_away(store: Store, private_broker: Server) -> None:
    with keeping_house(store, private_broker.url, UnderWay()) as bell:
        private_broker.kill()
        store.add("a")
        store.take("a", lease_s=-1.0)
        wait_until(lambda: store.row("a").crashes == 1, "its lease has ended")
        private_broker.start()
        wait_until(lambda: sum(bell.depths().values()) >= 1, "it is rung for")
        assert store.row("a").state is State.PENDING


def test_a_batch_that_hangs_ends_the_process(store: Store, broker_url: str) -> None:
    ended: list[int] = []
    under_way = UnderWay()
    with under_way.holding("hung"), keeping_house(store, broker_url, under_way, ended.append, batch_timeout_s=1.0):
        wait_until(lambda: ended, "the process is ended")
    assert set(ended) == {EXIT_HUNG}


def test_a_database_that_never_answers_does_not_blind_the_watchdog(
    store: Store, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    answer = threading.Event()
    monkeypatch.setattr(store.claims, "renew", lambda *_, **__: answer.wait(2 * GENEROUS_S))
    under_way = UnderWay()
    with under_way.holding("hung"), keeping_house(store, broker_url, under_way, ended.append, batch_timeout_s=1.0):
        wait_until(lambda: ended, "the process is ended")
        answer.set()


def test_a_lost_bell_is_rung_again(store: Store, broker_url: str) -> None:
    store.add("a")
    with keeping_house(store, broker_url, UnderWay()) as bell:
        wait_until(lambda: sum(bell.depths().values()) == 1, "it is rung for")


def test_an_outage_of_sql_longer_than_a_lease_is_no_crash(private_postgres: Server, broker_url: str) -> None:
    with open_database(embedded.fresh_database(private_postgres)) as database:
        store = furnish(database)
        store.add("mine", "lost")
        under_way = UnderWay()
        claim = store.take("mine", limit=1, lease_s=LEASE_S)
        store.take("lost", limit=1, lease_s=LEASE_S)
        with keeping_house(store, broker_url, under_way), under_way.holding(claim.token):
            private_postgres.stop()
            threading.Event().wait(1.5 * LEASE_S)
            private_postgres.start()
            wait_until(lambda: store.row("lost").crashes == 1, "leases that nobody keeps end again")
            assert store.row("mine").crashes == 0
            assert store.score(claim) == []
        assert store.row("mine").state is State.DONE
