"""The rule that turns a probability into a decision."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.domain.policy import DEFAULT_THRESHOLDS, Thresholds, decide
from moderation.domain.verdict import Decision

PROBABILITIES = st.floats(0, 1)
ORDER = [Decision.ALLOW, Decision.REVIEW, Decision.BLOCK]


@st.composite
def thresholds(draw: st.DrawFn) -> Thresholds:
    review_at, block_at = sorted((draw(PROBABILITIES), draw(PROBABILITIES)))
    return Thresholds(review_at, block_at)


@given(thresholds(), PROBABILITIES, PROBABILITIES)
def test_a_higher_probability_is_never_judged_more_mildly(given: Thresholds, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert ORDER.index(decide(low, given)) <= ORDER.index(decide(high, given))


@given(thresholds())
def test_thresholds_belong_to_what_they_begin(given: Thresholds) -> None:
    assert decide(given.block_at, given) is Decision.BLOCK
    if given.review_at < given.block_at:
        assert decide(given.review_at, given) is Decision.REVIEW
        below = math.nextafter(given.block_at, 0)
        assert decide(below, given) is Decision.REVIEW
    if given.review_at > 0:
        assert decide(math.nextafter(given.review_at, -1), given) is Decision.ALLOW


def test_the_ends_of_the_scale() -> None:
    assert decide(0.0, DEFAULT_THRESHOLDS) is Decision.ALLOW
    assert decide(1.0, DEFAULT_THRESHOLDS) is Decision.BLOCK
    assert decide(0.0, Thresholds(0.0, 0.0)) is Decision.BLOCK
    assert decide(1.0, Thresholds(1.0, 1.0)) is Decision.BLOCK
    assert decide(0.5, Thresholds(0.5, 0.5)) is Decision.BLOCK


@pytest.mark.parametrize("name", ["review_at", "block_at", "audit_rate", "block_check_rate"])
@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_what_is_no_probability_is_refused_by_name(name: str, value: float) -> None:
    fields = {"review_at": 0.5, "block_at": 0.9, name: value}
    with pytest.raises(ValueError, match=rf"{name} is .* must lie in 0\.\.1"):
        Thresholds(**fields)


def test_review_begins_below_block() -> None:
    with pytest.raises(ValueError, match="swap them"):
        Thresholds(review_at=0.9, block_at=0.5)
