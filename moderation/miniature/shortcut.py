"""What trivial features tell of the miniature's own pictures, audited as `modctl eval --shortcuts` audits any data."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moderation.evaluation.shortcuts import audit, features
from moderation.images import decode
from moderation.miniature.pictures import PictureSet

Rows = list[dict[str, Any]]


def of_samples(folder: Path) -> Rows:
    """Of the sample files that `gallery` wrote; a picture and its fake count as one when intervals are drawn."""
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["samples"]
    names = [entry["file"] for entry in entries]
    files = [(folder / name).read_bytes() for name in names]
    return _audited(files, [entry["truth"] == "fake" for entry in entries], [name.rpartition("-")[0] for name in names])


def of_pictures(pictures: PictureSet) -> Rows:
    """Of a set, as the PNG files that `datasets` would make of it."""
    files = []
    for pixels in pictures.pixels:
        memory = io.BytesIO()
        Image.fromarray(pixels).save(memory, "PNG")
        files.append(memory.getvalue())
    return _audited(files, pictures.is_fake.tolist(), [str(pair) for pair in pictures.pair])


def _audited(files: Sequence[bytes], is_fake: Sequence[bool], groups: Sequence[str]) -> Rows:
    """A row a feature; those that are the same in all files are left out."""
    found = [features(data, decode(data)[0]) for data in files]
    columns = {name: np.array([row[name] for row in found]) for name in found[0]}
    varied = {name: values for name, values in columns.items() if len(np.unique(values)) > 1}
    shortcuts = audit(varied, np.array(is_fake), np.full(len(files), ""), np.array(groups))
    return [asdict(shortcut) for shortcut in shortcuts]
