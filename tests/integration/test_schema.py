"""The schema: what the migrations build is what the tables say, and another one is refused with a way out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from moderation import Moderation
from moderation.errors import SchemaMismatch
from moderation.storage import schema
from moderation.storage.database import Database
from moderation.storage.tables import Base


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.dispose()


def difference(database: Database) -> list[Any]:
    """What alembic would still change to make the database equal to the tables in the code."""
    with database.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        found: list[Any] = compare_metadata(context, Base.metadata)
    # SQLite does not say that an index descends; the test of the indexes reads it from their definitions.
    descending = database.is_sqlite and {"ix_submission_pending"}
    return [change for change in found if not (descending and getattr(change[1], "name", "") in descending)]


def tables(database: Database) -> set[str]:
    with database.read() as session:
        return set(inspect(session.connection()).get_table_names())


def test_every_step_up_and_down_and_up_again(database: Database) -> None:
    steps = [script.revision for script in ScriptDirectory.from_config(schema.config()).walk_revisions()][::-1]
    for revision in steps:
        schema.upgrade(database, revision)
    assert difference(database) == []
    for revision in [*steps[-2::-1], "base"]:
        schema.downgrade(database, revision)
    assert tables(database) == {"alembic_version"}
    assert schema.upgrade(database) == (None, schema.HEAD)
    assert difference(database) == []
    assert schema.upgrade(database) == (schema.HEAD, schema.HEAD)


def test_the_indexes_are_those_of_the_tables(database: Database) -> None:
    schema.upgrade(database)
    with database.read() as session:
        reflected = inspect(session.connection())
        for table in Base.metadata.sorted_tables:
            indexes = {index["name"]: index["unique"] for index in reflected.get_indexes(table.name)}
            expected = {index.name: index.unique for index in table.indexes}
            assert expected.items() <= {name: bool(unique) for name, unique in indexes.items()}.items()
    definitions = "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
    if not database.is_sqlite:
        definitions = "SELECT indexname, indexdef FROM pg_indexes"
    with database.read() as session:
        found: dict[str, str] = dict(session.execute(text(definitions)).all())
    for name in ("ix_submission_pending", "ix_submission_leased", "uq_prompt_active"):
        assert "WHERE" in found[name]
    assert "priority DESC, submitted_at" in found["ix_submission_pending"]


def test_head_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(schema.config()).get_heads() == [schema.HEAD]


def test_a_missing_schema_names_the_command(database: Database) -> None:
    with pytest.raises(SchemaMismatch, match=r"no tables yet.*modctl db upgrade") as caught:
        schema.check(database)
    assert (caught.value.found, caught.value.expected) == (None, schema.HEAD)
    schema.upgrade(database)
    schema.check(database)


@pytest.mark.parametrize(
    ("revision", "message"), [("0000", r"on revision 0000.*modctl db upgrade"), ("9999", r"install the newer package")]
)
def test_another_schema_names_the_way_out(database: Database, revision: str, message: str) -> None:
    schema.upgrade(database)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    with pytest.raises(SchemaMismatch, match=message) as caught:
        schema.check(database)
    assert caught.value.found == revision


def test_the_password_is_never_shown(postgres_url: str) -> None:
    database = Database(postgres_url)
    assert database.url.password
    with pytest.raises(SchemaMismatch) as caught:
        schema.check(database)
    database.dispose()
    assert database.url.password not in str(caught.value)


def test_a_web_app_on_a_missing_schema_is_told_and_works_once_it_is_there(
    database: Database, database_url: str, broker_url: str
) -> None:
    with Moderation(database_url=database_url, broker_url=broker_url) as moderation:
        with pytest.raises(SchemaMismatch, match="modctl db upgrade"):
            moderation.submit("a")
        schema.upgrade(database)
        assert moderation.submit("a").new == 1


def test_a_failed_migration_leaves_nothing_behind(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(op, "create_index", fail)
    with pytest.raises(RuntimeError, match="disk is full"):
        schema.upgrade(database)
    assert tables(database) == set()


def test_alembic_runs_by_itself(database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    monkeypatch.setenv("MODERATION_DATABASE_URL", database_url)
    command.upgrade(schema.config(), "head")
    schema.check(database)
    assert difference(database) == []


def test_the_sqlite_file_is_in_wal_mode(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    with database.read() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert session.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    database.dispose()
