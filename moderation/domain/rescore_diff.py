"""What new scores would change: old decisions against new ones, and who was right where people have looked. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moderation.domain.agreement import Share, wilson
from moderation.domain.prompt import PromptId
from moderation.domain.rescore import RescoreId
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision


@dataclass(frozen=True, slots=True)
class DiffGroup:
    """Images of one source with the same decisions: the stored one, and the new score's by today's thresholds.

    `old_today`: what today's thresholds make of the old score. is_seen: people have looked at these bytes already.
    """

    source: str
    before: Decision
    after: Decision
    old_today: Decision
    is_seen: bool
    images: int


@dataclass(frozen=True, slots=True)
class Rescored:
    """One image: its verdict, and what the new score would make of it. `is_fake`: its trusted label; None: it has none.

    Probabilities are calibrated P(fake), 0 to 1.
    """

    image_id: ImageId
    source: str
    before: Decision
    after: Decision
    p_before: float
    p_after: float
    is_fake: bool | None = None


@dataclass(frozen=True, slots=True)
class WhoIsRight:
    """Images with a trusted label: how often each side is right, and how often only one of them.

    Right is to flag (REVIEW or BLOCK) a fake and to allow a real one. p_value: exact McNemar over the images that only
    one side got right, two-sided: how often two equally good sides would differ this much.
    """

    images: int
    fakes: int
    before: Share
    after: Share
    only_before: int
    only_after: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Pin:
    """The moment a difference was looked at: the newest verdict then, and the policy version of each source ('*' too).

    What is applied later is what was shown, or nothing.
    """

    last_verdict: int
    policies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RescoreDiff:
    """What applying a run would change. images: with a new score; unscored: in the run's scope, but without one."""

    run_id: RescoreId
    prompt_id: PromptId
    pin: Pin
    images: int
    unscored: int
    moves: Mapping[tuple[Decision, Decision], int]
    by_source: Mapping[str, Mapping[tuple[Decision, Decision], int]]
    by_thresholds: int
    to_review: int
    reviewed: WhoIsRight
    moving: Sequence[Rescored]

    @property
    def changed(self) -> int:
        """How many images would get another decision."""
        return changed(self.moves)


def changed(moves: Mapping[tuple[Decision, Decision], int]) -> int:
    """The images that leave their decision."""
    return sum(images for (before, after), images in moves.items() if before is not after)


def moves_of(groups: Iterable[DiffGroup]) -> dict[tuple[Decision, Decision], int]:
    """All nine pairs of old and new decision, with their images."""
    counts = Counter[tuple[Decision, Decision]]()
    for group in groups:
        counts[group.before, group.after] += group.images
    return {(before, after): counts[before, after] for before in Decision for after in Decision}


def moved_by_thresholds(groups: Iterable[DiffGroup]) -> int:
    """Images whose decision changes as it would with their old score: by the thresholds, not by the prompt."""
    return sum(each.images for each in groups if each.before is not each.after and each.old_today is each.after)


def who_is_right(images: Iterable[Rescored]) -> WhoIsRight:
    """The two sides on the images that have a label."""
    labelled = [image for image in images if image.is_fake is not None]
    right = [(_is_right(image.before, image.is_fake), _is_right(image.after, image.is_fake)) for image in labelled]
    count = Counter(right)
    only_before, only_after = count[True, False], count[False, True]
    both = count[True, True]
    return WhoIsRight(
        images=len(labelled),
        fakes=sum(bool(image.is_fake) for image in labelled),
        before=wilson(both + only_before, len(labelled)),
        after=wilson(both + only_after, len(labelled)),
        only_before=only_before,
        only_after=only_after,
        p_value=mcnemar_exact(only_before, only_after),
    )


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test: a fair coin for each image that only one side got right."""
    tossed = only_first + only_second
    tail = sum(math.comb(tossed, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << tossed))


def _is_right(decision: Decision, is_fake: bool | None) -> bool:
    return (decision is not Decision.ALLOW) == is_fake
