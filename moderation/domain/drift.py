"""Drift: whether what comes in, or what people say of it, differs from before by more than an operator allows.

An alarm takes two things: a figure beyond its limit, and proof that chance alone does not put it there. What is too
little to say anything raises none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from moderation.domain.drift_limits import Broken, Limits, Measure, remedy
from moderation.domain.shift import Histogram, Share, Shift, change, kolmogorov_smirnov, population_stability, wilson
from moderation.domain.verdict import Decision

MIN_IMAGES = 200
"""In each span; with fewer, a stability index of 0.1 is nothing unusual (9 degrees of freedom times 2 / 200)."""
MIN_LABELS = 20
SIGNIFICANCE = 0.001
"""Many sources are looked at every hour, so one in twenty would cry wolf every day."""
ALONE = (Decision.ALLOW, Decision.BLOCK)
"""What the machine decides alone. A REVIEW only asks: people may say either without proving it wrong."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scores:
    """The images of a source in one span, by the prompt that is compared: how many have each score, and are flagged."""

    histogram: Histogram
    flagged: int

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(self.histogram.values())


@dataclass(frozen=True, slots=True)
class Comparison:
    """The window beside the baseline."""

    psi: Shift
    ks: Shift
    flagged_before: Share
    flagged: Share
    flagged_change: Shift


@dataclass(frozen=True, slots=True)
class Overturned:
    """Of the decisions of each kind that have a trusted label: how many it overturns. `alone`: without REVIEW."""

    by_decision: Mapping[Decision, Share]
    all: Share | None
    alone: Share | None


@dataclass(frozen=True, slots=True)
class SourceDrift:
    """One source ('*': all of them). `images` and `images_before` count what was scored in the window and before it.

    `compared` and `compared_before`: those by the prompt that is active now. `comparison` is None where these are too
    few; `error` where labels are missing. `notes` say why, and what else does not compare.
    """

    source: str
    images: int
    images_before: int
    compared: int
    compared_before: int
    comparison: Comparison | None
    overturned: Overturned
    error: Estimate | None
    notes: tuple[str, ...]
    broken: tuple[Broken, ...]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All sources together first. The baseline runs from `since` to `split`, the window from there to `until`."""

    since: datetime
    split: datetime
    until: datetime
    prompt_id: str | None
    sources: tuple[SourceDrift, ...]

    @property
    def broken(self) -> tuple[Broken, ...]:
        """Every limit that is broken."""
        return tuple(each for source in self.sources for each in source.broken)

    @property
    def says_anything(self) -> bool:
        """Whether any source has enough for a figure."""
        return any(each.comparison or each.error or each.overturned.alone for each in self.sources)


def compare(before: Scores, after: Scores) -> Comparison | None:
    """The two spans side by side; None where either has fewer than MIN_IMAGES."""
    if min(before.images, after.images) < MIN_IMAGES:
        return None
    shares = wilson(before.flagged, before.images), wilson(after.flagged, after.images)
    return Comparison(
        psi=population_stability(before.histogram, after.histogram),
        ks=kolmogorov_smirnov(before.histogram, after.histogram),
        flagged_before=shares[0],
        flagged=shares[1],
        flagged_change=change(*shares),
    )


def overturned(labelled: Sequence[tuple[Decision, bool]]) -> Overturned:
    """labelled: what was decided of an image, and whether a trusted label calls it fake.

    ALLOW is overturned by fake, REVIEW and BLOCK by real.
    """
    shares: dict[Decision, Share] = {}
    for decision in Decision:
        wrong = [is_fake is (decision is Decision.ALLOW) for each, is_fake in labelled if each is decision]
        if wrong:
            shares[decision] = wilson(sum(wrong), len(wrong))
    return Overturned(shares, _together(shares.values()), _together(shares[each] for each in ALONE if each in shares))


def _together(shares: Iterable[Share]) -> Share | None:
    found = list(shares)
    of = sum(share.of for share in found)
    return wilson(sum(share.count for share in found), of) if of else None


def broken_limits(
    source: str,
    limits: Limits,
    *,
    comparison: Comparison | None,
    same_thresholds: bool,
    overturned: Overturned,
    error: Estimate | None,
) -> tuple[Broken, ...]:
    """The limits this source breaks. same_thresholds: whether the share that is flagged can be compared at all."""
    found: dict[Measure, float] = {}
    if comparison is not None:
        shifts = {Measure.PSI: comparison.psi, Measure.KS: comparison.ks}
        if same_thresholds:
            shifts[Measure.FLAGGED] = comparison.flagged_change
        for measure, shift in shifts.items():
            if abs(shift.value) > limits[measure] and shift.p_value < SIGNIFICANCE:
                found[measure] = shift.value
    rate = overturned.alone
    if rate is not None and rate.of >= MIN_LABELS and rate.low > limits[Measure.OVERTURNED]:
        found[Measure.OVERTURNED] = rate.value
    if error is not None and error.low > limits[Measure.ERROR]:
        found[Measure.ERROR] = error.value
    return tuple(
        Broken(source, measure, value, limits[measure], remedy(measure, source)) for measure, value in found.items()
    )
