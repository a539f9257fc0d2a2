"""Estimates from a biased sample: right on average where naive ones are not, silent where nothing is known."""

from __future__ import annotations

from collections import Counter
from statistics import fmean

import numpy as np
import pytest

from moderation.domain.evidence import Chance, DrawnImage, Group, Kind, LabelledImage, Rule, inclusion_probability
from moderation.domain.policy import Thresholds, decide
from moderation.domain.review import Reason, Trust
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.evaluation.estimate import Cell, Estimated, Population, cells_of

AT = Thresholds(0.5, 0.9, audit_rate=0.02, block_check_rate=0.2)
RULE = Rule(AT)
ALLOW, REVIEW, BLOCK = (
    Kind(Decision.ALLOW, 0.02),
    Kind(Decision.REVIEW, 1.0),
    Kind(Decision.BLOCK, 0.2),
)
KIND = {kind.decision: kind for kind in (ALLOW, REVIEW, BLOCK)}
FLAGGED = (Decision.REVIEW, Decision.BLOCK)


def label(kind: Kind, score: float, *, is_fake: bool, probability: float | None = None) -> LabelledImage:
    image = DrawnImage(ImageId("a"), "web", score, kind, probability or kind.rate)
    return LabelledImage(image, is_fake, Trust.WEAK)


def known(found: Estimated | None) -> Estimated:
    assert found is not None
    assert found.low <= found.value <= found.high
    return found


def simulate(chance: np.random.Generator) -> tuple[Population, list[LabelledImage], dict[str, float]]:
    """20,000 images, 5 % of them fake, drawn as the policy says; a tenth of what was drawn is not answered yet."""
    fake = chance.random(20_000) < 0.05
    score = np.where(fake, chance.beta(4, 2, len(fake)), chance.beta(1, 9, len(fake)))
    kinds = [KIND[decide(p, AT)] for p in score]
    rate = np.array([kind.rate for kind in kinds])
    taken = np.flatnonzero(chance.random(len(fake)) < rate * 0.9)
    labels = [label(kinds[at], float(score[at]), is_fake=bool(fake[at])) for at in taken]
    images = {Cell(kind, kind.decision): count for kind, count in Counter(kinds).items()}
    flagged = score >= AT.review_at
    truth = {
        "prevalence": fake.mean(),
        "recall": flagged[fake].mean(),
        "false positives": flagged[~fake].mean(),
        "precision": fake[flagged].mean(),
    }
    return Population(images, labels, RULE), labels, truth


def test_weighted_figures_are_right_on_average_and_naive_ones_are_not() -> None:
    chance = np.random.default_rng(7)
    errors: dict[str, list[float]] = {name: [] for name in ("prevalence", "recall", "false positives", "precision")}
    naive: dict[str, list[float]] = {"prevalence": [], "recall": [], "precision": []}
    covered = dict.fromkeys(errors, 0)
    rounds = 60
    for _ in range(rounds):
        people, labels, truth = simulate(chance)
        quality = people.at(FLAGGED)
        found = {
            "prevalence": known(people.prevalence()),
            "recall": known(quality.recall),
            "false positives": known(quality.false_positive_rate),
            "precision": known(quality.precision),
        }
        for name, estimated in found.items():
            errors[name].append(estimated.value - truth[name])
            covered[name] += estimated.low <= truth[name] <= estimated.high
        fakes = [each for each in labels if each.is_fake]
        seen = [each for each in labels if each.image.decision in FLAGGED]
        naive["prevalence"].append(fmean(each.is_fake for each in seen) - truth["prevalence"])
        naive["recall"].append(fmean(each.image.decision in FLAGGED for each in fakes) - truth["recall"])
        naive["precision"].append(fmean(each.is_fake for each in seen) - truth["precision"])
    for name, each in errors.items():
        standard_error = float(np.std(each)) / rounds**0.5
        assert abs(fmean(each)) < 3.5 * standard_error + 0.002, name
        assert covered[name] >= 0.85 * rounds, name
    for name, each in naive.items():
        assert abs(fmean(each)) > 4 * float(np.std(each)) / rounds**0.5, name
    assert fmean(naive["prevalence"]) > 0.4
    assert fmean(naive["recall"]) > 0.1


def test_no_fake_among_thirty_audited_is_no_proof_of_none() -> None:
    images = {Cell(ALLOW, Decision.ALLOW): 3000, Cell(REVIEW, Decision.REVIEW): 20}
    labels = [label(ALLOW, 0.1, is_fake=False)] * 30 + [label(REVIEW, 0.6, is_fake=True)] * 20
    recall = known(Population(images, labels, RULE).at(FLAGGED).recall)
    assert recall.value == 1.0
    assert recall.low < 0.15  # a tenth of 3,000 may be fake


def test_a_figure_that_needs_an_unlabelled_kind_is_none() -> None:
    images = {Cell(ALLOW, Decision.ALLOW): 1000, Cell(REVIEW, Decision.REVIEW): 10, Cell(BLOCK, Decision.BLOCK): 5}
    labels = [label(REVIEW, 0.6, is_fake=True)] * 4 + [label(BLOCK, 0.95, is_fake=True)] * 2
    people = Population(images, labels, RULE)
    quality = people.at(FLAGGED)
    assert (people.prevalence(), quality.recall, quality.false_positive_rate) == (None, None, None)
    assert people.share_of_fakes(ALLOW) is None
    assert known(quality.precision).value == 1.0
    assert known(people.number(Decision.BLOCK, of_fakes=False)).value == 0.0
    assert people.number(Decision.ALLOW, of_fakes=True) is None


def test_nothing_to_divide_by_is_none() -> None:
    people = Population({Cell(ALLOW, Decision.ALLOW): 10}, [label(ALLOW, 0.1, is_fake=False)], RULE)
    assert people.at(FLAGGED).precision is None
    assert people.at(FLAGGED).recall is None
    assert Population({}, [], RULE).prevalence() is None


def test_a_part_of_a_kind_without_labels_borrows_its_share_and_admits_to_know_nothing() -> None:
    images = {Cell(ALLOW, Decision.ALLOW): 900, Cell(ALLOW, Decision.REVIEW): 100}
    people = Population(
        images, [label(ALLOW, 0.1, is_fake=number < 2) for number in range(10)], Rule(Thresholds(0.4, 0.9))
    )
    found = known(people.number(Decision.REVIEW, of_fakes=True))
    assert found.value == pytest.approx(20.0)
    assert found.low < 1
    assert found.high > 99


def test_within_a_kind_labels_weigh_by_their_own_chance() -> None:
    labels = [
        label(ALLOW, 0.1, is_fake=True, probability=1.0),  # was sure to be seen, by an earlier verdict
        label(ALLOW, 0.1, is_fake=False, probability=0.02),
    ]
    people = Population({Cell(ALLOW, Decision.ALLOW): 510}, labels, RULE)
    assert known(people.number(Decision.ALLOW, of_fakes=True)).value == pytest.approx(10.0)


def test_the_same_labels_give_the_same_interval() -> None:
    images = {Cell(REVIEW, Decision.REVIEW): 50}
    labels = [label(REVIEW, 0.6, is_fake=number < 10) for number in range(20)]
    first, second = (Population(images, labels, RULE).prevalence() for _ in range(2))
    assert first == second


def test_an_image_in_several_draws_counts_with_the_chance_of_any() -> None:
    audit = Chance(Reason.AUDIT, 0.1, 1)
    assert inclusion_probability([audit]) == pytest.approx(0.1)
    assert inclusion_probability([audit, audit]) == pytest.approx(0.1)  # the same draw again
    assert inclusion_probability([audit, Chance(Reason.AUDIT, 0.5, 2)]) == pytest.approx(1 - 0.9 * 0.5)
    assert inclusion_probability([audit, Chance(Reason.UNSURE, 1.0, 1)]) == 1.0
    assert inclusion_probability([Chance(Reason.AUDIT, 0.0, 1)]) == 0.0


def test_groups_become_cells_by_what_they_turn_into() -> None:
    groups = [
        Group(ALLOW, 0.5, Decision.ALLOW, Decision.ALLOW, 3),
        Group(ALLOW, 0.4, Decision.ALLOW, Decision.ALLOW, 4),
        Group(ALLOW, 0.5, Decision.ALLOW, Decision.REVIEW, 5),
    ]
    assert cells_of(groups) == {Cell(ALLOW, Decision.ALLOW): 7, Cell(ALLOW, Decision.REVIEW): 5}


def test_a_rule_takes_a_sources_own_thresholds_first() -> None:
    rule = Rule(AT, {"avatars": Thresholds(0.1, 0.2)})
    assert (rule.decide("avatars", 0.3), rule.decide("web", 0.3)) == (Decision.BLOCK, Decision.ALLOW)
