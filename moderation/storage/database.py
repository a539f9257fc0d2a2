"""The database: an engine and transactions, alike on SQLite (WAL) and PostgreSQL.

Errors of the driver become ServiceDown where trying again can help; everything else is a defect and passes through.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Engine,
    String,
    bindparam,
    cast,
    collate,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import InstrumentedAttribute, Session

from moderation.errors import ConfigurationError, ServiceDown
from moderation.storage.tables import Base

_SETTING = "MODERATION_DATABASE_URL"
SERVICE = "the SQL database"
# A writer waits so long for SQLite's one write lock before it gives up.
_SQLITE_BUSY_S = 30.0


class Database:
    """Opens transactions. Safe to share between threads; nothing connects before the first transaction."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = _parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else _postgres_engine(self.url, pool_size)

    @property
    def shown(self) -> str:
        """The URL for people: without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that changes rows: committed at the end, rolled back on any error. Raises ServiceDown."""
        with self._session(immediate=True) as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads. Raises ServiceDown."""
        with self._session(immediate=False) as session:
            yield session

    def now(self, session: Session) -> datetime:
        """The database's clock, so that leases hold among workers whose own clocks differ."""
        if self.is_sqlite:  # one machine, one clock; SQLite's own has no microseconds
            return datetime.now(UTC)
        return session.execute(select(func.clock_timestamp())).scalar_one()  # type: ignore[no-any-return]  # func is untyped

    def insert(self, table: type[Base]) -> PostgresInsert | SqliteInsert:
        """An INSERT that knows ON CONFLICT; the two dialects spell it alike but share no class."""
        return sqlite_insert(table) if self.is_sqlite else postgres_insert(table)

    def unnest(self, values: Sequence[str]) -> ColumnElement[str]:
        """The values as the column of a table of their own, sent as one parameter however many they are."""
        if self.is_sqlite:
            table = func.json_each(json.dumps(list(values))).table_valued("value")
            return cast(table.c.value, String)
        return func.unnest(bindparam(None, list(values), type_=ARRAY(String))).column_valued("value")

    def unnest_pairs(self, pairs: Mapping[str, str]) -> tuple[ColumnElement[str], ColumnElement[str]]:
        """Keys and values as two columns of one table, sent as `unnest` sends one."""
        if self.is_sqlite:
            listed = func.json_each(json.dumps(list(pairs.items()))).table_valued("value").c.value
            return cast(func.json_extract(listed, "$[0]"), String), cast(func.json_extract(listed, "$[1]"), String)
        columns = [bindparam(None, list(each), type_=ARRAY(String)) for each in (pairs.keys(), pairs.values())]
        table = func.unnest(*columns).table_valued("key", "value").render_derived()
        return table.c.key, table.c.value

    def byte_order(self, column: ColumnElement[str] | InstrumentedAttribute[str]) -> ColumnElement[str]:
        """The column as Python sorts text, whatever language the database sorts by: locks are taken in one order."""
        return collate(column, "BINARY" if self.is_sqlite else "C")

    def unindexed(self, column: InstrumentedAttribute[str]) -> ColumnElement[str]:
        """The column in a condition that SQLite is not to look up by index; PostgreSQL knows by its statistics."""
        return func.coalesce(column, "") if self.is_sqlite else column.expression

    def dispose(self) -> None:
        """Closes the idle connections."""
        self.engine.dispose()

    @contextmanager
    def _session(self, *, immediate: bool) -> Iterator[Session]:
        try:
            with self.engine.connect() as line:
                line.execution_options(immediate=immediate)
                with Session(bind=line, expire_on_commit=False) as session, session.begin():
                    session.connection()  # begins at once, so that a writer reads its clock under SQLite's lock
                    yield session
        except NoConnectionFree as error:
            raise ServiceDown(SERVICE, "all of this process's connections are in use") from error
        except (OperationalError, InterfaceError) as error:
            if not _is_outage(error):
                raise
            hint = f"Is the database up, and is {_SETTING} right? It names {self.shown}"
            raise ServiceDown(SERVICE, _first_line(error), hint=hint) from error


def _parse(url: str) -> URL:
    url = url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(_SETTING, "is not a database URL", hint="e.g. postgresql://user@host/name") from None
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _postgres_engine(url: URL, pool_size: int) -> Engine:
    # A network gone dead without a word is noticed within half a minute, not after the system's quarter of an hour.
    watch = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, **watch},
    )


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _SQLITE_BUSY_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours: the driver's own comes too late to lock
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")  # readers don't block the writer, nor it them
        cursor.execute("PRAGMA synchronous=FULL")  # NORMAL would lose the last commits in a power cut
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A reader that turns writer deadlocks with another; writers take the lock at once.
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _is_outage(error: DBAPIError) -> bool:
    """Whether the database was away, busy or closed the line, rather than refusing a statement we wrote."""
    if isinstance(error.orig, sqlite3.Error):
        text = str(error.orig)
        return any(sign in text for sign in ("locked", "unable to open", "disk I/O", "full", "readonly"))
    state = getattr(error.orig, "sqlstate", None)
    # None: no connection. 08: connection, 53: out of resources, 57P: shutting down, 40: deadlock or serialisation.
    return state is None or state[:2] in {"08", "53", "40"} or state.startswith("57P")


def _first_line(error: DBAPIError) -> str:
    return next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
