"""Manifests: what a prompt was tuned on, told after it was registered. What is known already is never replaced."""

from __future__ import annotations

from sqlalchemy import update

from moderation.domain.prompt import PromptId
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import SYSTEM, By
from moderation.storage.tables import PromptRow as Row


def fill_manifest(database: Database, prompt_id: PromptId, manifest: bytes, *, lessons: int, by: By = SYSTEM) -> bool:
    """Stores the packed lessons with a prompt that has none, with its event. Returns whether it did.

    lessons: how many, for the record.
    """
    with database.write() as session:
        statement = update(Row).where(Row.prompt_id == prompt_id, Row.manifest.is_(None)).values(manifest=manifest)
        filled = session.scalar(statement.returning(Row.prompt_id)) is not None
        if filled:
            payload = {"prompt": prompt_id, "lessons": lessons}
            events.append(database, session, "prompt.manifest", by, payload=payload)
        return filled
