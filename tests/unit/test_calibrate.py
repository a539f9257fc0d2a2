"""Calibration on simulated labels, whose true probabilities are known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moderation.detector import Calibration
from moderation.evaluation.figures import NAMES, Ranked
from moderation.training import calibrate
from moderation.training.calibrate import CannotCalibrate, fit, fit_isotonic, fit_platt, fit_source_bias
from moderation.training.curves import KNOTS, class_weights

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def logistic(n: int, scale: float, bias: float, seed: int = 0) -> tuple[Floats, Bools]:
    """Labels whose P(fake) is sigmoid(scale * margin + bias)."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 2, n)
    return margins, rng.random(n) < sigmoid(scale * margins + bias)


def stairs(n: int, seed: int = 0) -> tuple[Floats, Bools]:
    """Labels whose P(fake) rises in steps, which no sigmoid follows."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 2, n)
    return margins, rng.random(n) < np.where(margins > 1, 0.7, 0.1)


def ece(margins: Floats, fake: Bools, calibration: Calibration, sources: list[str] | None = None) -> float:
    p = np.array([calibration.probability(m, s) for m, s in zip(margins, sources or [""] * len(margins), strict=True)])
    return float(Ranked(fake, p, margins, 0.5).figures()[NAMES.index("ece")])


# --- Platt


@pytest.mark.parametrize(("scale", "bias"), [(1.6, -0.7), (0.3, 2.0), (4.0, 0.0)])
def test_platt_recovers_a_known_scale_and_bias(scale: float, bias: float) -> None:
    found = fit_platt(*logistic(40_000, scale, bias), prevalence=None)
    assert found.scale == pytest.approx(scale, rel=0.05)
    assert found.bias == pytest.approx(bias, abs=0.05)


def test_platt_is_the_maximum_of_its_likelihood() -> None:
    margins, fake = logistic(300, 1.0, 0.5)
    aims = np.where(fake, (fake.sum() + 1) / (fake.sum() + 2), 1 / ((~fake).sum() + 2))
    found = fit_platt(margins, fake, prevalence=None)
    gaps = sigmoid(found.scale * margins + found.bias) - aims
    assert abs(float(gaps.sum())) < 1e-3
    assert abs(float(gaps @ margins)) < 1e-3


@given(
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-1e3, 1e3),
    n=st.integers(1, 300),
    prevalence=st.sampled_from([None, 0.1]),
)
@settings(deadline=None, max_examples=40)
def test_separable_labels_give_finite_numbers(scale: float, shift: float, n: int, prevalence: float | None) -> None:
    margins = np.concatenate((np.linspace(-2, -1, n), np.linspace(1, 2, n + 1))) * scale + shift
    found = fit_platt(margins, margins > shift, prevalence=prevalence)
    assert found.scale > 0
    ends = [found.probability(float(margins[0])), found.probability(float(margins[-1]))]
    assert 0 < ends[0] < 0.5 < ends[1] < 1


def test_classes_are_weighed_to_the_prevalence() -> None:
    margins, fake = logistic(20_000, 1.0, 0.0)
    rare = ~fake | (np.random.default_rng(1).random(len(fake)) < 0.1)  # one fake in ten is kept
    mended = fit_platt(margins[rare], fake[rare], prevalence=0.5)
    assert mended.bias == pytest.approx(0.0, abs=0.12)
    assert fit_platt(margins[rare], fake[rare], prevalence=None).bias == pytest.approx(math.log(0.1), abs=0.15)
    seldom = fit_platt(margins, fake, prevalence=0.01)
    assert seldom.bias == pytest.approx(math.log(0.01 / 0.99), abs=0.1)
    for weights in (class_weights(fake[rare], 0.2), class_weights(fake[:3] | True, 0.2)):
        assert weights.sum() == pytest.approx(len(weights))
    for wrong in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="prevalence"):
            fit_platt(margins, fake, prevalence=wrong)


def test_margins_that_point_the_wrong_way_are_refused() -> None:
    margins, fake = logistic(200, 2.0, 0.0)
    for call in (fit_platt, fit):
        with pytest.raises(CannotCalibrate, match="do not score higher") as caught:
            call(-margins, fake)
        assert caught.value.exit_code == 4


@pytest.mark.parametrize(("n_real", "n_fake", "lacking"), [(19, 100, "real"), (100, 0, "fake"), (0, 0, "real")])
def test_too_few_labels_are_refused_with_their_numbers(n_real: int, n_fake: int, lacking: str) -> None:
    fake = np.arange(n_real + n_fake) >= n_real
    with pytest.raises(CannotCalibrate, match=f"{n_real} real and {n_fake} fake.*give more {lacking}"):
        fit(np.linspace(-1, 1, len(fake)), fake)


def test_constant_margins_are_refused() -> None:
    fake = np.arange(100) % 2 == 0
    with pytest.raises(CannotCalibrate, match="do not score higher"):
        fit(np.zeros(100), fake)


# --- isotonic


def test_isotonic_follows_what_no_sigmoid_does() -> None:
    margins, fake = stairs(6_000)
    fitted = fit(margins, fake, prevalence=None)
    assert fitted.calibration.isotonic
    assert fitted.notes[0].startswith("isotonic: held-out NLL")
    fresh = stairs(6_000, seed=1)
    assert ece(*fresh, fitted.calibration) <= 0.03
    assert ece(*fresh, fit_platt(margins, fake, prevalence=None)) > 0.05


@pytest.mark.parametrize(("data", "n"), [(stairs, 1000), (logistic, 5000)])
def test_isotonic_is_not_taken_where_it_is_not_earned(data: object, n: int) -> None:
    margins, fake = stairs(n) if data is stairs else logistic(n, 1.5, 0.2)
    fitted = fit(margins, fake, prevalence=None)
    assert fitted.calibration.isotonic == ()
    assert fitted.notes[0].startswith("Platt scaling: isotonic ")


def test_isotonic_is_judged_by_groups_and_not_by_their_copies() -> None:
    """Copies in every part would let it look good by knowing them."""
    margins, fake = stairs(60, seed=2)
    copied = (np.repeat(margins, 20), np.repeat(fake, 20))
    assert fit(*copied, prevalence=None).calibration.isotonic
    assert fit(*copied, groups=np.repeat(np.arange(60), 20), prevalence=None).calibration.isotonic == ()


@given(seed=st.integers(0, 10_000), n=st.integers(2, 400), ties=st.booleans(), prevalence=st.sampled_from([None, 0.01]))
@settings(deadline=None, max_examples=60)
def test_knots_always_make_a_calibration(seed: int, n: int, ties: bool, prevalence: float | None) -> None:
    rng = np.random.default_rng(seed)
    margins = rng.integers(0, 9, n).astype(float) if ties else rng.normal(0, 1, n)
    knots = fit_isotonic(margins, rng.random(n) < sigmoid(margins), prevalence=prevalence)
    Calibration(isotonic=knots)  # finite, inside (0, 1), rising
    edge = 1 / (n + 2)
    assert all(edge * 0.999 <= p <= 1 - edge * 0.999 for _, p in knots)


def test_knots_are_few_and_keep_the_curve() -> None:
    margins, fake = logistic(30_000, 1.5, 0.0)
    knots = fit_isotonic(margins, fake, prevalence=None)
    assert 10 < len(knots) <= KNOTS
    assert all(left[0] < right[0] and left[1] <= right[1] for left, right in pairwise(knots))
    assert ece(*logistic(30_000, 1.5, 0.0, seed=1), Calibration(isotonic=knots)) <= 0.02
    assert fit_isotonic(-margins, fake) == ()


# --- sources


def several_sources(seed: int, labels: int, tau: float, count: int = 12) -> tuple[Floats, Bools, list[str], Floats]:
    """Log-odds that are off by N(0, tau) in each source."""
    rng = np.random.default_rng(seed)
    biases = rng.normal(0, tau, count)
    at = np.repeat(np.arange(count), labels)
    log_odds = rng.normal(0, 1.5, len(at))
    return log_odds, rng.random(len(at)) < sigmoid(log_odds + biases[at]), [f"s{number}" for number in at], biases


def mean_square(found: dict[str, float], true: Floats) -> float:
    return float(np.mean([(found.get(f"s{number}", 0.0) - bias) ** 2 for number, bias in enumerate(true)]))


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.6])
def test_shrinkage_beats_no_pooling_and_no_biases_for_small_sources(tau: float) -> None:
    errors = np.zeros(3)
    for seed in range(20):
        log_odds, fake, sources, true = several_sources(seed, labels=60, tau=tau)
        shrunk = fit_source_bias(log_odds, fake, sources, prevalence=None)
        alone = fit_source_bias(log_odds, fake, sources, prevalence=None, between=math.inf)
        errors += [mean_square(found, true) for found in (shrunk, alone, {})]
    assert errors[0] < errors[1]
    assert errors[0] < errors[2] or tau == 0


def test_a_large_source_keeps_its_bias_and_a_small_one_shrinks() -> None:
    rng = np.random.default_rng(3)
    sizes = {"small": 60, "large": 6000, "other": 6000, "few": 49}
    sources = np.repeat(list(sizes), list(sizes.values()))
    log_odds = rng.normal(0, 1.5, len(sources))
    true = np.select([sources == "other"], [-0.4], 0.4)
    fake = rng.random(len(sources)) < sigmoid(log_odds + true)
    found = fit_source_bias(log_odds, fake, sources, prevalence=None)
    alone = fit_source_bias(log_odds, fake, sources, prevalence=None, between=math.inf)
    assert set(found) == {"small", "large", "other"}
    assert found["large"] == pytest.approx(0.4, abs=0.1)
    assert found["small"] / alone["small"] < 0.9 < found["large"] / alone["large"] < 1


def test_a_bias_says_how_margins_differ_and_not_how_labels_were_picked() -> None:
    log_odds, fake, _, _ = several_sources(0, labels=2000, tau=0.0)
    sources = np.where(np.arange(len(fake)) % 2, "a", "b")
    keep = (sources == "a") | ~fake | (np.random.default_rng(1).random(len(fake)) < 0.1)
    picked = [each[keep] for each in (log_odds, fake, sources)]
    weighed = fit_source_bias(*picked, prevalence=0.5, between=math.inf)
    as_found = fit_source_bias(*picked, prevalence=None, between=math.inf)
    assert abs(weighed["b"]) < 0.15
    assert as_found["b"] < -1.5


def test_copies_of_one_picture_are_no_evidence_for_a_source() -> None:
    log_odds, fake, sources, _ = several_sources(0, labels=60, tau=0.6)
    copied = [np.repeat(np.asarray(each), 5) for each in (log_odds, fake, sources)]
    groups = np.repeat(np.arange(len(fake)), 5)
    with_groups = fit_source_bias(*copied, groups=groups, prevalence=None)
    assert with_groups == pytest.approx(fit_source_bias(log_odds, fake, sources, prevalence=None))
    assert fit_source_bias([], [], []) == {}
    assert fit_source_bias(log_odds, fake, [""] * len(fake), prevalence=None) == {}


# --- all of it


@pytest.mark.parametrize("prevalence", [None, 0.5])
def test_probabilities_are_honest_on_labels_nobody_saw(prevalence: float | None) -> None:
    margins, fake = logistic(2_000, 0.4, 1.0)
    fitted = fit(margins * 3, fake, prevalence=prevalence)
    assert fitted.held_out
    assert fitted.before.ece > 0.1
    assert fitted.after.ece <= 0.05
    assert fitted.after.nll < fitted.before.nll
    assert fitted.after.brier < fitted.before.brier
    assert (fitted.n_real, fitted.n_fake) == (int((~fake).sum()), int(fake.sum()))
    if prevalence is None:
        fresh_margins, fresh = logistic(5_000, 0.4, 1.0, seed=1)
        assert ece(fresh_margins * 3, fresh, fitted.calibration) <= 0.05


def test_source_biases_make_probabilities_honest_within_sources() -> None:
    log_odds, fake, sources, true = several_sources(0, labels=500, tau=0.8)
    with_sources, without = (fit(log_odds, fake, given, prevalence=None) for given in (sources, None))
    assert set(with_sources.calibration.source_bias) == set(sources)
    assert with_sources.after.nll < without.after.nll
    assert without.calibration.source_bias == {}
    assert any(note.startswith("source biases on the log-odds: s0 ") for note in with_sources.notes)
    name = f"s{int(np.argmax(np.abs(true)))}"
    here = np.array(sources) == name
    inside = (log_odds[here], fake[here], with_sources.calibration, [name] * int(here.sum()))
    assert ece(*inside) < ece(*inside[:2], without.calibration)


def test_before_is_measured_with_the_calibration_that_was_there() -> None:
    margins, fake = logistic(4_000, 1.6, -0.7)
    honest = fit(margins, fake, prevalence=None, current=Calibration(1.6, -0.7))
    own = fit(margins, fake, prevalence=None)
    assert honest.before.ece < 0.03 < own.before.ece
    assert honest.calibration == own.calibration


def test_where_nothing_can_be_held_out_it_says_so() -> None:
    margins, fake = logistic(100, 1.5, 0.0)
    fitted = fit(margins, fake, groups=["one"] * 100)
    assert not fitted.held_out
    assert "measured on the labels it was fitted on" in fitted.notes[1]
    by_class = fit(margins, fake, groups=["fake" if each else "real" for each in fake])
    assert not by_class.held_out


def test_labels_without_a_margin_are_counted_and_left_out() -> None:
    margins, fake = logistic(200, 1.5, 0.0)
    more = np.concatenate((margins, [math.nan, math.inf]))
    fitted = fit(more, np.append(fake, [True, False]))
    assert fitted.calibration == fit(margins, fake).calibration
    assert fitted.notes[0] == "2 without a finite margin left out"


def test_the_same_labels_give_the_same_calibration_in_any_batch_of_runs() -> None:
    margins, fake = logistic(1_500, 1.5, 0.0)
    one, two = fit(margins, fake), fit(margins, fake)
    assert one == two
    assert set(one.to_json()) == {
        "n_real",
        "n_fake",
        "prevalence",
        "before",
        "after",
        "ece_by_chance",
        "held_out",
        "notes",
    }


def test_chance_alone_gives_an_ece_on_few_labels() -> None:
    by_chance = {n: fit(*logistic(n, 1.5, 0.0), prevalence=None).ece_by_chance for n in (100, 1_000, 10_000)}
    assert by_chance[100] > 2 * by_chance[1_000] > 4 * by_chance[10_000] > 0
    perfect = [ece(*logistic(100, 1.5, 0.0, seed=seed), Calibration(1.5, 0.0)) for seed in range(100)]
    assert by_chance[100] == pytest.approx(np.mean(perfect), rel=0.3)


def test_a_curve_that_does_not_fit_is_told_with_the_way_out() -> None:
    """A share of the fakes that no margin tells, as of generators the tuning has not seen, gives no sigmoid."""
    rng = np.random.default_rng(0)
    fake = np.arange(900) % 2 == 0
    margins = rng.normal(np.where(fake & (rng.random(900) < 0.8), 3.0, -3.0), 1.5)
    told = fit(margins, fake).notes[-1]
    assert told.startswith("P(fake) still strays: its ECE is 0.")
    assert told.endswith("more than 1000 labels allow a curve of another shape")
    more = fit(np.tile(margins, 3), np.tile(fake, 3), groups=np.tile(np.arange(900), 3))
    assert more.calibration.isotonic
    assert more.after.ece < 0.05
    assert not any("strays" in note for note in fit(*logistic(900, 1.5, 0.0), prevalence=None).notes)


def test_the_least_number_of_labels_has_a_scale_a_quarter_unsure() -> None:
    n = 2 * calibrate.MIN_PER_CLASS
    scales = []
    for seed in range(200):
        margins, fake = logistic(n, 1.0, 0.0, seed=seed)
        scales.append(fit_platt(margins, fake, prevalence=None).scale)
    assert 0.15 < np.std(scales) / np.mean(scales) < 0.35
