"""Lessons: what a prompt was, or is to be, tuned and judged on. A list of them is stored with each prompt."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from enum import StrEnum


class Origin(StrEnum):
    """Where a lesson's picture lies."""

    FILE = "file"  # a file, by its path
    REVIEWED = "reviewed"  # an image of the platform, by its id; people have labelled it


class Side(StrEnum):
    """What a lesson is for. Nothing on `HOLDOUT` ever trains or validates: candidates are judged on it."""

    TRAIN = "train"
    VAL = "val"
    HOLDOUT = "holdout"


@dataclass(frozen=True, slots=True)
class Lesson:
    """One labelled picture. Texts are '' where a thing is not known.

    name: path or image id. group: near-duplicates share it. weight: against the others of its class. sha256: of the
    bytes people saw. reason, trust: how it came to be looked at, and what its label is worth. band: its size class.
    """

    origin: Origin
    name: str
    is_fake: bool
    side: Side
    generator: str = ""
    source: str = ""
    group: str = ""
    weight: float = 1.0
    sha256: str = ""
    reason: str = ""
    trust: str = ""
    band: str = ""


_COLUMNS = [field.name for field in fields(Lesson)]


def pack(lessons: Iterable[Lesson]) -> bytes:
    """The manifest as gzipped CSV; equal lessons in equal order give equal bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(astuple(lesson) for lesson in lessons)
    return gzip.compress(text.getvalue().encode("utf-8", "surrogateescape"), mtime=0)


def unpack(blob: bytes) -> list[Lesson]:
    """What `pack` packed. Raises ValueError."""
    try:
        text = gzip.decompress(blob).decode("utf-8", "surrogateescape")
        return [_lesson(row) for row in csv.DictReader(io.StringIO(text))]
    except (OSError, EOFError, KeyError, TypeError, csv.Error, zlib.error) as error:
        raise ValueError(f"no manifest of lessons: {error}") from None


def lessons_sha256(lessons: Iterable[Lesson]) -> str:
    """The manifest's identity, 64 hex digits: the order of the lessons does not matter."""
    digest = hashlib.sha256()
    for line in sorted(repr(astuple(lesson)) for lesson in lessons):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _lesson(row: dict[str, str]) -> Lesson:
    return Lesson(
        origin=Origin(row["origin"]),
        name=row["name"],
        is_fake=row["is_fake"] == "True",
        side=Side(row["side"]),
        weight=float(row["weight"]),
        **{name: row[name] for name in ("generator", "source", "group", "sha256", "reason", "trust", "band")},
    )
