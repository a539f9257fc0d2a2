"""The database: an outage is ServiceDown with a way out, and both kinds serve many threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from moderation import Moderation
from moderation.embedded import Server
from moderation.embedded.system import free_port
from moderation.errors import ConfigurationError, ServiceDown
from moderation.storage import schema
from moderation.storage.database import Database
from moderation.storage.tables import PromptRow
from tests.store import Store, furnish, numbered, open_database

SOON_S = 30.0


def test_a_stopped_postgresql_is_service_down_and_comes_back(private_postgres: Server) -> None:
    with open_database(private_postgres.url) as database:
        store = furnish(database)
        store.add("before")
        private_postgres.kill()
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(ServiceDown, match="MODERATION_DATABASE_URL") as caught:
                store.add("during")
            assert time.monotonic() - began < SOON_S
            assert database.url.password is not None
            assert database.url.password not in str(caught.value)
        private_postgres.start()
        assert store.add("before", "after") == ["after"]


def test_a_line_cut_in_the_middle_of_a_transaction_is_service_down(postgres_url: str) -> None:
    database, other = Database(postgres_url), Database(postgres_url)

    def lose_the_line() -> None:
        with database.write() as session:
            session.execute(text("CREATE TABLE half (n INTEGER)"))
            pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with other.write() as administrator:
                administrator.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            session.execute(text("INSERT INTO half VALUES (1)"))

    with pytest.raises(ServiceDown):
        lose_the_line()
    with database.read() as session:
        assert session.execute(text("SELECT to_regclass('half')")).scalar_one() is None
    for opened in (database, other):
        opened.dispose()


def test_a_server_that_is_not_there_is_service_down() -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    with Moderation(database_url=url) as moderation, pytest.raises(ServiceDown) as caught:
        moderation.verdict("a")
    assert caught.value.service == "the SQL database"
    assert url.rpartition("@")[2] in caught.value.hint


def test_a_folder_that_is_not_there_is_service_down(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'moderation.db'}")
    with pytest.raises(ServiceDown, match="unable to open"):
        schema.upgrade(database)


def test_a_locked_sqlite_is_service_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation.storage.database._SQLITE_BUSY_S", 0.2)
    url = f"sqlite:///{tmp_path / 'moderation.db'}"
    first, second = Database(url), Database(url)
    with first.write(), pytest.raises(ServiceDown, match="locked"), second.write():
        pass
    with first.write(), second.read() as session:  # readers are not held up
        assert session.execute(text("SELECT 1")).scalar_one() == 1
    for opened in (first, second):
        opened.dispose()


def test_no_connection_free_is_service_down(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'busy.db'}")
    database.engine = create_engine(database.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with database.read(), pytest.raises(ServiceDown, match="connections are in use"), database.read():
        pass
    database.dispose()


def test_defects_are_not_called_outages(store: Store) -> None:
    with pytest.raises(DBAPIError, match="nowhere"), store.database.read() as session:
        session.execute(text("SELECT * FROM nowhere"))
    with pytest.raises(IntegrityError), store.database.write() as session:
        session.add(PromptRow(prompt_id="x"))


def test_an_error_rolls_everything_back(store: Store) -> None:
    def fail_half_way() -> None:
        with store.database.write() as session:
            session.execute(text("DELETE FROM prompt"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert len(store.prompts.list()) == 1


def test_the_clock_runs_forward_and_knows_its_zone(store: Store) -> None:
    with store.database.read() as session:
        first, second = store.database.now(session), store.database.now(session)
    assert first.tzinfo is not None
    assert first <= second


def test_many_processes_worth_of_writers_wait_for_each_other(database_url: str) -> None:
    """Each thread has a database of its own, as processes have; all begin on a file that is new."""
    with open_database(database_url) as migrated:
        start = threading.Barrier(8)

        def write(number: int) -> None:
            database = Database(database_url)
            store = furnish(database)
            start.wait()
            for turn in range(10):
                store.add(*numbered(5, start=number * 1_000 + turn * 5))
            database.dispose()

        with ThreadPoolExecutor(8) as writers:
            list(writers.map(write, range(8)))
        assert furnish(migrated).submissions.counts()["waiting"] == 8 * 10 * 5


def test_many_may_open_a_new_sqlite_file_at_once(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def open_it(_: int) -> int:
        database = Database(f"sqlite:///{tmp_path / 'new.db'}")
        start.wait()
        with database.write() as session:
            found: int = session.execute(text("SELECT 1")).scalar_one()
        database.dispose()
        return found

    with ThreadPoolExecutor(8) as apps:
        assert list(apps.map(open_it, range(8))) == [1] * 8


def test_one_moderation_serves_threads_from_the_first_call_on(database_url: str, broker_url: str) -> None:
    with open_database(database_url):
        start = threading.Barrier(8)
        with Moderation(database_url=database_url, broker_url=broker_url) as moderation:

            def submit(number: int) -> int:
                start.wait()
                return moderation.submit(f"image {number}").new

            with ThreadPoolExecutor(8) as requests:
                assert sum(requests.map(submit, range(8))) == 8


@pytest.mark.parametrize("url", ["postgresql://host:port/x", "sqlite//x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MODERATION_DATABASE_URL"):
        Database(url)


def test_every_spelling_of_postgresql_is_understood() -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        database = Database(f"{scheme}://user:secret@host/name")
        assert database.url.drivername == "postgresql+psycopg"
        assert database.shown == "postgresql+psycopg://user:***@host/name"
