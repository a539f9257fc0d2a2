"""The doorbell: tells workers that there is work, and how many bells still hang in the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool
from redis.backoff import NoBackoff
from redis.retry import Retry

from moderation.domain.submission import ImageId
from moderation.errors import ServiceDown
from moderation.queue.app import BACKFILL_QUEUE, QUEUES, RESCORE, RETRAIN, SCAN, TRAINING_QUEUE, queue_for
from moderation.settings import Settings, without_password

# Whoever submits waits for the bell: an absent broker is tried once, and the sweep rings later. Left to itself kombu
# tries for 6 s.
_ONE_TRY = {"max_retries": 0}
_CONNECTIONS = 10
_HINT = "Is Redis up, and is MODERATION_BROKER_URL right? It names {url}"


class Bell:
    """Rings for scans, training and backfills. Safe to share between threads."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._connections = app.connection_for_write(transport_options=_ONE_TRY).Pool(_CONNECTIONS)
        self._producers: Any = ProducerPool(  # type: ignore[no-untyped-call]  # kombu is half typed
            self._connections, _CONNECTIONS, Producer=app.amqp.Producer
        )
        self._redis: redis.Redis | None = None

    def ring(self, batches: Sequence[Sequence[ImageId]], *, priority: int = 0) -> None:
        """Sends one message for each batch of ids, after their rows were committed. Raises ServiceDown."""
        if batches:
            self._send(SCAN, queue_for(priority), [list(ids) for ids in batches])

    def ring_training(self, run_id: int) -> None:
        """Tells a worker that listens to `training` of a run, after its row was committed. Raises ServiceDown."""
        self._send(RETRAIN, TRAINING_QUEUE, [run_id])

    def ring_backfill(self, run_id: int, *, delay_s: float = 0.0) -> None:
        """Tells a worker that listens to `backfill` to go on with a run, not before `delay_s`. Raises ServiceDown."""
        self._send(RESCORE, BACKFILL_QUEUE, [run_id], countdown=delay_s or None)

    def depths(self, queues: Sequence[str] = QUEUES) -> dict[str, int]:
        """How many bells wait in each queue, not counting those a worker holds. Raises ServiceDown."""
        try:
            client = self._client()
            return {name: int(client.llen(self._settings.queue_prefix + name)) for name in queues}
        except (redis.RedisError, OSError) as error:
            raise self._down(error) from error

    def workers(self, timeout_s: float = 1.0) -> list[str]:
        """The names of the workers that answer within `timeout_s`. Raises ServiceDown."""
        try:
            with self._connections.acquire(block=True) as connection:
                replies = self._app.control.ping(timeout=timeout_s, connection=connection)
        except (OperationalError, redis.RedisError, OSError) as error:
            raise self._down(error) from error
        return sorted(name for reply in replies for name in reply)

    def listeners(self, queue: str, timeout_s: float = 1.0) -> list[str]:
        """The names of the workers that listen to `queue` and answer within `timeout_s`. Raises ServiceDown."""
        try:
            with self._connections.acquire(block=True) as connection:
                replies = self._app.control.broadcast(
                    "active_queues", reply=True, timeout=timeout_s, connection=connection
                )
        except (OperationalError, redis.RedisError, OSError) as error:
            raise self._down(error) from error
        found = [(name, queues) for reply in replies or [] for name, queues in reply.items()]
        return sorted(name for name, queues in found if queue in {each["name"] for each in queues})

    def close(self) -> None:
        """Closes the connections."""
        self._producers.force_close_all()
        self._connections.force_close_all()
        self._app.close()
        if self._redis is not None:
            self._redis.close()

    def _send(self, task: str, queue: str, messages: Sequence[Any], **options: Any) -> None:
        """One message for each, its only argument."""
        try:
            with self._producers.acquire(block=True) as producer:
                for message in messages:
                    self._app.send_task(task, args=[message], queue=queue, producer=producer, retry=False, **options)
        except (OperationalError, redis.RedisError, OSError) as error:
            raise self._down(error) from error

    def _client(self) -> redis.Redis:
        if self._redis is None:
            url = self._settings.broker_url
            if url.startswith("redis+socket://"):  # Celery's name for what redis-py calls unix://
                url = url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
            once = Retry(NoBackoff(), 0)
            self._redis = redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=10, retry=once)
        return self._redis

    def _down(self, error: Exception) -> ServiceDown:
        shown = without_password(self._settings.broker_url)
        return ServiceDown("the broker", str(error) or type(error).__name__, hint=_HINT.format(url=shown))
