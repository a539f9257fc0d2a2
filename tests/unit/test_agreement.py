"""How far a reviewer can be relied on: the figures against those of other libraries, and what counts in them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from moderation.domain.agreement import Record, kappa, per_minute, records, wilson
from moderation.domain.review import Act, Answer, Review, ReviewId, TaskId
from moderation.domain.submission import ImageId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REAL, FAKE, UNSURE = Answer.REAL, Answer.FAKE, Answer.UNSURE


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_cohens(seed: int) -> None:
    chance = random.Random(seed)
    first = chance.choices(list(Answer), weights=(5, 3, 1), k=chance.randint(4, 200))
    second = [word if chance.random() < seed / 20 else chance.choice(list(Answer)) for word in first]
    expected = cohen_kappa_score([str(word) for word in first], [str(word) for word in second])
    assert kappa(list(zip(first, second, strict=True))) == pytest.approx(expected)


def test_kappa_has_no_value_where_chance_alone_agrees() -> None:
    assert kappa([]) is None
    assert kappa([(REAL, REAL)] * 5) is None
    assert kappa([(REAL, REAL), (FAKE, FAKE)]) == 1.0
    assert kappa([(REAL, FAKE), (FAKE, REAL)]) == -1.0


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (3, 7), (50, 50), (97, 100)])
def test_the_interval_is_wilsons(right: int, total: int) -> None:
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    found = wilson(right, total)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.value == right / total


def test_of_nothing_nothing_is_known() -> None:
    assert (wilson(0, 0).value, wilson(0, 0).low, wilson(0, 0).high) == (None, 0.0, 1.0)


def test_the_pace_leaves_out_pauses() -> None:
    def at(*seconds: float) -> list[datetime]:
        return [NOW + timedelta(seconds=each) for each in seconds]

    assert per_minute(at(0, 6, 12, 18)) == pytest.approx(10)
    assert per_minute(at(0, 6, 12, 5000, 5006)) == pytest.approx(10)
    assert per_minute(at(0)) is per_minute(at()) is per_minute(at(0, 0)) is per_minute(at(0, 3600)) is None


def reviews(*lines: str) -> list[Review]:
    """'image who answer', 'image who skip', 'image who undo 3'; each takes as many seconds as its number, from 1."""
    found = []
    words = {str(each): each for each in Answer}
    for number, line in enumerate(lines, 1):
        image, who, what, *which = line.split()
        act = Act.ANSWER if what in words else Act(what)
        undoes = ReviewId(int(which[0])) if which else None
        seconds = float(number) if act is Act.ANSWER else None
        when = NOW + timedelta(seconds=10 * number)
        found.append(
            Review(
                ReviewId(number), TaskId(1), ImageId(image), who, act, words.get(what), (), "", seconds, undoes, when
            )
        )
    return found


def found(*lines: str, **truths: Answer) -> dict[str, Record]:
    gold = {ImageId(name): truth for name, truth in truths.items()}
    return {record.reviewer: record for record in records(reviews(*lines), gold)}


def test_a_record_counts_what_stands() -> None:
    ann = found("a ann real", "b ann unsure", "a ann undo 1", "a ann fake", "c ann skip", "d ann escalate")["ann"]
    assert (ann.answers, ann.unsure, ann.skipped, ann.escalated) == (2, 1, 1, 1)
    assert ann.median_s == 3.0  # of 2 and 4
    assert ann.last_at == NOW + timedelta(seconds=60)


def test_accuracy_is_over_gold_answered_real_or_fake() -> None:
    ann = found("g ann real", "h ann real", "i ann unsure", "x ann fake", g=REAL, h=FAKE, i=FAKE, j=REAL)["ann"]
    assert (ann.on_gold.right, ann.on_gold.total) == (1, 2)
    assert found("x ann fake")["ann"].on_gold.value is None


def test_agreement_is_with_all_others_on_what_both_answered() -> None:
    both = found(
        "a ann real", "a bob real", "b ann fake", "b bob fake", "c ann real", "c bob fake",
        "d ann real", "d cid real", "e ann fake",
    )  # fmt: skip
    assert {name: record.agreement.pairs for name, record in both.items()} == {"ann": 4, "bob": 3, "cid": 1}
    assert both["bob"].agreement.kappa == pytest.approx(
        cohen_kappa_score(["real", "fake", "fake"], ["real", "fake", "real"])
    )
    assert both["cid"].agreement.kappa is None


def test_nobody_has_no_record() -> None:
    assert records([], {}) == []
