"""Scores picture by picture: the columns, and the table in memory. Text is kept once however many rows hold it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class ScoreRow(NamedTuple):
    """One picture, one candidate, one condition ('': as it is). `error`: why there is no score, which then is NaN."""

    candidate: str
    condition: str
    set: str
    path: str
    is_fake: bool
    generator: str
    source: str
    group: str
    margin: float
    probability: float
    sha256: str
    error: str


SCORE_COLUMNS = ScoreRow._fields
_TYPES = {"is_fake": pa.bool_(), "margin": pa.float64(), "probability": pa.float64()}
TEXTS = [name for name in SCORE_COLUMNS if name not in _TYPES]
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in SCORE_COLUMNS])


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The columns as arrays [N]. Text columns hold Python strings, each different one once."""

    candidate: NDArray[Any]
    condition: NDArray[Any]
    set: NDArray[Any]
    path: NDArray[Any]
    is_fake: NDArray[np.bool_]
    generator: NDArray[Any]
    source: NDArray[Any]
    group: NDArray[Any]
    margin: NDArray[np.float64]
    probability: NDArray[np.float64]
    sha256: NDArray[Any]
    error: NDArray[Any]

    @classmethod
    def of(cls, rows: Iterable[ScoreRow]) -> Self:
        """The table of these rows, in their order."""
        return cls.from_arrow(arrow_of(list(rows)))

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Self:
        """The table of what a part or several hold."""
        return cls(**{name: _column(table[name]) for name in SCORE_COLUMNS})

    def __len__(self) -> int:
        return len(self.path)

    @property
    def is_scored(self) -> NDArray[np.bool_]:
        """Which rows hold a usable score."""
        return np.isfinite(self.margin) & np.isfinite(self.probability)

    @property
    def picture(self) -> NDArray[np.intp]:
        """int [N]: a number for each picture, told apart by set and path: a file may stand in two sets."""
        numbers: dict[tuple[str, str], int] = {}
        keys = zip(self.set.tolist(), self.path.tolist(), strict=True)
        return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), dtype=np.intp, count=len(self))

    def where(self, **wanted: str | bool) -> Self:
        """The rows whose columns hold exactly this: `table.where(candidate="plain", condition="")`."""
        keep = np.ones(len(self), dtype=np.bool_)
        for name, value in wanted.items():
            keep &= np.asarray(getattr(self, name) == value, dtype=np.bool_)
        return self.select(keep)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """The rows of a mask, or with these numbers in this order."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def arrow_of(rows: Sequence[ScoreRow]) -> pa.Table:
    """The rows as they are written to a file."""
    columns = zip(*rows, strict=True) if rows else [()] * len(SCORE_COLUMNS)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _column(column: pa.ChunkedArray) -> NDArray[Any]:
    if column.type in (pa.bool_(), pa.float64()):
        return np.asarray(column.to_numpy())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # what pyarrow makes of no chunk at all
        return np.zeros(0, dtype=object)
    words = np.array([*whole.dictionary.to_pylist(), ""], dtype=object)
    return np.asarray(words[whole.indices.to_numpy()])
