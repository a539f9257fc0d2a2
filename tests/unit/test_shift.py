"""Distances between sets of scores: against scipy, against known values, and what must hold for any of them."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from moderation.domain.shift import (
    BINS,
    SMOOTHING,
    bin_edges,
    change,
    chi_square_tail,
    kolmogorov_smirnov,
    population_stability,
    wilson,
)

histograms = st.dictionaries(st.integers(0, 10_000), st.integers(1, 50), min_size=1, max_size=60)


def drawn(seed: int, count: int, a: float, b: float) -> Counter[int]:
    chance = random.Random(seed)
    return Counter(round(10_000 * chance.betavariate(a, b)) for _ in range(count))


def spread(histogram: Counter[int]) -> list[int]:
    return sorted(histogram.elements())


@pytest.mark.parametrize("degrees", range(1, 11))
@pytest.mark.parametrize("value", [0.05, 1.0, 4.2, 17.0, 60.0])
def test_chi_square_tail_is_scipys(degrees: int, value: float) -> None:
    assert chi_square_tail(value, degrees) == pytest.approx(stats.chi2.sf(value, degrees), rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (2.2, 2.0), (3.0, 1.5)])
def test_kolmogorov_smirnov_is_scipys(seed: int, a: float, b: float) -> None:
    before, after = drawn(seed, 700, 2.0, 2.0), drawn(seed + 100, 450, a, b)
    found = kolmogorov_smirnov(before, after)
    theirs = stats.ks_2samp(spread(before), spread(after), method="asymp")
    assert found.value == pytest.approx(theirs.statistic, abs=1e-12)
    exact = stats.ks_2samp(spread(before), spread(after), method="exact").pvalue
    assert found.p_value == pytest.approx(exact, rel=0.15, abs=0.02)


def test_population_stability_of_a_known_case() -> None:
    before = dict.fromkeys(range(10), 100)  # each decile is a score
    after = dict.fromkeys(range(9), 100) | {9: 300}
    was, now, last = 100.5 / 1005, 100.5 / 1205, 300.5 / 1205
    expected = 9 * (now - was) * math.log(now / was) + (last - was) * math.log(last / was)
    assert bin_edges(before) == list(range(9))
    assert population_stability(before, after).value == pytest.approx(expected)
    assert population_stability(before, after).p_value < 1e-9


def test_scores_that_leave_a_crowded_value_are_seen_on_both_sides() -> None:
    crowd = {5000: 1000}
    assert bin_edges(crowd) == [4999, 5000]
    for elsewhere in (0, 4999, 5001, 10_000):
        assert population_stability(crowd, {elsewhere: 1000}).value > 5.0
    assert population_stability(crowd, crowd).value == 0.0


def test_chance_alone_makes_no_small_p_values_too_often() -> None:
    pairs = [(drawn(seed, 300, 0.4, 0.6), drawn(seed + 5000, 300, 0.4, 0.6)) for seed in range(300)]
    for figure in (population_stability, kolmogorov_smirnov):
        small = sum(figure(before, after).p_value < 0.05 for before, after in pairs)
        assert small <= 30, figure  # 15 expected; 30 is four standard deviations above


@given(histograms, histograms)
def test_invariants(before: dict[int, int], after: dict[int, int]) -> None:
    index, distance = population_stability(before, after), kolmogorov_smirnov(before, after)
    assert index.value >= -1e-12
    assert 0.0 <= distance.value <= 1.0 + 1e-12
    assert 0.0 <= index.p_value <= 1.0
    assert 0.0 <= distance.p_value <= 1.0
    assert kolmogorov_smirnov(after, before).value == pytest.approx(distance.value)
    assert kolmogorov_smirnov(before, before).value == 0.0
    assert population_stability(before, before).value == pytest.approx(0.0, abs=1e-12)
    mirrored = kolmogorov_smirnov(*({10_000 - score: n for score, n in each.items()} for each in (before, after)))
    assert mirrored.value == pytest.approx(distance.value)


@given(histograms, st.integers(2, 9))
def test_as_many_times_the_images_are_the_same_scores(before: dict[int, int], times: int) -> None:
    more = {score: times * images for score, images in before.items()}
    assert kolmogorov_smirnov(before, more).value == pytest.approx(0.0, abs=1e-12)
    assert population_stability(before, more).value <= SMOOTHING * BINS  # only the smoothing differs
    assert bin_edges(more) == bin_edges(before)


@given(histograms)
def test_there_are_at_most_ten_bins(before: dict[int, int]) -> None:
    edges = bin_edges(before)
    assert edges == sorted(set(edges))
    assert len(edges) <= BINS


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_is_scipys(count: int, of: int) -> None:
    count = min(count, of)
    ours = wilson(count, of)
    theirs = stats.binomtest(count, of).proportion_ci(method="wilson")
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)
    assert ours.low - 1e-12 <= ours.value <= ours.high + 1e-12


def test_change_of_a_share() -> None:
    found = change(wilson(100, 1000), wilson(150, 1000))
    table = [[100, 900], [150, 850]]
    assert found.value == pytest.approx(0.05)
    assert found.p_value == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    assert change(wilson(0, 10), wilson(0, 20)).p_value == 1.0


@pytest.mark.parametrize(("count", "of"), [(1, 0), (3, 2), (-1, 2), (0, 0)])
def test_no_share(count: int, of: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(count, of)


def test_nothing_to_compare() -> None:
    for figure in (population_stability, kolmogorov_smirnov):
        with pytest.raises(ValueError, match="missing"):
            figure({}, {1: 1})
