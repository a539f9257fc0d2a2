"""The most confident mistakes, small enough to stand inside a report.

Only looks: a picture that has gone, or that does not decode any more, leaves a mistake without a thumbnail.
"""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from moderation.errors import ImageRejected
from moderation.evaluation.scores import ScoreTable
from moderation.images.decoding import decode

MOST = 24  # of either kind
SIDE = 160  # pixels, the longer one
QUALITY = 80
MAX_BYTES = 64 * 2**20  # a larger file is not read for a thumbnail


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture on the wrong side of the threshold. `thumbnail`: a data: URI, or '' where there is none."""

    path: str
    set: str
    generator: str
    probability: float
    thumbnail: str


def mistakes(table: ScoreTable, threshold: float, most: int = MOST) -> tuple[list[Mistake], list[Mistake]]:
    """(real ones called fake, fakes called real), the surest first, at most `most` of each.

    table: one candidate's rows, of pictures as they are.
    """
    called = table.probability >= threshold
    flagged = np.flatnonzero(table.is_scored & ~table.is_fake & called)
    missed = np.flatnonzero(table.is_scored & table.is_fake & ~called)
    flagged = flagged[np.lexsort((-table.margin[flagged], -table.probability[flagged]))]
    missed = missed[np.lexsort((table.margin[missed], table.probability[missed]))]
    return _shown(table, flagged[:most]), _shown(table, missed[:most])


def thumbnail(path: Path) -> str:
    """A JPEG of at most SIDE pixels a side as a data: URI; '' where the file holds no picture."""
    try:
        if path.stat().st_size > MAX_BYTES or not path.is_file():
            return ""
        return thumbnail_of(path.read_bytes())
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return ""


def thumbnail_of(data: bytes) -> str:
    """The same of a picture's bytes; '' where they hold none."""
    try:
        image, _ = decode(data)
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    except (ImageRejected, OSError, ValueError):
        return ""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, exif=b"")
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def common_folder(paths: list[str]) -> str:
    """The folder that all of them lie in, with its separator; '' where there is none or only one path."""
    if len(set(paths)) < 2:
        return ""
    try:
        shared = os.path.commonpath(paths)
    except ValueError:  # some are absolute and some are not
        return ""
    return f"{shared.rstrip(os.sep)}{os.sep}" if shared else ""


def _shown(table: ScoreTable, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[Mistake]:
    return [
        Mistake(
            path=str(table.path[row]),
            set=str(table.set[row]),
            generator=str(table.generator[row]),
            probability=float(table.probability[row]),
            thumbnail=thumbnail(Path(str(table.path[row]))),
        )
        for row in rows.tolist()
    ]
