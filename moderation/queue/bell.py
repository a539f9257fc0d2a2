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
from moderation.queue.app import SCAN, SCAN_QUEUES, queue_for
from moderation.settings import Settings, without_password

# Whoever submits waits for the bell: an absent broker is tried once, and the sweep rings later. Left to itself kombu
# tries for 6 s.
_ONE_TRY = {"max_retries": 0}
_CONNECTIONS = 10
_HINT = "Is Redis up, and is MODERATION_BROKER_URL right? It names {url}"


class Bell:
    """Rings for scans. Safe to share between threads."""

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
        if not batches:
            return
        try:
            with self._producers.acquire(block=True) as producer:
                for ids in batches:
                    self._app.send_task(
                        SCAN, args=[list(ids)], queue=queue_for(priority), producer=producer, retry=False
                    )
        except (OperationalError, redis.RedisError, OSError) as error:
            raise self._down(error) from error

    def depths(self) -> dict[str, int]:
        """How many bells wait in each queue, not counting those a worker holds. Raises ServiceDown."""
        try:
            client = self._client()
            return {name: int(client.llen(self._settings.queue_prefix + name)) for name in SCAN_QUEUES}
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

    def close(self) -> None:
        """Closes the connections."""
        self._producers.force_close_all()
        self._connections.force_close_all()
        self._app.close()
        if self._redis is not None:
            self._redis.close()

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
