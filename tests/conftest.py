"""Servers and a clean environment for every test. A server that is missing is an error with a way out, never a skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation import embedded
from moderation.embedded import Server

# Read once, before a test's environment is cleaned.
_NAMED_BROKER = os.environ.get("MODERATION_BROKER_URL", "")
_NAMED_POSTGRES = os.environ.get("MODERATION_TEST_POSTGRES_URL", "")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No MODERATION_* variable and no `.env` of the developer reaches a test: each runs in a folder of its own."""
    for name in os.environ:
        if name.startswith("MODERATION_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def broker() -> Iterator[Server]:
    """The broker of the session: the one that MODERATION_BROKER_URL names, else a private one."""
    with embedded.redis_server(named=_NAMED_BROKER) as server:
        yield server


@pytest.fixture
def broker_url(broker: Server) -> Iterator[str]:
    """The session's broker with an empty database, emptied afterwards. A named one must have been empty: no key of
    anybody else's is ever removed."""
    import redis

    with redis.Redis.from_url(broker.url) as client:
        if broker.private:
            client.flushall()
        elif client.dbsize():
            pytest.fail(f"{broker.origin} has keys in it: name an empty database for tests, .../15 say")
        yield broker.url
        client.flushdb()


@pytest.fixture
def private_broker() -> Iterator[Server]:
    """A broker for one test alone, to be killed, restarted and flushed. Always private."""
    with embedded.redis_server(named="") as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The PostgreSQL of the session: the one that MODERATION_TEST_POSTGRES_URL names, else a private one."""
    with embedded.postgres_server(named=_NAMED_POSTGRES) as server:
        yield server


@pytest.fixture
def private_postgres() -> Iterator[Server]:
    """A PostgreSQL for one test alone, to be killed and restarted. Always private, and takes 2 s to start."""
    with embedded.postgres_server(named="") as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """A new, empty PostgreSQL database, removed afterwards."""
    url = embedded.fresh_database(postgres_server)
    yield url
    embedded.drop_database(postgres_server, url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database in a file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'moderation.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url
