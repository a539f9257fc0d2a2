"""How far a reviewer can be relied on: right on what is known, alike with others, and how fast. Pure rules."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import NormalDist, median

from moderation.domain.review import Act, Answer, Review, standing
from moderation.domain.submission import ImageId

PAUSE = timedelta(minutes=5)
"""A longer time between two answers is no work, and does not count in the pace. A convention."""


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `total`, with the interval in which the true share lies."""

    right: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The share itself; None of nothing."""
        return self.right / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's kappa over `pairs` answers of one reviewer and another to the same image; None where it has no value."""

    kappa: float | None
    pairs: int


@dataclass(frozen=True, slots=True)
class Record:
    """One reviewer's work. Answers taken back do not count; `on_gold` leaves out those that were `unsure`."""

    reviewer: str
    answers: int
    unsure: int
    skipped: int
    escalated: int
    median_s: float | None
    per_minute: float | None
    on_gold: Share
    agreement: Agreement
    last_at: datetime


def records(reviews: Sequence[Review], truths: Mapping[ImageId, Answer]) -> list[Record]:
    """What each reviewer did, by name. `reviews` are all there are, the oldest first; `truths` is the gold."""
    by_image: dict[ImageId, list[Review]] = defaultdict(list)
    by_reviewer: dict[str, list[Review]] = defaultdict(list)
    for review in reviews:
        by_image[review.image_id].append(review)
        by_reviewer[review.reviewer].append(review)
    counting = [review for each in by_image.values() for review in standing(each)]
    pairs = _pairs(counting)
    answers: dict[str, list[Review]] = defaultdict(list)
    for review in sorted(counting, key=lambda each: each.review_id):
        answers[review.reviewer].append(review)
    return [
        _record(name, acts, answers[name], pairs.get(name, []), truths) for name, acts in sorted(by_reviewer.items())
    ]


def kappa(pairs: Collection[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa: agreement beyond what chance would give, at most 1; None without pairs, or where all are one word.

    Cohen 1960, A coefficient of agreement for nominal scales.
    """
    if not pairs:
        return None
    count = len(pairs)
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    seen = sum(one == other for one, other in pairs) / count
    by_chance = sum(first[word] * second[word] for word in first) / count**2
    return None if by_chance == 1 else (seen - by_chance) / (1 - by_chance)


def wilson(right: int, total: int, confidence: float = 0.95) -> Share:
    """The share with its interval. Of nothing it is 0 to 1."""
    return Share(right, total, *wilson_interval(right / total, total, confidence)) if total else Share(0, 0, 0.0, 1.0)


def wilson_interval(share: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share in so many trials, which holds for small numbers too (Wilson 1927; Brown, Cai,
    DasGupta 2001). `trials` need not be whole: weighted ones count for fewer."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


def per_minute(times: Sequence[datetime]) -> float | None:
    """Answers a minute, from when they were given, in order. Pauses are left out; None where there is no pace yet."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    work = [gap for gap in gaps if gap <= PAUSE]
    spent = sum(work, timedelta())
    return len(work) / (spent / timedelta(minutes=1)) if spent else None


def _record(
    name: str,
    acts: Sequence[Review],
    answers: Sequence[Review],
    pairs: Collection[tuple[Answer, Answer]],
    truths: Mapping[ImageId, Answer],
) -> Record:
    kinds = Counter(review.act for review in acts)
    seconds = [review.seconds for review in answers if review.seconds is not None]
    known = [each for each in answers if each.image_id in truths and each.answer is not Answer.UNSURE]
    return Record(
        reviewer=name,
        answers=len(answers),
        unsure=sum(review.answer is Answer.UNSURE for review in answers),
        skipped=kinds[Act.SKIP],
        escalated=kinds[Act.ESCALATE],
        median_s=median(seconds) if seconds else None,
        per_minute=per_minute([review.created_at for review in answers]),
        on_gold=wilson(sum(each.answer is truths[each.image_id] for each in known), len(known)),
        agreement=Agreement(kappa(pairs), len(pairs)),
        last_at=acts[-1].created_at,
    )


def _pairs(counting: Sequence[Review]) -> dict[str, list[tuple[Answer, Answer]]]:
    """For each reviewer their answers, each with another reviewer's to the same image."""
    by_image: dict[ImageId, list[Review]] = defaultdict(list)
    for review in counting:
        by_image[review.image_id].append(review)
    found: dict[str, list[tuple[Answer, Answer]]] = defaultdict(list)
    for reviews in by_image.values():
        for one in reviews:
            for other in reviews:
                if one is not other and one.answer is not None and other.answer is not None:
                    found[one.reviewer].append((one.answer, other.answer))
    return found
