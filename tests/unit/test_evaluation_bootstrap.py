"""Intervals over source pictures: copies of a picture add no certainty, and the intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from moderation.evaluation.bootstrap import group_codes, measure
from moderation.evaluation.compare import Comparison, compare, mcnemar
from moderation.evaluation.figures import Figure
from moderation.evaluation.scores import ScoreRow, ScoreTable

TRUE_AUC = 0.7602499389065233  # of two normal distributions one standard deviation apart: Phi(1 / sqrt(2))


def scores(n: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    fake = np.arange(n) % 2 == 1
    margin = rng.normal(fake - 0.5, 1.0)
    return fake, 1 / (1 + np.exp(-margin)), margin


def interval(figure: Figure | None) -> tuple[float, float]:
    assert figure is not None
    assert figure.low is not None
    assert figure.high is not None
    return figure.low, figure.high


def test_copies_of_a_source_picture_do_not_narrow_the_interval() -> None:
    fake, p, margin = scores(60, seed=5)
    names = np.array([f"picture {number}" for number in range(60)])
    once = measure(fake, p, margin, 0.5, names, resamples=200, seed=9)
    copies = np.repeat(np.arange(60), 10)
    fake, p, margin = fake[copies], p[copies], margin[copies]
    tenfold = measure(fake, p, margin, 0.5, names[copies], resamples=200, seed=9)
    apart = measure(fake, p, margin, 0.5, [""] * 600, resamples=200, seed=9)
    assert interval(tenfold.auc) == pytest.approx(interval(once.auc))
    assert interval(tenfold.balanced_accuracy) == pytest.approx(interval(once.balanced_accuracy))
    assert (tenfold.n_groups, apart.n_groups) == (60, 600)
    low, high = interval(apart.auc)
    assert high - low < 0.5 * (interval(once.auc)[1] - interval(once.auc)[0])


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(100):
        fake, p, margin = scores(200, seed)
        low, high = interval(measure(fake, p, margin, 0.5, [""] * 200, resamples=150, seed=seed).auc)
        held += low <= TRUE_AUC <= high
    assert 88 <= held <= 100


def test_the_same_seed_gives_the_same_intervals() -> None:
    fake, p, margin = scores(50, seed=1)
    first, again, other = (measure(fake, p, margin, 0.5, [""] * 50, resamples=50, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first.auc != other.auc


def test_resamples_without_one_class_are_passed_over() -> None:
    found = measure([True, False, False], [0.9, 0.1, 0.2], [1, -1, 0], 0.5, ["a", "b", "c"], resamples=100)
    assert found.auc == Figure(1.0, 1.0, 1.0)


def test_no_resamples_and_a_single_source_picture_give_no_interval() -> None:
    fake, p, margin = scores(10, seed=1)
    assert interval_is_missing(measure(fake, p, margin, 0.5, [""] * 10, resamples=0).auc)
    assert interval_is_missing(measure(fake, p, margin, 0.5, ["one"] * 10).auc)


def interval_is_missing(figure: Figure | None) -> bool:
    return figure is not None and figure.low is None and figure.high is None


def test_pictures_without_a_group_are_groups_of_their_own() -> None:
    codes, count = group_codes(np.array(["b", "", "a", "", "b"], dtype=object))
    assert count == 4
    assert codes[0] == codes[4]
    assert len(set(codes.tolist())) == 4


# --- two candidates


def table(name: str, fake: NDArray[np.bool_], margin: NDArray[np.float64]) -> ScoreTable:
    p = 1 / (1 + np.exp(-margin))
    return ScoreTable.of(
        ScoreRow(name, "", "set", f"{at}.png", bool(fake[at]), "", "", "", float(margin[at]), float(p[at]), "", "")
        for at in range(len(fake))
    )


def compared(first: ScoreTable, second: ScoreTable) -> Comparison:
    return compare(first, second, (0.5, 0.5), resamples=200, seed=2)


def test_a_candidate_does_not_differ_from_itself() -> None:
    fake, _, margin = scores(40, seed=1)
    found = compared(table("a", fake, margin), table("b", fake, margin))
    assert (found.auc, found.balanced_accuracy) == (Figure(0.0, 0.0, 0.0), Figure(0.0, 0.0, 0.0))
    assert (found.first, found.second, found.n, found.p_value) == ("a", "b", 40, 1.0)


def test_pairing_sees_a_difference_that_two_intervals_would_hide() -> None:
    fake, p, margin = scores(300, seed=1)
    better = margin + 0.3 * (fake - 0.5)
    found = compared(table("a", fake, margin), table("b", fake, better))
    low, high = interval(found.auc)
    assert 0 < low < high
    alone = interval(measure(fake, p, margin, 0.5, [""] * 300, resamples=200).auc)
    assert high - low < 0.3 * (alone[1] - alone[0])
    assert found.only_second > found.only_first
    turned = compared(table("b", fake, better), table("a", fake, margin))
    assert interval(turned.auc) == pytest.approx((-high, -low))
    assert turned.p_value == found.p_value < 0.05


def test_only_pictures_that_both_scored_are_compared() -> None:
    fake, _, margin = scores(20, seed=1)
    broken = margin.copy()
    broken[:5] = np.nan
    shuffled = np.random.default_rng(0).permutation(20)
    first, second = table("a", fake, margin), table("b", fake, broken).select(shuffled)
    found = compared(first, second)
    assert found.n == 15
    assert found.auc == Figure(0.0, 0.0, 0.0)
    assert compared(first, table("b", fake, np.full(20, np.nan))).n == 0


@pytest.mark.parametrize(("first", "second", "p"), [(0, 0, 1.0), (1, 5, 0.21875), (0, 10, 2 / 1024), (3, 3, 1.0)])
def test_mcnemar_is_the_exact_binomial(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == pytest.approx(p)
