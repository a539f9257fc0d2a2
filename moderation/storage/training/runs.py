"""Training runs, seen by those who ask for them: begun, listed, cancelled, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moderation.domain.lesson import Side
from moderation.domain.prompt import PromptId
from moderation.domain.submission import ImageId
from moderation.domain.training_run import OPEN, RunConfig, RunId, RunState, TrainingRun
from moderation.errors import ConfigurationError
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.tables import TrainingRunRow as Row
from moderation.storage.training.holdout import add_sides
from moderation.storage.training.rows import domain, end_run, new_row, unknown


class TrainingRuns:
    """The `training_run` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        *,
        backbone: str,
        parent: PromptId,
        config: RunConfig,
        manifest: bytes,
        manifest_sha256: str,
        sides: Mapping[ImageId, Side],
        counts: Mapping[str, Any],
        by: By,
    ) -> TrainingRun:
        """Adds a queued run with its event, and fixes the sides that were drawn for it, for ever.

        manifest: packed lessons; counts: the same in numbers, as JSON. Raises ConfigurationError where another run of
        this backbone is open, or where an image was put on the other side meanwhile.
        """
        try:
            with self._database.write() as session:
                _refuse_second(session, backbone)
                now = self._database.now(session)
                add_sides(self._database, session, sides)
                row = new_row(backbone, parent, config, manifest, manifest_sha256, counts, by, now)
                session.add(row)
                session.flush()
                payload = {
                    "run": row.run_id, "backbone": backbone, "parent": parent, "manifest_sha256": manifest_sha256,
                    "config": config.to_json(), "drawn": len(sides),
                }  # fmt: skip
                events.append(self._database, session, "training.begin", by, payload=payload)
                return domain(row)
        except IntegrityError:  # another began in the same moment; if it was not that, it is a defect
            self.check_vacant(backbone)
            raise

    def check_vacant(self, backbone: str) -> None:
        """Raises ConfigurationError where a run of this backbone is open; it names the run and the ways out."""
        with self._database.read() as session:
            _refuse_second(session, backbone)

    def cancel(self, run_id: RunId, by: By) -> TrainingRun:
        """Ends a queued run at once; one that is under way is asked to stop. Raises ConfigurationError."""
        with self._database.write() as session:
            row = session.get(Row, run_id, with_for_update=True)
            if row is None:
                raise unknown(run_id)
            if row.state not in OPEN:
                raise ConfigurationError(f"run {run_id}", f"has ended already: {row.state}")
            if row.state == RunState.QUEUED:
                end_run(self._database, session, row, RunState.CANCELLED, by)
            elif not row.cancel_requested:
                row.cancel_requested = True
                events.append(self._database, session, "training.cancel", by, payload={"run": run_id})
            session.flush()
            return domain(row)

    def get(self, run_id: RunId) -> TrainingRun:
        """The run of this number. Raises ConfigurationError."""
        with self._database.read() as session:
            row = session.get(Row, run_id)
            if row is None:
                raise unknown(run_id)
            return domain(row)

    def open_run(self, backbone: str) -> TrainingRun | None:
        """The backbone's run that has not ended, if there is one."""
        with self._database.read() as session:
            row = session.scalar(select(Row).where(Row.backbone == backbone, Row.state.in_(OPEN)))
            return domain(row) if row is not None else None

    def manifest(self, run_id: RunId) -> bytes:
        """Its packed lessons. Raises ConfigurationError."""
        return self._blob(run_id, "manifest") or b""

    def checkpoint(self, run_id: RunId) -> bytes | None:
        """What the last `keep_checkpoint` kept. Raises ConfigurationError."""
        return self._blob(run_id, "checkpoint")

    def report(self, run_id: RunId) -> bytes | None:
        """The gzipped HTML page; None where it did not come to one. Raises ConfigurationError."""
        return self._blob(run_id, "report")

    def _blob(self, run_id: RunId, name: str) -> bytes | None:
        with self._database.read() as session:
            row = session.execute(select(getattr(Row, name)).where(Row.run_id == run_id)).one_or_none()
            if row is None:
                raise unknown(run_id)
            return bytes(row[0]) if row[0] is not None else None

    def list(
        self, *, backbone: str | None = None, only_open: bool = False, limit: int | None = 20
    ) -> list[TrainingRun]:
        """The newest first. only_open: those that have not ended."""
        query = select(Row).order_by(Row.run_id.desc()).limit(limit)
        if backbone is not None:
            query = query.where(Row.backbone == backbone)
        if only_open:
            query = query.where(Row.state.in_(OPEN))
        with self._database.read() as session:
            return [domain(row) for row in session.scalars(query)]


def _refuse_second(session: Session, backbone: str) -> None:
    row = session.scalar(select(Row).where(Row.backbone == backbone, Row.state.in_(OPEN)))
    if row is not None:
        raise ConfigurationError(
            "retrain", f"run {row.run_id} of the backbone {backbone} is {row.state}; one at a time",
            hint=f"follow it: modctl retrain status {row.run_id} --watch; "
            f"end it: modctl retrain cancel {row.run_id}",
        )  # fmt: skip
