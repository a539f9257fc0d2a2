"""Two prompts on the same images: where they agree, where they differ, and who was right. Pure rules."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from moderation.domain.agreement import Share, wilson, wilson_interval
from moderation.domain.evidence import Rule
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SURE = 0.05
"""Below this p-value a difference is called one. A convention."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One image with what two prompts say of the same bytes (`sha256`): P(fake), 0 to 1."""

    image_id: ImageId
    source: str
    first: float
    second: float
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Differing:
    """An image that two prompts see differently. `is_fake`: what its label says; None without one."""

    image_id: ImageId
    source: str
    first: float
    second: float
    first_decision: Decision
    second_decision: Decision
    is_fake: bool | None


class Better(StrEnum):
    """Which of two prompts was right more often."""

    FIRST = "the first"
    SECOND = "the second"
    UNKNOWN = "too few to say"


@dataclass(frozen=True, slots=True)
class Weighed:
    """A share of all images, from labelled ones that stand for others too, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class WhoWasRight:
    """Two prompts on images that people have labelled.

    first, second: how often right at the review threshold of each image's source. only_first, only_second: images that
    this one alone got right. p_value: exact McNemar, two-sided.
    """

    images: int
    fakes: int
    first: Share
    second: Share
    only_first: int
    only_second: int
    p_value: float
    better: Better


def agreement(pairs: Sequence[Pair], rule: Rule) -> tuple[dict[Decision, dict[Decision, int]], Share]:
    """How many images get which decision of the first and which of the second, and the share that gets the same."""
    counts = Counter((rule.decide(pair.source, pair.first), rule.decide(pair.source, pair.second)) for pair in pairs)
    table = {one: {other: counts[one, other] for other in Decision} for one in Decision}
    return table, wilson(sum(table[each][each] for each in Decision), len(pairs))


def differences(pairs: Sequence[Pair]) -> dict[float, float]:
    """The quantiles of P(fake), second minus first; none of no images. The nearest rank, so each is one that occurs."""
    gaps = sorted(pair.second - pair.first for pair in pairs)
    return {each: gaps[min(len(gaps) - 1, int(each * len(gaps)))] for each in QUANTILES} if gaps else {}


def most_differing(pairs: Sequence[Pair], rule: Rule, labels: Mapping[ImageId, bool], limit: int) -> list[Differing]:
    """Images that get another decision first, then by how far P(fake) is apart."""
    found = [
        Differing(
            image_id=pair.image_id,
            source=pair.source,
            first=pair.first,
            second=pair.second,
            first_decision=rule.decide(pair.source, pair.first),
            second_decision=rule.decide(pair.source, pair.second),
            is_fake=labels.get(pair.image_id),
        )
        for pair in pairs
        if pair.first != pair.second
    ]
    return heapq.nsmallest(limit, found, key=_likeness)


def who_was_right(pairs: Sequence[Pair], rule: Rule, labels: Mapping[ImageId, bool]) -> WhoWasRight:
    """The two on those of the images that have a label. labels: whether it is a fake."""
    counts: Counter[tuple[bool, bool]] = Counter()
    fakes = 0
    for pair in pairs:
        if pair.image_id in labels:
            is_fake = labels[pair.image_id]
            fakes += is_fake
            decided = (rule.decide(pair.source, p) is not Decision.ALLOW for p in (pair.first, pair.second))
            one, other = (is_flagged == is_fake for is_flagged in decided)
            counts[one, other] += 1
    images = counts.total()
    only_first, only_second = counts[True, False], counts[False, True]
    p_value = mcnemar(only_first, only_second)
    better = Better.UNKNOWN
    if p_value < SURE:
        better = Better.FIRST if only_first > only_second else Better.SECOND
    return WhoWasRight(
        images=images,
        fakes=fakes,
        first=wilson(counts[True, True] + only_first, images),
        second=wilson(counts[True, True] + only_second, images),
        only_first=only_first,
        only_second=only_second,
        p_value=p_value,
        better=better,
    )


def right_of_all(
    pairs: Sequence[Pair], rule: Rule, labels: Mapping[ImageId, bool], chances: Mapping[ImageId, float]
) -> tuple[Weighed, Weighed] | None:
    """How often each is right among all images; None where no labelled image was drawn with a known chance.

    chances: with which an image came to be looked at. It stands for 1 / chance images (Horvitz and Thompson 1952); the
    interval is Wilson's, for Kish's effective number of images.
    """
    seen = [pair for pair in pairs if pair.image_id in labels and chances.get(pair.image_id)]
    if not seen:
        return None
    weights = [1 / chances[pair.image_id] for pair in seen]
    effective = sum(weights) ** 2 / sum(weight * weight for weight in weights)
    shares = []
    for scores in ([pair.first for pair in seen], [pair.second for pair in seen]):
        right = [
            (rule.decide(pair.source, p) is not Decision.ALLOW) == labels[pair.image_id]
            for pair, p in zip(seen, scores, strict=True)
        ]
        share = min(1.0, sum(w for w, is_right in zip(weights, right, strict=True) if is_right) / sum(weights))
        shares.append(Weighed(share, *wilson_interval(share, effective)))
    return shares[0], shares[1]


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test: a fair coin for each image that only one got right."""
    tossed, fewer = only_first + only_second, min(only_first, only_second)
    whole = math.lgamma(tossed + 1) - tossed * math.log(2)  # in logarithms: a coin tossed a million times is quick, too
    tail = (math.exp(whole - math.lgamma(k + 1) - math.lgamma(tossed - k + 1)) for k in range(fewer + 1))
    return min(1.0, 2 * math.fsum(tail))


def _likeness(each: Differing) -> tuple[bool, float, str]:
    return each.first_decision is each.second_decision, -abs(each.second - each.first), each.image_id
