"""A manifest's table on disk: CSV (UTF-8, commas) or Parquet, told apart by suffix. Knows columns, not truth.

Reads row by row, so that memory is that of the columns in use. pyarrow is loaded for Parquet alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TextIO

from moderation.errors import ConfigurationError
from moderation.files import write_whole

COLUMNS = ("path", "label", "generator", "source", "split", "set", "group")
REQUIRED = ("path", "label")
_CSV = (".csv",)
_PARQUET = (".parquet", ".pq")
_BATCH = 10_000  # rows of Parquet in memory at a time


@dataclass(frozen=True, slots=True)
class Row:
    """One row's values by column name, blanks around them cut but for the path's, and where it stands."""

    values: dict[str, str]
    where: str


def rows(path: Path) -> Iterator[Row]:
    """The rows of the columns that mean something. Raises ConfigurationError for a file that is no such table."""
    suffix = _suffix(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigurationError("manifest", f"{path} {problem}", hint="give a .csv or .parquet file")
    return _csv_rows(path) if suffix in _CSV else _parquet_rows(path)


def write_rows(path: Path, lines: Iterable[Sequence[str]]) -> None:
    """Writes lines of texts under `COLUMNS`, all or nothing. Raises ConfigurationError where that is not possible."""
    is_csv = _suffix(path) in _CSV
    if not path.absolute().parent.is_dir():
        raise ConfigurationError("manifest", f"{path.absolute().parent} is no folder", hint="make it first")
    try:
        write_whole(path, _csv_bytes(lines) if is_csv else _parquet_bytes(path, lines))
    except UnicodeEncodeError as error:
        name = error.object.encode("utf-8", "backslashreplace").decode()
        raise ConfigurationError("manifest", f"{name} is no text in UTF-8", hint="rename that file") from None
    except OSError as error:
        raise ConfigurationError("manifest", f"{path} cannot be written: {error.strerror or error}") from None


def _csv_rows(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        reader = csv.reader(file, strict=True)
        try:
            places = _places(path, next(reader, []))
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                where = f"line {reader.line_num}"
                if len(fields) > places.width:
                    raise ConfigurationError(
                        f"{path}, {where}",
                        f"{len(fields)} fields under {places.width} columns",
                        hint='put a field with a comma in it into double quotes: "a,b.jpg"',
                    )
                full = [*fields, *[""] * (places.width - len(fields))]
                yield Row({name: _cut(name, full[at]) for name, at in places.of.items()}, where)
        except csv.Error as error:
            raise ConfigurationError(
                f"{path}, line {reader.line_num}", f"no CSV: {error}", hint="check the double quotes"
            ) from None
        except UnicodeDecodeError:
            raise ConfigurationError(
                f"{path}, after line {reader.line_num}", "no text in UTF-8", hint="save it as CSV UTF-8"
            ) from None


def _parquet_rows(path: Path) -> Iterator[Row]:
    pyarrow, parquet = _pyarrow(path)
    try:
        with parquet.ParquetFile(path) as file:
            places = _places(path, file.schema_arrow.names)
            names = {name: file.schema_arrow.names[at] for name, at in places.of.items()}
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=list(names.values())):
                columns = {name: batch.column(batch.schema.names.index(names[name])).to_pylist() for name in names}
                for values in zip(*columns.values(), strict=True):
                    number += 1
                    texts = {name: _cut(name, _text(value)) for name, value in zip(columns, values, strict=True)}
                    yield Row(texts, f"row {number}")
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigurationError(
            str(path), f"no readable Parquet: {error}", hint="write it again, or give the table as CSV"
        ) from None


@dataclass(frozen=True, slots=True)
class _Places:
    of: dict[str, int]
    width: int


def _places(path: Path, header: Sequence[str]) -> _Places:
    """Where the known columns stand. Raises ConfigurationError for a header without them."""
    found = [name.strip().lower() for name in header]
    twice = [name for name in COLUMNS if found.count(name) > 1]
    missing = [name for name in REQUIRED if name not in found]
    if twice:
        raise ConfigurationError(f"{path}, line 1", f"two columns {twice[0]!r}", hint="keep one of them")
    if missing:
        held = ", ".join(name for name in found if name) or "nothing"
        raise ConfigurationError(
            f"{path}, line 1",
            f"no column {' and no column '.join(map(repr, missing))}; the first line holds {held}",
            hint=_way_out(found),
        )
    return _Places({name: found.index(name) for name in COLUMNS if name in found}, len(found))


def _way_out(found: Sequence[str]) -> str:
    if len(found) == 1 and any(mark in found[0] for mark in ";\t|"):
        return "separate the columns by commas"
    if "img_path" in found:
        return "AntifakePrompt's own lists: rename img_path to path, and write real for yes and fake for no"
    return f"begin with a line of column names, such as {','.join(COLUMNS)}"


def _cut(name: str, value: str) -> str:
    return value if name == "path" else value.strip()


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):  # what tables make of whole numbers with gaps
        return "" if value != value else f"{value:g}"  # noqa: PLR0124 - only NaN differs from itself
    return "" if value is None else str(value)


def _csv_bytes(lines: Iterable[Sequence[str]]) -> bytes:
    whole = io.BytesIO()
    with io.TextIOWrapper(whole, encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)
        file.flush()
        return whole.getvalue()


def _parquet_bytes(path: Path, lines: Iterable[Sequence[str]]) -> bytes:
    pyarrow, parquet = _pyarrow(path)
    columns = list(zip(*lines, strict=True)) or [()] * len(COLUMNS)
    arrays = [pyarrow.array(column, pyarrow.string()) for column in columns]
    whole = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays, names=list(COLUMNS)), whole)
    return whole.getvalue()


def _pyarrow(path: Path) -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigurationError(
            str(path), "Parquet needs pyarrow", hint="pip install 'antifake-moderation[train]', or give a .csv file"
        ) from None
    return pyarrow, parquet


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (*_CSV, *_PARQUET):
        raise ConfigurationError("manifest", f"{path} is neither .csv nor .parquet", hint="name the file by what it is")
    return suffix


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise ConfigurationError("manifest", f"{path} cannot be read: {error.strerror}") from None
