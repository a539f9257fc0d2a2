"""Local scan: pictures scored here and now, with no queue and no database. For trying things out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from moderation.detector import Detector
from moderation.domain.policy import Thresholds, decide
from moderation.domain.verdict import Decision
from moderation.errors import ImageRejected, RejectReason
from moderation.flows.scanning.looker import Picture


@dataclass(frozen=True, slots=True)
class Scanned:
    """One file: its score and decision, or why there is none (`reason`)."""

    path: str
    decision: Decision | None
    probability: float | None
    margin: float | None
    reason: str = ""
    detail: str = ""


def scan_paths(
    paths: Iterable[Path],
    *,
    detector: Detector,
    prepare: Callable[[bytes, int], Picture],
    thresholds: Thresholds,
    readers: Executor,
    batch_size: int,
) -> Iterator[Scanned]:
    """One result a file, in order; holds one batch of pictures at a time."""
    rest = iter(paths)
    while batch := list(islice(rest, batch_size)):
        read = list(readers.map(lambda path: _read(path, prepare, detector.native_crops), batch))
        scores = iter(detector.score([item.views for item in read if isinstance(item, Picture)]))
        for path, item in zip(batch, read, strict=True):
            result = next(scores) if isinstance(item, Picture) else item
            if isinstance(result, ImageRejected):
                yield Scanned(str(path), None, None, None, result.reason, result.detail)
            else:
                decision = decide(result.probability, thresholds)
                yield Scanned(str(path), decision, result.probability, result.margin)


def _read(path: Path, prepare: Callable[[bytes, int], Picture], native_crops: int) -> Picture | ImageRejected:
    try:
        return prepare(path.read_bytes(), native_crops)
    except ImageRejected as error:
        return error
    except OSError as error:
        return ImageRejected(RejectReason.NOT_FOUND, error.strerror or str(error))
