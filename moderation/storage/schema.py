"""The schema's version: create, upgrade, downgrade, and refuse to work on another one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, inspect, text

import moderation
from moderation.errors import ConfigurationError, SchemaMismatch
from moderation.storage.database import Database

# The revision this code needs: the newest file in migrations/versions, as a test makes sure.
HEAD = "0003"
UPGRADE = "modctl db upgrade"
_MIGRATION_LOCK = 0x53434D41  # any number no other application takes: "SCMA" in ASCII


def current(database: Database) -> str | None:
    """The revision the database is on; None where it has no schema yet. Looking makes no SQLite file."""
    if missing_file(database):
        return None
    with database.read() as session:
        return _revision(session.connection())


def check(database: Database) -> None:
    """Raises SchemaMismatch unless the database is on the revision this code needs."""
    found = current(database)
    if found == HEAD:
        return
    if found is None:
        absent = missing_file(database)
        where = f" (there is no file {absent})" if absent else ""
        problem = f"{database.shown} has no tables yet{where}; create them: {UPGRADE}"
    elif found < HEAD:
        problem = f"{database.shown} is on revision {found}, this code needs {HEAD}; run: {UPGRADE}"
    else:
        problem = f"{database.shown} is on revision {found}, this code knows only {HEAD}; install the newer package"
    raise SchemaMismatch(found, HEAD, problem)


def upgrade(database: Database, revision: str = "head") -> tuple[str | None, str | None]:
    """Brings the schema up to `revision`. Returns the revision before and after."""
    return _migrate(database, command.upgrade, revision)


def downgrade(database: Database, revision: str) -> tuple[str | None, str | None]:
    """Takes the schema down to `revision` ('base': nothing left). Returns the revision before and after."""
    return _migrate(database, command.downgrade, revision)


def config() -> Config:
    """Alembic's configuration, with the scripts beside the package or, once installed, inside it."""
    package = Path(moderation.__file__).parent
    scripts = package.parent / "migrations"
    result = Config()
    result.set_main_option(
        "script_location", str(scripts if (scripts / "env.py").is_file() else package / "migrations")
    )
    result.set_main_option("path_separator", "os")
    return result


def _migrate(database: Database, verb: object, revision: str) -> tuple[str | None, str | None]:
    before = current(database)
    settings = config()
    with database.write() as session:
        if not database.is_sqlite:  # one migration at a time; SQLite's write lock sees to that by itself
            session.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        settings.attributes["connection"] = session.connection()
        try:
            verb(settings, revision)  # type: ignore[operator]  # alembic's commands share no type
        except CommandError as error:
            raise ConfigurationError("revision", str(error), hint=f"'base', or one up to {HEAD}") from None
    return before, current(database)


def missing_file(database: Database) -> Path | None:
    """The SQLite file that is not there yet; None where there is one, or none is needed."""
    name = database.url.database or ":memory:"
    if not database.is_sqlite or name.startswith((":memory:", "file:")) or Path(name).exists():
        return None
    return Path(name).resolve()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
