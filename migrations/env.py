"""Alembic's entry: runs the migrations on the connection it is handed, or on MODERATION_DATABASE_URL.

`modctl db upgrade` hands over a connection in a transaction. `alembic -c` or a new revision opens its own.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from moderation.settings import load_settings
from moderation.storage.database import Database
from moderation.storage.tables import Base

# A migration that can't get its lock gives up, instead of queueing every reader behind it.
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '10s'"


def migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(LOCK_TIMEOUT))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    database = Database(load_settings().database_url)
    with database.write() as session:
        migrate(session.connection())
    database.dispose()


main()
