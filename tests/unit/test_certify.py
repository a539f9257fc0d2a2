"""A certified threshold: the exact numbers, what is missing where nothing is proven, and that the proof holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from moderation.evaluation.certify import Certificate, certify, passed
from moderation.evaluation.proof import GRID, Ceiling, fitting_test

ALIKE = [Ceiling(math.inf, 1.0)]
KINDS = [Ceiling(0.5, 50.0), Ceiling(0.9, 1.0), Ceiling(math.inf, 10.0)]
"""ALLOW below .5, one in fifty looked at; REVIEW below .9, all; BLOCK, one in ten."""
DRAWS = 2000
Floats = NDArray[np.float64]


def plain(errors: int, real: int, *, max_fpr: float = 0.01, at: float = 1.0) -> Certificate:
    """`errors` of `real` images labelled real score `at`, the others 0, and all had the same chance."""
    scores = [at] * errors + [0.0] * (real - errors)
    return certify(scores, [1.0] * real, ALIKE, max_fpr=max_fpr, confidence=0.95)


@pytest.mark.parametrize(("errors", "real"), [(0, 299), (2, 629), (5, 1050)])
def test_so_few_errors_among_so_many_certify_one_percent(errors: int, real: int) -> None:
    found = plain(errors, real)
    assert found.threshold is not None
    assert found.bound is not None
    assert found.bound <= 0.01
    assert found.method.startswith("exact binomial")
    assert stats.beta.ppf(0.95, errors + 1, real - errors) == pytest.approx(found.bound, abs=1e-5)


@pytest.mark.parametrize(
    ("errors", "real", "more"), [(0, 298, 1), (0, 90, 209), (0, 0, 299), (2, 300, 328), (5, 500, 549), (40, 100, 5101)]
)
def test_too_few_labels_prove_nothing_and_say_how_many_more(errors: int, real: int, more: int) -> None:
    found = plain(errors, real)
    assert (found.threshold, found.bound, found.more) == (None, None, more)
    assert plain(errors, real + more).threshold is not None
    assert plain(errors, real + more - 1).threshold is None


def test_no_error_in_ninety_proves_three_point_three_percent_and_no_less() -> None:
    assert plain(0, 90, max_fpr=0.0328).threshold is not None
    assert plain(0, 90, max_fpr=0.0327).threshold is None


def test_the_lowest_threshold_is_taken_and_what_lies_on_it_is_flagged() -> None:
    found = plain(30, 400, at=0.42)
    assert found.threshold == 0.421
    assert (found.flagged, found.real, found.rate) == (0, 400, 0.0)
    found = plain(2, 700, at=0.42)
    assert found.threshold == 0.001  # two of seven hundred may be wrong, so only the zeros stop it
    assert found.flagged == 2
    assert found.rate == pytest.approx(2 / 700)


def test_after_the_first_threshold_that_fails_none_is_tried() -> None:
    """Blind at the top, so nothing passes, though looser thresholds alone would."""
    found = certify([0.0] * 400, [1.0] * 400, [*ALIKE, Ceiling(math.inf, math.inf)], max_fpr=0.01, confidence=0.95)
    assert (found.threshold, found.is_blind, found.more) == (None, True, None)


def test_a_kind_that_nobody_looked_at_ends_the_search_where_it_begins() -> None:
    kinds = [Ceiling(0.5, math.inf), Ceiling(0.9, 1.0), Ceiling(math.inf, 1.0)]
    found = certify([0.6] * 400, [1.0] * 400, kinds, max_fpr=0.01, confidence=0.95)
    assert found.threshold == 0.601
    found = certify([0.5] * 100 + [0.1] * 300, [1.0] * 400, kinds, max_fpr=0.4, confidence=0.95)
    assert found.threshold == 0.5


def test_rarely_audited_images_prove_more_each() -> None:
    """Sixty real images that stand for fifty each weigh more than sixty that stand for themselves."""
    kinds = [Ceiling(0.5, 50.0), Ceiling(math.inf, 10.0)]
    found = certify([0.1] * 85, [50.0] * 85, kinds, max_fpr=0.01, confidence=0.95)
    assert found.threshold == 0.5
    assert found.method.startswith("betting")
    short = certify([0.1] * 50, [50.0] * 50, kinds, max_fpr=0.01, confidence=0.95)
    assert short.threshold is None
    assert short.more is not None
    enough = certify([0.1] * (50 + short.more), [50.0] * (50 + short.more), kinds, max_fpr=0.01, confidence=0.95)
    assert enough.threshold is not None


def test_without_any_label_the_need_is_told_too() -> None:
    found = certify([], [], KINDS, max_fpr=0.01, confidence=0.95)
    assert (found.threshold, found.rate, found.real) == (None, None, 0)
    assert found.more is not None
    assert found.more >= 299


@pytest.mark.parametrize(("max_fpr", "confidence"), [(0.0, 0.95), (1.0, 0.95), (0.01, 1.0), (math.nan, 0.9)])
def test_what_can_be_no_target_is_refused(max_fpr: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        certify([], [], ALIKE, max_fpr=max_fpr, confidence=confidence)


def lowest_that_looks_good(score: Floats, weight: Floats, max_fpr: float) -> float:
    """The naive choice: the lowest threshold whose rate in the sample is below the target."""
    rates = np.append(np.cumsum(weight[::-1])[::-1], 0.0)[np.searchsorted(score, GRID)] / weight.sum()
    return float(GRID[np.flatnonzero(rates <= max_fpr)[-1]])


def shares_broken(samples: list[tuple[Floats, Floats]], kinds: list[Ceiling], max_fpr: float) -> tuple[float, float]:
    """In which share of the samples the certified and the naive threshold break the target. Scores: Beta(1, 6)."""
    certified, naive = 0, 0
    for score, weight in samples:
        steps = passed(fitting_test(score, weight, kinds), kinds, max_fpr, 0.95)
        certified += steps > 0 and stats_above(float(GRID[steps - 1])) > max_fpr
        naive += stats_above(lowest_that_looks_good(score, weight, max_fpr)) > max_fpr
    return certified / len(samples), naive / len(samples)


def stats_above(threshold: float) -> float:
    """P(score >= threshold) of real images: Beta(1, 6) has the survival function (1 - t)^6."""
    return float((1.0 - threshold) ** 6)


def plain_sample(chance: np.random.Generator) -> tuple[Floats, Floats]:
    return np.sort(chance.beta(1, 6, 700)), np.ones(700)


def weighted_sample(chance: np.random.Generator) -> tuple[Floats, Floats]:
    """Of 8,000 real images those that the rates of KINDS draw."""
    score = np.sort(chance.beta(1, 6, 8_000))
    weight = np.select([score < 0.5, score < 0.9], [50.0, 1.0], 10.0)
    taken = chance.random(8_000) < 1.0 / weight
    return score[taken], weight[taken]


@pytest.mark.parametrize(
    ("sample", "kinds", "max_fpr"),
    [(plain_sample, ALIKE, 0.02), (weighted_sample, KINDS, 0.01), (weighted_sample, KINDS, 0.05)],
)
def test_the_proof_holds_where_choosing_naively_does_not(sample: object, kinds: list[Ceiling], max_fpr: float) -> None:
    """2,000 draws from a known population; three standard errors of Monte Carlo are allowed."""
    assert callable(sample)
    chance = np.random.default_rng(4)
    certified, naive = shares_broken([sample(chance) for _ in range(DRAWS)], kinds, max_fpr)
    assert certified <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)
    assert naive > 0.3
