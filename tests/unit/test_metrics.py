"""AUC and accuracy: the textbook's values, ties included."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from moderation.evaluation.metrics import accuracy, auc

SCORES = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40)


@pytest.mark.parametrize(
    ("fake", "scores", "expected"),
    [
        ([False, True], [0.1, 0.9], 1.0),
        ([False, True], [0.9, 0.1], 0.0),
        ([False, True], [0.5, 0.5], 0.5),
        ([False, True, False, True], [0.1, 0.2, 0.3, 0.4], 0.75),
        ([True, False, False], [0.4, 0.4, 0.1], 0.75),
    ],
)
def test_auc_of_known_orders(fake: list[bool], scores: list[float], expected: float) -> None:
    assert auc(fake, scores) == expected


@given(SCORES)
def test_auc_is_scikit_learns(pairs: list[tuple[bool, int]]) -> None:
    fake, scores = [is_fake for is_fake, _ in pairs], [float(score) for _, score in pairs]
    if len(set(fake)) < 2:
        with pytest.raises(ValueError, match="both classes"):
            auc(fake, scores)
    else:
        assert auc(fake, scores) == pytest.approx(roc_auc_score(fake, scores), abs=1e-12)


def test_accuracy_counts_the_threshold_as_fake() -> None:
    fake = [True, True, False, False]
    assert accuracy(fake, [0.5, 0.4, 0.5, 0.4], 0.5) == 0.5
    assert accuracy(fake, [0.9, 0.5, 0.1, 0.0], 0.5) == 1.0
    with pytest.raises(ValueError, match="shorter"):
        accuracy(fake, [0.9], 0.5)
