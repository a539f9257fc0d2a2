"""Two prompts side by side: agreement, what differs, who was right."""

from __future__ import annotations

import pytest

from moderation.domain.evidence import Rule
from moderation.domain.policy import Thresholds
from moderation.domain.side_by_side import (
    Better,
    Pair,
    agreement,
    differences,
    mcnemar,
    most_differing,
    right_of_all,
    who_was_right,
)
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision

RULE = Rule(Thresholds(0.5, 0.9), own={"strict": Thresholds(0.1, 0.2)})


def pairs(*values: tuple[float, float], source: str = "web") -> list[Pair]:
    return [Pair(ImageId(f"{source}/{number}"), source, *each) for number, each in enumerate(values)]


def test_each_image_counts_once_by_both_decisions_of_its_sources_thresholds() -> None:
    found = pairs((0.1, 0.2), (0.1, 0.6), (0.6, 0.95), (0.95, 0.99)) + pairs((0.15, 0.3), source="strict")
    table, alike = agreement(found, RULE)
    assert {(one, other): n for one, row in table.items() for other, n in row.items() if n} == {
        (Decision.ALLOW, Decision.ALLOW): 1,
        (Decision.ALLOW, Decision.REVIEW): 1,
        (Decision.REVIEW, Decision.BLOCK): 2,  # one of them in the strict source
        (Decision.BLOCK, Decision.BLOCK): 1,
    }
    assert (alike.right, alike.total) == (2, 5)
    assert 0 < alike.low < 0.4 < alike.high < 1


def test_differences_are_second_minus_first() -> None:
    found = differences(pairs(*((0.5, 0.5 + number / 1000) for number in range(-100, 101))))
    assert found == pytest.approx(
        {0.0: -0.1, 0.05: -0.09, 0.25: -0.05, 0.5: 0.0, 0.75: 0.05, 0.95: 0.09, 1.0: 0.1}, abs=1.1e-3
    )
    assert differences([]) == {}


def test_another_decision_comes_before_a_larger_difference() -> None:
    found = pairs((0.1, 0.45), (0.49, 0.51), (0.3, 0.3), (0.2, 0.95))
    shown = most_differing(found, RULE, {ImageId("web/1"): True}, 9)
    assert [each.image_id for each in shown] == ["web/3", "web/1", "web/0"]  # none that is the same to both
    assert (shown[1].first_decision, shown[1].second_decision) == (Decision.ALLOW, Decision.REVIEW)
    assert [each.is_fake for each in shown] == [None, True, None]
    assert len(most_differing(found, RULE, {}, 1)) == 1
    assert most_differing(found, RULE, {}, 0) == []


def test_who_was_right_counts_at_each_sources_review_threshold() -> None:
    found = pairs((0.9, 0.4), (0.4, 0.6), (0.2, 0.1), (0.7, 0.8)) + pairs((0.05, 0.15), source="strict")
    labels = {each.image_id: is_fake for each, is_fake in zip(found, (True, True, False, False, True), strict=True)}
    judged = who_was_right(found, RULE, labels)
    assert (judged.images, judged.fakes) == (5, 3)
    assert (judged.first.right, judged.second.right) == (2, 3)
    assert (judged.only_first, judged.only_second) == (1, 2)
    assert judged.better is Better.UNKNOWN
    assert who_was_right(found, RULE, {}).images == 0


def test_labelled_images_stand_for_those_that_nobody_looked_at() -> None:
    """All unsure images were looked at, and one in fifty of the others: these weigh fifty times as much."""
    unsure = pairs(*([(0.6, 0.3)] * 40), source="unsure")  # real, and the first alone is wrong
    sure = pairs(*([(0.1, 0.8)] * 4 + [(0.1, 0.1)] * 36), source="sure")  # real, and the second errs at a tenth
    labels = {each.image_id: False for each in unsure + sure}
    chances = {each.image_id: 1.0 for each in unsure} | {each.image_id: 0.02 for each in sure}
    assert who_was_right(unsure + sure, RULE, labels).better is Better.SECOND
    of_all = right_of_all(unsure + sure, RULE, labels, chances)
    assert of_all is not None
    first, second = of_all
    assert (first.value, second.value) == pytest.approx((2000 / 2040, (40 + 36 * 50) / 2040))
    for each in of_all:
        assert 0 <= each.low < each.value < each.high <= 1
    assert second.high - second.low > 0.15  # as few as forty images say, not as eighty
    assert right_of_all(unsure, RULE, labels, {}) is None


@pytest.mark.parametrize(("only_first", "only_second", "better"), [
    (5, 0, Better.UNKNOWN),  # p = 0.0625: five in a row is not enough
    (6, 0, Better.FIRST),
    (0, 6, Better.SECOND),
    (9, 10, Better.UNKNOWN),
])  # fmt: skip
def test_who_is_better_needs_evidence(only_first: int, only_second: int, better: Better) -> None:
    found = pairs(*([(0.9, 0.1)] * only_first + [(0.1, 0.9)] * only_second))
    assert who_was_right(found, RULE, {each.image_id: True for each in found}).better is better


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (3, 9), (40, 61), (25_000, 25_600)])
def test_mcnemar_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    from scipy.stats import binomtest

    tossed = only_first + only_second
    expected = binomtest(only_first, tossed, 0.5).pvalue if tossed else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)
