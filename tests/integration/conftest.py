"""Parts on real servers. Making a schema takes a second, so one database of each kind is emptied and used again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation import embedded
from moderation.embedded import Server
from moderation.storage.database import Database
from tests.command import ok
from tests.store import Store, empty, furnish, open_database


@pytest.fixture(scope="session")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A migrated SQLite database for the session."""
    folder: Path = tmp_path_factory.mktemp("sqlite")
    with open_database(f"sqlite:///{folder / 'moderation.db'}") as database:
        yield database


@pytest.fixture(scope="session")
def postgres_database(postgres_server: Server) -> Iterator[Database]:
    """A migrated PostgreSQL database for the session."""
    url = embedded.fresh_database(postgres_server)
    with open_database(url) as database:
        yield database
    embedded.drop_database(postgres_server, url)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    """Tables with nothing in them but the default policy and one active prompt, on SQLite and on PostgreSQL."""
    database = request.getfixturevalue("sqlite_database" if request.param == "sqlite" else "postgres_database")
    empty(database)
    return furnish(database)


@pytest.fixture
def installed(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """modctl is set to a database with tables and the shipped prompt."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
    ok("db", "upgrade")
