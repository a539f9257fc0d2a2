"""Reads and writes manifests: CSV or Parquet tables with a row a picture. Refuses what it would have to guess about.

A file that is not there is no error here: it is found when it is read, and listed. Only a manifest that starts with
nothing but missing files is refused, since then its relative paths count from elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from moderation.datasets.labelled import REAL_GENERATOR, SPLITS, LabelledImage
from moderation.datasets.table import COLUMNS, Row, rows, write_rows
from moderation.errors import ConfigurationError

_LABELS = {"real": False, "0": False, "false": False, "fake": True, "1": True, "true": True}
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_LOOKED_AT = 20  # files at the start, to tell a wrong folder from a missing picture


def read_manifest(path: Path) -> list[LabelledImage]:
    """The manifest's pictures in its order. Columns: path and label; generator, source, split, set, group at will.

    Relative paths count from the manifest's folder. Raises ConfigurationError naming file and line.
    """
    reader = _Reader(path, path.absolute().parent)
    images = [reader.image(row) for row in rows(path)]
    if not images:
        raise ConfigurationError(str(path), "no picture in it", hint=f"a row a picture under {','.join(COLUMNS)}")
    _check_found(path, images[:_LOOKED_AT])
    return images


def write_manifest(path: Path, images: Iterable[LabelledImage]) -> None:
    """Writes what `read_manifest` reads back alike. Files below the manifest's folder get relative paths.

    Raises ConfigurationError for another suffix, a folder that is not there, or a name that is no UTF-8.
    """
    folder = f"{path.absolute().parent}{os.sep}"
    here = Path.cwd()
    write_rows(path, (_line(image, folder, here) for image in images))


def _line(image: LabelledImage, folder: str, here: Path) -> tuple[str, ...]:
    place = str(image.path if image.path.is_absolute() else here / image.path)
    name = place.removeprefix(folder).replace(os.sep, "/")
    label = "fake" if image.is_fake else "real"
    return name, label, image.generator, image.source, image.split, image.set, image.group


@dataclass(slots=True)
class _Seen:
    where: str
    is_fake: bool


class _Reader:
    """Turns rows into pictures and remembers them, to notice rows that contradict each other."""

    def __init__(self, manifest: Path, folder: Path) -> None:
        self._manifest = manifest
        self._folder = folder
        self._pictures: dict[str, _Seen] = {}
        self._rows: dict[tuple[str, str], str] = {}
        self._splits: dict[str, tuple[str, str]] = {}

    def image(self, row: Row) -> LabelledImage:
        """Raises ConfigurationError naming the row."""
        name = self._path(row)
        is_fake = self._label(row)
        split = self._split(row)
        self._check_once(row, name, is_fake)
        group = row.values.get("group", "")
        if group and split:
            self._check_whole(row, group, split)
        return LabelledImage(
            path=self._folder / name,
            is_fake=is_fake,
            set=row.values.get("set", ""),
            generator=row.values.get("generator", "") if is_fake else REAL_GENERATOR,
            source=row.values.get("source", ""),
            group=group or name,
            split=split,
        )

    def _path(self, row: Row) -> str:
        name = row.values["path"]
        if not name or "\0" in name:
            raise self._wrong(row, "no path", "give each picture's path, or delete the row")
        if _URL.match(name):
            raise self._wrong(row, f"{name} is a URL", "download the pictures and give paths to files")
        return name

    def _label(self, row: Row) -> bool:
        label = row.values["label"]
        is_fake = _LABELS.get(label.lower())
        if is_fake is None:
            hint = "real or fake; or 0 or false for real, 1 or true for fake"
            if label.lower() in ("yes", "no"):
                hint += ". AntifakePrompt's own lists say yes for real and no for fake"
            raise self._wrong(row, f"label {label!r}" if label else "no label", hint)
        return is_fake

    def _split(self, row: Row) -> str:
        split = row.values.get("split", "").lower()
        if split and split not in SPLITS:
            raise self._wrong(row, f"split {split!r}", f"{', '.join(SPLITS)}, or nothing")
        return split

    def _check_once(self, row: Row, name: str, is_fake: bool) -> None:
        seen = self._pictures.setdefault(name, _Seen(row.where, is_fake))
        if seen.is_fake != is_fake:
            raise self._wrong(row, f"{name} is labelled otherwise in {seen.where}", "delete the row that is wrong")
        where = self._rows.setdefault((row.values.get("set", ""), name), row.where)
        if where != row.where:
            raise self._wrong(row, f"{name} stands in {where} already", "list a picture once a set")

    def _check_whole(self, row: Row, group: str, split: str) -> None:
        known, where = self._splits.setdefault(group, (split, row.where))
        if known != split:
            raise self._wrong(
                row, f"group {group} is in {split}, but in {known} in {where}", "keep a source picture in one split"
            )

    def _wrong(self, row: Row, problem: str, hint: str) -> ConfigurationError:
        return ConfigurationError(f"{self._manifest}, {row.where}", problem, hint=hint)


def _check_found(manifest: Path, first: list[LabelledImage]) -> None:
    if any(image.path.exists() for image in first):
        return
    raise ConfigurationError(
        str(manifest),
        f"none of its first {len(first)} files exists" if len(first) > 1 else "its only file does not exist",
        hint=f"relative paths count from the manifest's folder: looked for {first[0].path}",
    )
