"""Lesson pictures: from a run's lessons to files that can be read. What can't be had is left out and counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from moderation.datasets.labelled import REAL_GENERATOR, LabelledImage
from moderation.domain.lesson import Lesson, Origin, Side
from moderation.domain.submission import ImageId
from moderation.errors import ConfigurationError, ImageRejected, ImageUnavailable
from moderation.files import write_whole
from moderation.flows.retraining.lessons import file_of
from moderation.flows.retraining.pace import Pace

Fetch = Callable[[ImageId], bytes]

GONE, CHANGED, AWAY, NO_FILE = "not found", "changed since it was reviewed", "can't be had now", "file is missing"
_TRIES = 3
_MOST_AWAY, _MOST_GONE = 0.1, 0.5
"""Shares of the reviewed images. A platform may delete many; but a source that is down would teach something else."""
_FOLDER_HINT = "does MODERATION_IMAGES of this worker lead where the platform's images are?"


@dataclass(frozen=True)
class LessonPictures:
    """The lessons whose pictures are at hand, each with its file, and how many are not, by reason."""

    found: Sequence[tuple[Lesson, Path]]
    left_out: Mapping[str, int]

    def on(self, *sides: Side) -> list[tuple[Lesson, Path]]:
        """Those of these sides."""
        return [(lesson, path) for lesson, path in self.found if lesson.side in sides]

    def labelled(self, side: Side) -> list[LabelledImage]:
        """Those of a side as a tuning run takes them."""
        return [_labelled(lesson, path) for lesson, path in self.on(side)]


def collect(
    lessons: Sequence[Lesson], folder: Path, fetch: Fetch, readers: Executor, pace: Pace, retry_base_s: float
) -> LessonPictures:
    """Reviewed images are fetched into `folder`, by their hash; files are taken where they lie.

    The bytes must be those that people saw. The order is the lessons' names', whatever order they came in. Raises
    ConfigurationError where so much is missing that what is left would teach something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(lessons, key=lambda lesson: (lesson.origin, lesson.name))
    pace.stage("fetching", len(ordered))
    found: list[tuple[Lesson, Path]] = []
    lost: Counter[tuple[Origin, str]] = Counter()
    with _readers_let_go(readers, lambda lesson: _have(lesson, folder, fetch, retry_base_s), ordered) as results:
        for lesson, (path, problem) in zip(ordered, results, strict=True):
            if path is None:
                lost[lesson.origin, problem] += 1
            else:
                found.append((lesson, path))
            pace.advance(1)
    reviewed = sum(lesson.origin is Origin.REVIEWED for lesson in ordered)
    _check({problem: count for (origin, problem), count in lost.items() if origin is Origin.REVIEWED}, reviewed)
    return LessonPictures(found, {f"{origin}: {problem}": count for (origin, problem), count in sorted(lost.items())})


@contextmanager
def _readers_let_go(
    readers: Executor, work: Callable[[Lesson], tuple[Path | None, str]], lessons: Sequence[Lesson]
) -> Iterator[Iterator[tuple[Path | None, str]]]:
    """What is not yet begun is called off when the caller stops."""
    jobs = [readers.submit(work, lesson) for lesson in lessons]
    try:
        yield (job.result() for job in jobs)
    finally:
        for job in jobs:
            job.cancel()


def _have(lesson: Lesson, folder: Path, fetch: Fetch, retry_base_s: float) -> tuple[Path | None, str]:
    """The picture's file, or why there is none."""
    if lesson.origin is Origin.FILE:
        return _file(lesson)
    if lesson.sha256 and (folder / lesson.sha256).is_file():
        return folder / lesson.sha256, ""
    tries = Retrying(
        retry=retry_if_exception_type(ImageUnavailable),
        wait=wait_random_exponential(multiplier=retry_base_s, max=10),
        stop=stop_after_attempt(_TRIES),
        reraise=True,
    )
    try:
        data = tries(fetch, ImageId(lesson.name))
    except ImageRejected:
        return None, GONE
    except ImageUnavailable:
        return None, AWAY
    sha256 = hashlib.sha256(data).hexdigest()
    if lesson.sha256 not in ("", sha256):
        return None, CHANGED
    write_whole(folder / sha256, data)
    return folder / sha256, ""


def _file(lesson: Lesson) -> tuple[Path | None, str]:
    path = file_of(lesson)
    try:
        data = path.read_bytes()
    except OSError:
        return None, NO_FILE
    if lesson.sha256 not in ("", hashlib.sha256(data).hexdigest()):
        return None, CHANGED
    return path, ""


def _check(lost: Mapping[str, int], reviewed: int) -> None:
    away, gone = lost.get(AWAY, 0), sum(lost.values())
    if away > _MOST_AWAY * reviewed:
        raise ConfigurationError(
            "MODERATION_IMAGES", f"{away} of {reviewed} reviewed images can't be had now: the source does not answer",
            hint="when it does: modctl retrain",
        )  # fmt: skip
    if gone > _MOST_GONE * reviewed:
        why = ", ".join(f"{count} {problem}" for problem, count in sorted(lost.items()))
        raise ConfigurationError(
            "MODERATION_IMAGES", f"{gone} of {reviewed} reviewed images are missing: {why}", hint=_FOLDER_HINT
        )


def _labelled(lesson: Lesson, path: Path) -> LabelledImage:
    image = LabelledImage(
        path=path,
        is_fake=lesson.is_fake,
        set="reviewed" if lesson.origin is Origin.REVIEWED else "replay",
        generator=lesson.generator if lesson.is_fake else REAL_GENERATOR,
        source=lesson.source,
        group=lesson.group or lesson.name,
        split=lesson.side,
    )
    return replace(image, weight=lesson.weight)
