"""Judging: the held-out pictures, scored by the active prompt and the candidate side by side, as a worker would."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderation.detector import Detector, Score, score_together
from moderation.domain.image import ImageFacts
from moderation.domain.lesson import Lesson, Origin
from moderation.domain.policy import Policy
from moderation.domain.reviewed import size_band
from moderation.errors import ImageRejected
from moderation.evaluation.gate import HOLDOUT, REPLAY, Judged
from moderation.flows.retraining.pace import Pace
from moderation.flows.scanning.looker import Picture
from moderation.storage.policies import for_sources
from moderation.storage.submissions import chunks

Prepare = Callable[[bytes, int], Picture]


@dataclass(frozen=True)
class Verdict:
    """One held-out picture and what both prompts say of it; None: they could not score it."""

    lesson: Lesson
    path: Path
    facts: ImageFacts
    before: Score | None
    after: Score | None


@dataclass(frozen=True)
class Bench:
    """What was judged, and how many pictures could not be read, by reason."""

    verdicts: Sequence[Verdict]
    left_out: Mapping[str, int]


def score_both(
    held_out: Sequence[tuple[Lesson, Path]],
    before: Detector,
    after: Detector,
    prepare: Prepare,
    readers: Executor,
    pace: Pace,
    *,
    batch_size: int,
) -> Bench:
    """Scores every picture with both, in batches, from one preparation and, where they normalise alike, one look."""
    crops = max(before.native_crops, after.native_crops)

    def read(path: Path) -> Picture | ImageRejected:
        try:
            return prepare(path.read_bytes(), crops)
        except ImageRejected as error:
            return error

    verdicts: list[Verdict] = []
    unreadable: Counter[str] = Counter()
    pace.stage("judging", len(held_out))
    for part in chunks(held_out, batch_size):
        seen: list[tuple[Lesson, Path, Picture]] = []
        for (lesson, path), picture in zip(part, readers.map(read, [path for _, path in part]), strict=True):
            if isinstance(picture, ImageRejected):
                unreadable[str(picture.reason)] += 1
            else:
                seen.append((lesson, path, picture))
        views, sources = [each.views for _, _, each in seen], [lesson.source for lesson, _, _ in seen]
        scores = score_together([before, after], views, sources) if seen else [[], []]
        for (lesson, path, picture), old, new in zip(seen, *scores, strict=True):
            verdicts.append(Verdict(lesson, path, picture.facts, _score(old), _score(new)))
        pace.advance(len(part))
    return Bench(verdicts, dict(sorted(unreadable.items())))


def rows_of(verdicts: Sequence[Verdict], policies: dict[str, Policy]) -> Judged:
    """The rows that the gate judges, at the thresholds that hold now for each source."""
    lessons = [verdict.lesson for verdict in verdicts]
    holds = for_sources(policies, {lesson.source for lesson in lessons})
    before, after = _numbers([one.before for one in verdicts]), _numbers([one.after for one in verdicts])
    return Judged(
        is_fake=np.array([lesson.is_fake for lesson in lessons], dtype=bool),
        before_p=before[0],
        before_margin=before[1],
        after_p=after[0],
        after_margin=after[1],
        threshold=np.array([holds[lesson.source].thresholds.review_at for lesson in lessons], dtype=np.float64),
        group=_texts([lesson.group or lesson.name for lesson in lessons]),
        source=_texts([lesson.source for lesson in lessons]),
        generator=_texts([lesson.generator if lesson.is_fake else "" for lesson in lessons]),
        band=_texts([one.lesson.band or size_band(one.facts.width, one.facts.height) for one in verdicts]),
        part=_texts([HOLDOUT if lesson.origin is Origin.REVIEWED else REPLAY for lesson in lessons]),
    )


def _score(found: Score | ImageRejected) -> Score | None:
    return None if isinstance(found, ImageRejected) else found


def _numbers(scores: Sequence[Score | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(fake) and margins; NaN where there is none."""
    return (
        np.array([math.nan if one is None else one.probability for one in scores], dtype=np.float64),
        np.array([math.nan if one is None else one.margin for one in scores], dtype=np.float64),
    )


def _texts(values: Sequence[str]) -> NDArray[np.str_]:
    return np.array(values, dtype=np.str_)
