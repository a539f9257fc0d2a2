"""Alembic's scripts: the schema's history, up and down, on SQLite and PostgreSQL."""
