"""The doorbell: tells workers that there is work, and how many bells still hang in the queue."""

from __future__ import annotations

from collections.abc import Sequence

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from moderation.domain.submission import ImageId
from moderation.errors import ServiceDown
from moderation.queue.app import SCAN, SCAN_QUEUES, queue_for
from moderation.settings import Settings

_HINT = "Is Redis up, and is MODERATION_BROKER_URL right? It names {url}"


class Bell:
    """Rings for scans. Safe to share between threads."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._redis: redis.Redis | None = None

    def ring(self, batches: Sequence[Sequence[ImageId]], *, priority: int = 0) -> None:
        """Sends one message for each batch of ids, after their rows were committed. Raises ServiceDown."""
        if not batches:
            return
        try:
            with self._app.producer_or_acquire() as producer:
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
            replies = self._app.control.ping(timeout=timeout_s)
        except (OperationalError, redis.RedisError, OSError) as error:
            raise self._down(error) from error
        return sorted(name for reply in replies for name in reply)

    def close(self) -> None:
        """Closes the connections."""
        self._app.close()
        if self._redis is not None:
            self._redis.close()

    def _client(self) -> redis.Redis:
        if self._redis is None:
            self._redis = redis.Redis.from_url(self._settings.broker_url, socket_connect_timeout=3, socket_timeout=10)
        return self._redis

    def _down(self, error: Exception) -> ServiceDown:
        shown = redis_url_without_password(self._settings.broker_url)
        return ServiceDown("the broker", str(error) or type(error).__name__, hint=_HINT.format(url=shown))


def redis_url_without_password(url: str) -> str:
    """The URL as it may be shown and logged."""
    from kombu.utils.url import maybe_sanitize_url

    return str(maybe_sanitize_url(url))
