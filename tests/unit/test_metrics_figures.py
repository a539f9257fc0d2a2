"""The figures of an evaluation: scikit-learn's values, definitions by hand, nothing where nothing is defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve

from moderation.evaluation.bootstrap import measure
from moderation.evaluation.curves import reliability, roc
from moderation.evaluation.figures import BINS, NAMES, Figure, Ranked

# Truth, score in steps that make ties likely, and how often the picture was drawn.
ROWS = st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 3)), min_size=2, max_size=60)


def columns(rows: list[tuple[bool, int, int]]) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    fake, score, weight = zip(*rows, strict=True)
    return np.array(fake), np.array(score) / 10, np.array(weight, dtype=np.float64)


def figures(
    fake: NDArray[np.bool_], p: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> dict[str, float]:
    values = Ranked(fake, p, np.zeros(len(p)), 0.5).figures(weight)
    return dict(zip(NAMES, values.tolist(), strict=True))


@given(ROWS)
def test_weighted_figures_are_those_of_pictures_listed_so_often(rows: list[tuple[bool, int, int]]) -> None:
    fake, p, weight = columns(rows)
    times = weight.astype(int)
    listed_fake, listed_p = np.repeat(fake, times), np.repeat(p, times)
    found = figures(fake, p, weight)
    if len(listed_p):
        assert found["brier"] == pytest.approx(brier_score_loss(listed_fake, listed_p))
        assert found["nll"] == pytest.approx(log_loss(listed_fake, listed_p, labels=[False, True]))
    if 0 < listed_fake.sum() < len(listed_fake):
        assert found["auc"] == pytest.approx(roc_auc_score(listed_fake, listed_p), abs=1e-12)
        assert found["ap"] == pytest.approx(average_precision_score(listed_fake, listed_p), abs=1e-12)
        right = (listed_p >= 0.5) == listed_fake
        assert found["accuracy_real"] == pytest.approx(right[~listed_fake].mean())
        assert found["accuracy_fake"] == pytest.approx(right[listed_fake].mean())
        for name, rate in (("tpr_at_1", 0.01), ("tpr_at_5", 0.05)):
            cuts = [*np.unique(listed_p), np.inf]
            allowed = [cut for cut in cuts if (listed_p[~listed_fake] >= cut).mean() <= rate]
            assert found[name] == pytest.approx(max((listed_p[listed_fake] >= cut).mean() for cut in allowed))
    else:
        assert np.isnan(found["auc"])


@given(ROWS)
def test_roc_is_scikit_learns(rows: list[tuple[bool, int, int]]) -> None:
    fake, p, _ = columns(rows)
    if len(set(fake.tolist())) < 2:
        with pytest.raises(ValueError, match="both classes"):
            roc(fake, p, p)
        return
    false, found = roc(fake, p, p)
    expected_false, expected_found, _ = roc_curve(fake, p, drop_intermediate=False)
    np.testing.assert_allclose(false, expected_false)
    np.testing.assert_allclose(found, expected_found)


@pytest.mark.parametrize(("n_real", "flagged"), [(100, 1), (2900, 29), (300, 3), (99, 0)])
def test_one_per_cent_of_the_real_ones_may_be_flagged_and_no_more(n_real: int, flagged: int) -> None:
    """Real pictures score 1, 2, 3 ... from the top; a fake stands below each of them."""
    p = np.concatenate([1 - np.arange(n_real) / n_real, 1 - (np.arange(n_real) + 0.5) / n_real])
    fake = np.repeat([False, True], n_real)
    assert figures(fake, p)["tpr_at_1"] == pytest.approx(flagged / n_real)


def test_the_margin_ranks_where_probabilities_are_saturated() -> None:
    ranked = Ranked(np.array([False, True]), np.array([1.0, 1.0]), np.array([40.0, 50.0]), 0.5)
    assert dict(zip(NAMES, ranked.figures(), strict=True))["auc"] == 1.0


def test_the_calibration_error_is_what_the_reliability_diagram_shows() -> None:
    rng = np.random.default_rng(3)
    p = rng.random(3000)
    fake = rng.random(3000) < p**2
    bins = reliability(fake, p)
    assert len(bins) == BINS
    assert {one.n for one in bins} == {3000 // BINS}
    gap = sum(one.n * abs(one.mean_probability - one.share_fake) for one in bins) / 3000
    assert figures(fake, p)["ece"] == pytest.approx(gap)
    assert gap == pytest.approx(1 / 6, abs=0.02)  # the integral of p - p**2
    assert figures(rng.random(3000) < p, p)["ece"] < 0.03


def test_equal_probabilities_are_never_torn_into_two_bins() -> None:
    fake = np.array([False, True] * 50)
    (only,) = reliability(fake, np.full(100, 0.5))
    assert (only.n, only.share_fake) == (100, 0.5)
    assert figures(fake, np.full(100, 0.5))["ece"] == 0.0
    low, high = reliability(np.repeat([False, True], 50), np.repeat([0.0, 1.0], 50))
    assert (low.low, low.high, low.n, high.low, high.n) == (0.0, 0.0, 50, 1.0, 50)


def test_a_sure_mistake_costs_much_but_is_finite() -> None:
    assert figures(np.array([True]), np.array([0.0]))["nll"] == pytest.approx(-np.log(1e-6))


def test_a_set_of_one_class_has_that_classs_figures_and_no_others() -> None:
    found = measure([True, True], [0.9, 0.4], [1.0, -1.0], 0.5, ["a", "b"], resamples=20)
    assert (found.n_real, found.n_fake) == (0, 2)
    assert found.accuracy_fake is not None
    assert found.accuracy_fake.value == 0.5
    assert found.accuracy == found.accuracy_fake
    undefined = ("accuracy_real", "balanced_accuracy", "auc", "ap", "tpr_at_1", "tpr_at_5")
    assert [getattr(found, name) for name in undefined] == [None] * 6
    assert found.brier is not None
    assert found.brier.value == pytest.approx((0.01 + 0.36) / 2)
    assert None not in (found.ece, found.nll)


def test_one_picture_has_figures_without_intervals() -> None:
    found = measure([False], [0.2], [-1.0], 0.5, [""])
    assert found.accuracy_real == Figure(1.0)
    assert found.ece is not None
    assert found.ece.value == pytest.approx(0.2)


def test_scores_that_are_no_numbers_are_counted_and_in_no_figure() -> None:
    nan, inf = float("nan"), float("inf")
    group = list("abcdef")
    bad = measure([1, 0, 1, 0, 1, 0], [0.9, 0.1, nan, nan, 0.5, 0.5], [1, -1, nan, nan, inf, -inf], 0.5, group, seed=1)
    good = measure([1, 0], [0.9, 0.1], [1, -1], 0.5, ["a", "b"], seed=1)
    assert (bad.n_failed, good.n_failed) == (4, 0)
    assert (bad.auc, bad.brier, bad.n_groups) == (good.auc, good.brier, 2)
    assert bad.auc is not None


def test_no_picture_has_no_figure() -> None:
    found = measure([], [], [], 0.5, [])
    assert (found.n_real, found.n_fake, found.n_failed, found.n_groups) == (0, 0, 0, 0)
    assert [getattr(found, name) for name in NAMES] == [None] * len(NAMES)
    assert found.accuracy is None


def test_the_threshold_itself_is_fake() -> None:
    found = measure([True, False], [0.7, 0.7], [0.0, 0.0], 0.7, ["a", "b"])
    assert found.accuracy_fake is not None
    assert found.accuracy_real is not None
    assert (found.accuracy_fake.value, found.accuracy_real.value, found.threshold) == (1.0, 0.0, 0.7)
