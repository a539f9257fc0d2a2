"""The folder that scores are written to picture by picture, made to be killed at any moment.

A part is one Parquet file, written whole or not at all. All rows of a picture stand in one part, so a picture is scored
completely or not yet. A folder holds the scores of one configuration; another is refused, never mixed in.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from moderation.errors import ConfigurationError
from moderation.evaluation.scores import SCHEMA, SCORE_COLUMNS, TEXTS, ScoreRow, ScoreTable, arrow_of
from moderation.files import write_whole

ROWS_A_PART = 8192
PART_S = 30.0  # a part is written after so long, full or not: what a kill costs at most
_CONFIGURATION = "configuration.json"


class ScoreFile:
    """The parts in one folder, for one configuration. One process at a time; used by one thread."""

    def __init__(self, folder: Path, configuration: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Opens the folder, or begins it. `fresh` drops what an earlier run left there.

        Raises ConfigurationError where the scores there were made otherwise, or another process writes them now.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            if fresh:
                for file in (folder / _CONFIGURATION, *_parts(folder, "part"), *_parts(folder, "features")):
                    file.unlink(missing_ok=True)
            _check(folder, dict(configuration))
        except BaseException:
            self._lock.close()
            raise
        self._rows: list[ScoreRow] = []
        self._features: list[Mapping[str, Any]] = []
        self._number = len(_parts(folder, "part"))
        self._written_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Writes what is left and lets others have the folder."""
        try:
            self.flush()
        finally:
            self._lock.close()

    def done(self) -> set[tuple[str, str]]:
        """(set, path) of the pictures that need no scoring any more, those that can't be scored among them."""
        found: set[tuple[str, str]] = set()
        for part in _parts(self.folder, "part"):
            columns = _read(part, ["set", "path"])
            found.update(zip(columns["set"].to_pylist(), columns["path"].to_pylist(), strict=True))
        return found

    def add(self, rows: Sequence[ScoreRow], features: Sequence[Mapping[str, Any]] = ()) -> None:
        """All rows of some pictures, and their shortcut features if those were asked for."""
        self._rows += rows
        self._features += features
        if len(self._rows) >= ROWS_A_PART or time.monotonic() - self._written_at >= PART_S:
            self.flush()

    def flush(self) -> None:
        """Writes what was added since the last part."""
        if self._rows:
            if self._features:  # first: features without their part are overwritten by the next run
                features = pa.Table.from_pylist(self._features)
                write_whole(self.folder / f"features-{self._number:06}.parquet", _bytes(features))
            write_whole(self.folder / f"part-{self._number:06}.parquet", _bytes(arrow_of(self._rows)))
            self._number += 1
            self._rows, self._features = [], []
        self._written_at = time.monotonic()

    def table(self) -> ScoreTable:
        """Everything written so far."""
        parts = [_read(part, list(SCORE_COLUMNS)) for part in _parts(self.folder, "part")]
        return ScoreTable.from_arrow(pa.concat_tables(parts) if parts else SCHEMA.empty_table())

    def features(self) -> dict[str, NDArray[Any]]:
        """The shortcut features by column, a row for every picture that could be read; none: nothing was asked for."""
        wanted = [self.folder / f"features-{part.name.removeprefix('part-')}" for part in _parts(self.folder, "part")]
        tables = [_read(file, None, dictionary=False) for file in wanted if file.exists()]
        whole = pa.concat_tables(tables) if tables else pa.table({})
        return {name: whole[name].to_numpy() for name in whole.column_names}

    def export(self, file: Path) -> None:
        """All parts as one file, Parquet or CSV as its name ends; one part in memory at a time."""
        unfinished = file.with_name(f".{file.name}.unfinished")
        with _writer(unfinished, file.suffix) as writer:
            for part in _parts(self.folder, "part"):
                writer.write_table(_read(part, list(SCORE_COLUMNS), dictionary=False))
        unfinished.replace(file)


def _parts(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"{kind}-*.parquet"))


def _read(part: Path, columns: list[str] | None, *, dictionary: bool = True) -> pa.Table:
    encoded = [name for name in TEXTS if columns is None or name in columns] if dictionary else None
    try:
        return pq.read_table(part, columns=columns, read_dictionary=encoded, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(
            str(part), f"can't be read: {error}", hint="score anew: --fresh, or another --out"
        ) from None


def _bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file's bytes."""
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def _writer(file: Path, suffix: str) -> Any:
    if suffix == ".csv":
        from pyarrow.csv import CSVWriter

        return CSVWriter(file, SCHEMA)
    return pq.ParquetWriter(file, SCHEMA)


def _lock(folder: Path) -> IO[bytes]:
    import fcntl

    file = (folder / ".lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ConfigurationError(
            str(folder), "another process is scoring into it", hint="wait for it, or name another folder: --out"
        ) from None
    return file


def _check(folder: Path, wanted: dict[str, Any]) -> None:
    """Writes the configuration, or holds it against the one that is there."""
    file = folder / _CONFIGURATION
    text = json.dumps(wanted, indent=1, sort_keys=True)
    if not _parts(folder, "part"):
        write_whole(file, text.encode())
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    wanted = json.loads(text)
    differs = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if differs:
        what = "; ".join(f"{name} was {_short(found.get(name))}, now {_short(wanted.get(name))}" for name in differs)
        hint = "drop those scores with --fresh, or name another folder: --out"
        raise ConfigurationError(str(folder), f"holds scores made otherwise: {what}", hint=hint)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 90 else f"{text[:87]}..."
