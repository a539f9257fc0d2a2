"""Prompts: the registry of tuned pseudo-words. The artefact lies in its row, guarded by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from moderation.domain.prompt import InUse, PromptId, PromptRecord, PromptState, prompt_id_of
from moderation.domain.prompt_stack import MENDED, REGISTERED
from moderation.errors import ConfigurationError
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import SYSTEM, By
from moderation.storage.registry.checks import check_whole, damage
from moderation.storage.registry.states import PromptStates
from moderation.storage.tables import PromptRow as Row

_RECORDS = select(Row).options(defer(Row.blob))
"""Prompts without their numbers, which workers would fetch anew with each batch."""


class Prompts:
    """The `prompt` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self,
        blob: bytes,
        *,
        name: str,
        backbone: str,
        backbone_revision: str,
        question: str,
        metrics: Mapping[str, Any],
        parent: PromptId | None = None,
        manifest: bytes | None = None,
        by: By = SYSTEM,
    ) -> PromptRecord:
        """Adds the artefact as a candidate, with its event; the same bytes twice are one prompt.

        A row whose bytes were damaged is mended. manifest: packed lessons (`domain.lesson`), what it was tuned on.
        """
        values = {
            "name": name,
            "blob": blob,
            "backbone": backbone,
            "backbone_revision": backbone_revision,
            "parent": parent,
            "question": question,
            "metrics": dict(metrics),
            "manifest": manifest,
        }
        with self._database.write() as session:
            return register_in(self._database, session, values, by)

    def activate(self, prompt_id: PromptId, *, only_first: bool = False, by: By = SYSTEM) -> bool:
        """Makes this the active prompt of its backbone; the one before retires. Returns whether it did.

        With `only_first` it does nothing where another is active already. Raises as `PromptStates.activate`.
        """
        return PromptStates(self._database).activate(prompt_id, only_first=only_first, by=by).happened

    def list(self) -> list[PromptRecord]:
        """All prompts, the newest first."""
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(_RECORDS.order_by(Row.created_at.desc(), Row.prompt_id))]

    def find(self, prefix: str) -> PromptRecord:
        """The prompt with this id, or the only one whose id begins so. Raises ConfigurationError."""
        with self._database.read() as session:
            rows = session.scalars(_RECORDS.where(Row.prompt_id.startswith(prefix, autoescape=True)).limit(3)).all()
        if len(rows) == 1:
            return _domain(rows[0])
        problem = f"{prefix!r} is not a registered id" if not rows else f"{prefix!r} is the start of several ids"
        raise ConfigurationError("prompt", problem, hint="see: modctl prompt list")

    def active(self, backbone: str) -> PromptRecord | None:
        """The active prompt of this backbone."""
        query = _RECORDS.where(Row.backbone == backbone, Row.state == PromptState.ACTIVE)
        with self._database.read() as session:
            row = session.scalar(query)
            return _domain(row) if row else None

    def in_use(self, backbone: str) -> InUse:
        """The active prompt and the shadow of this backbone, and when that was read on the database's clock."""
        query = _RECORDS.where(Row.backbone == backbone, Row.state.in_((PromptState.ACTIVE, PromptState.SHADOW)))
        with self._database.read() as session:
            found = {row.state: _domain(row) for row in session.scalars(query)}
            # After the rows, so that no prompt is said to have been read before it was active.
            read_at = self._database.now(session)
        return InUse(found.get(PromptState.ACTIVE), found.get(PromptState.SHADOW), read_at)

    def manifest(self, prompt_id: PromptId) -> bytes | None:
        """The packed lessons that the prompt was tuned on (`domain.lesson`); None where they are not known."""
        with self._database.read() as session:
            return session.scalar(select(Row.manifest).where(Row.prompt_id == prompt_id))

    def blob(self, prompt_id: PromptId) -> bytes:
        """The artefact's bytes. Raises ConfigurationError when they don't match the hash in their row."""
        with self._database.read() as session:
            row = session.get_one(Row, prompt_id)
        check_whole(row)
        return row.blob


def register_in(database: Database, session: Session, values: Mapping[str, Any], by: By) -> PromptRecord:
    """`Prompts.register` inside a transaction under way. values: its arguments.

    Where the same bytes are registered already and their row was damaged, it is mended, which is an event too.
    """
    sha256 = hashlib.sha256(values["blob"]).hexdigest()
    prompt_id = prompt_id_of(sha256)
    row = {
        **values,
        "prompt_id": prompt_id,
        "sha256": sha256,
        "state": PromptState.CANDIDATE,
        "created_at": database.now(session),
        "activated_at": None,
    }
    insert = database.insert(Row).values(row).on_conflict_do_nothing(index_elements=["prompt_id"])
    if session.scalar(insert.returning(Row.prompt_id)):
        payload = {
            "prompt": prompt_id, "name": values["name"], "sha256": sha256, "backbone": values["backbone"],
            "parent": values["parent"],
        }  # fmt: skip
        events.append(database, session, REGISTERED, by, payload=payload)
        return _domain(session.get_one(Row, prompt_id))
    found = session.get_one(Row, prompt_id)
    if found.sha256 != sha256 or damage(found):
        found.blob, found.sha256 = values["blob"], sha256
        events.append(database, session, MENDED, by, payload={"prompt": prompt_id, "sha256": sha256})
    return _domain(found)


def _domain(row: Row) -> PromptRecord:
    return PromptRecord(
        prompt_id=PromptId(row.prompt_id),
        name=row.name,
        sha256=row.sha256,
        backbone=row.backbone,
        backbone_revision=row.backbone_revision,
        state=PromptState(row.state),
        parent=PromptId(row.parent) if row.parent else None,
        question=row.question,
        metrics=row.metrics,
        created_at=row.created_at,
        activated_at=row.activated_at,
    )
