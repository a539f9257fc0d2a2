"""Rescoring's rules: how fast, which run is the same, who was right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from scipy.stats import binomtest

from moderation.domain.rescore import BATCH, RescoreScope, images_at_once, next_due
from moderation.domain.rescore_diff import (
    DiffGroup,
    Rescored,
    mcnemar_exact,
    moved_by_thresholds,
    moves_of,
    who_is_right,
)
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALLOW, REVIEW, BLOCK = Decision


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("rate", "batch_size", "images"), [(0.01, 64, 1), (3.2, 64, 3), (20, 64, BATCH), (1000, 64, BATCH), (1000, 4, 4)]
)
def test_a_batch_is_about_a_second_and_never_large(rate: float, batch_size: int, images: int) -> None:
    assert images_at_once(rate, batch_size) == images


@pytest.mark.parametrize("late_s", [0.0, 0.7, 1.9])
def test_the_rate_holds_though_every_bell_is_late(late_s: float) -> None:
    due, images = NOON, 0
    for _ in range(50):
        due, images = next_due(due, due + timedelta(seconds=late_s), 10, 5.0), images + 10
    assert images / (due - NOON).total_seconds() == pytest.approx(5.0)


def test_a_long_pause_is_not_made_up_for() -> None:
    due = next_due(NOON, after(3600), 10, 5.0)
    assert due == after(3600)  # two seconds' worth at once, no more
    assert next_due(NOON, after(-0.5), 10, 5.0) == after(2)


def test_a_run_is_known_by_the_words_that_asked_for_it() -> None:
    since = RescoreScope(source="web", since=NOON, words="7d")
    assert since.is_asked_by(RescoreScope(source="web", since=after(60), words="7d"))
    assert not since.is_asked_by(RescoreScope(source="web"))
    assert RescoreScope.from_json(since.to_json()) == since
    assert RescoreScope.from_json(RescoreScope(decision=BLOCK).to_json()) == RescoreScope(decision=BLOCK)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 5), (5, 0), (3, 11), (40, 40), (700, 900)])
def test_mcnemar_is_the_exact_test(one: int, other: int) -> None:
    expected = binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    assert mcnemar_exact(one, other) == pytest.approx(expected)


def test_right_is_to_flag_fakes_and_to_allow_the_rest() -> None:
    def image(before: Decision, after: Decision, is_fake: bool | None) -> Rescored:
        return Rescored(ImageId("a"), "web", before, after, 0.1, 0.9, is_fake)

    found = who_is_right(
        [
            image(ALLOW, REVIEW, True),  # the new one alone
            image(ALLOW, BLOCK, True),
            image(REVIEW, ALLOW, True),  # the old one alone
            image(ALLOW, BLOCK, False),
            image(BLOCK, REVIEW, True),  # both
            image(BLOCK, BLOCK, False),  # neither
            image(ALLOW, BLOCK, None),  # nobody knows
        ]
    )
    assert (found.images, found.fakes, found.only_before, found.only_after) == (6, 4, 2, 2)
    assert (found.before.right, found.after.right, found.p_value) == (3, 3, 1.0)


def test_what_the_thresholds_alone_would_change_is_told_apart() -> None:
    groups = [
        DiffGroup("web", ALLOW, BLOCK, old_today=ALLOW, is_seen=False, images=5),
        DiffGroup("web", ALLOW, BLOCK, old_today=BLOCK, is_seen=True, images=2),
        DiffGroup("web", ALLOW, ALLOW, old_today=ALLOW, is_seen=False, images=9),
    ]
    assert moves_of(groups)[ALLOW, BLOCK] == 7
    assert sum(moves_of(groups).values()) == 16
    assert moved_by_thresholds(groups) == 2
