"""Private, throw-away servers for the demo and the tests. Nothing here belongs into production."""

from moderation.embedded.broker import redis_server
from moderation.embedded.postgres import drop_database, fresh_database, postgres_server
from moderation.embedded.server import Server

__all__ = ["Server", "drop_database", "fresh_database", "postgres_server", "redis_server"]
