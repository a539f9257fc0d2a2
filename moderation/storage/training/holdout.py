"""The frozen split: on which side each image stands that a retraining ever took. Rows are added, never changed."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from moderation.domain.lesson import Side
from moderation.domain.submission import ImageId
from moderation.errors import ConfigurationError
from moderation.storage.database import Database
from moderation.storage.submissions import chunks
from moderation.storage.tables import HoldoutRow

_ROWS = 1000
_SIDES = (Side.TRAIN, Side.HOLDOUT)


class Holdout:
    """The `holdout` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sides(self) -> dict[ImageId, Side]:
        """Every image that has a side, TRAIN or HOLDOUT."""
        with self._database.read() as session:
            rows = session.execute(select(HoldoutRow.image_id, HoldoutRow.side))
            return {ImageId(image_id): Side(side) for image_id, side in rows}


def add_sides(database: Database, session: Session, sides: Mapping[ImageId, Side]) -> int:
    """Stores sides inside a transaction under way; an image that has one keeps it. Returns how many were new.

    Raises ConfigurationError where an image has the other side already: what was drawn is out of date. Raises
    ValueError for a side that is neither TRAIN nor HOLDOUT.
    """
    if wrong := set(sides.values()) - set(_SIDES):
        raise ValueError(f"only {' and '.join(_SIDES)} are for ever, not {sorted(wrong)}")
    now = database.now(session)
    rows = [{"image_id": each, "side": side, "drawn_at": now} for each, side in sorted(sides.items())]
    statement = database.insert(HoldoutRow).on_conflict_do_nothing(index_elements=["image_id"])
    added = 0
    for part in chunks(rows, _ROWS):
        part_ids = [row["image_id"] for row in part]
        inserted = session.scalars(statement.values(list(part)).returning(HoldoutRow.image_id))
        added += len(inserted.all())
        stored = session.execute(select(HoldoutRow.image_id, HoldoutRow.side).where(HoldoutRow.image_id.in_(part_ids)))
        moved = [image_id for image_id, side in stored if sides[ImageId(image_id)] != side]
        if moved:
            raise ConfigurationError(
                "holdout", f"another run has just put {moved[0]} on the other side", hint="try again: modctl retrain"
            )
    return added
