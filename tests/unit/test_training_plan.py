"""A tuning run's plan and its learning rate."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from moderation.errors import ConfigurationError
from moderation.training.plan import CLIP, PAPER, TunePlan
from moderation.training.schedule import Schedule, rate
from moderation.training.state import check_same


@pytest.mark.parametrize(
    ("option", "fields"),
    [
        ("--tokens", {"tokens": 0}),
        ("--tokens", {"tokens": 17}),
        ("--position", {"position": "middle"}),
        ("--sides", {"sides": "left"}),
        ("--method", {"method": "full"}),
        ("--loss", {"loss": "hinge"}),
        ("--augment", {"augment": "all"}),
        ("--schedule", {"schedule": "step"}),
        ("--precision", {"precision": "fp8"}),
        ("--init", {"init": "word:"}),
        ("--init", {"init": "word:  "}),
        ("--init", {"init": "zeros"}),
        ("--normalisation", {"normalisation": "imagenet"}),
        ("--normalisation", {"normalisation": "1,2/3,4"}),
        ("--normalisation", {"normalisation": ".5,.5,.5/.2,.2,0"}),
        ("--epochs", {"epochs": 0}),
        ("--batch-size", {"batch_size": 0}),
        ("--lr", {"lr": 0.0}),
        ("--lr", {"lr": float("nan")}),
        ("--weight-decay", {"weight_decay": -0.1}),
        ("--seed", {"seed": -1}),
        ("--patience", {"patience": 0}),
        ("--members", {"members": 0}),
        ("--crops", {"crops": 17}),
        ("--crop-pool", {"crops": 2, "crop_pool": "min"}),
        ("--crop-pool", {"crop_pool": "max"}),
        ("--lr", {"lr": 1e38}),
        ("--name", {"name": ""}),
        ("--name", {"name": "../up"}),
        ("--tokens", {"method": "lora", "tokens": 2}),
        ("--members", {"method": "lora", "members": 2}),
        ("--expert", {"method": "lora", "expert": True}),
    ],
)
def test_a_wrong_choice_is_refused_by_its_option(option: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        TunePlan(**fields)
    assert refused.value.setting == option


def test_the_papers_plan_is_the_authors_defaults_unless_overridden() -> None:
    plan = TunePlan.paper(epochs=3)
    assert (plan.loss, plan.augment, plan.batch_size, plan.lr, plan.schedule) == ("answer", "paper", 6, 1e-5, "paper")
    assert (plan.weight_decay, plan.precision, plan.seed, plan.epochs, plan.recipe) == (0.05, "fp16", 42, 3, "paper")
    assert PAPER["epochs"] == 10
    assert plan.question == "Is this photo real [*]?"


def test_a_plan_survives_json() -> None:
    plan = TunePlan(tokens=4, normalisation=".5,.5,.5/.25,.25,.25", lr=0.01, patience=3)
    assert TunePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    statistics = plan.statistics()
    assert statistics is not None
    assert statistics.std == (0.25, 0.25, 0.25)
    assert TunePlan(normalisation="clip").statistics() == CLIP


@pytest.mark.parametrize(
    ("pictures", "epochs", "rounds"), [(2000, 7, 1), (300, 23, 2), (86, 40, 5), (150_000, 2, 1), (5, 40, 10)]
)
def test_a_small_set_gets_a_few_hundred_steps_and_few_validations(pictures: int, epochs: int, rounds: int) -> None:
    plan = TunePlan().filled(pictures=pictures, lr=0.03)
    assert (plan.epochs, plan.rounds, plan.lr) == (epochs, rounds, 0.03)
    assert plan.iterations(pictures) * epochs >= 400
    assert plan.filled(pictures=pictures, lr=0.03) == plan
    assert TunePlan(epochs=1, lr=1.0).filled(pictures=pictures, lr=0.03).lr == 1.0


@pytest.mark.parametrize("plan", [TunePlan.paper(), TunePlan(epochs=10, batch_size=6)])
def test_epochs_that_were_given_are_single_passes(plan: TunePlan) -> None:
    filled = plan.filled(pictures=13, lr=0.03)
    assert (filled.epochs, filled.passes, filled.iterations(13)) == (10, 1, 2)


def test_onecycle_is_torchs() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.1, total_steps=40)
    for step in range(40):
        ours = rate("onecycle", step // 8, step % 8, lr=0.1, epochs=5, iterations=8)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-12)
        optimiser.step()
        theirs.step()


def test_the_other_schedules() -> None:
    def at(kind: Schedule, epoch: int, step: int) -> float:
        return rate(kind, epoch, step, lr=0.1, epochs=10, iterations=5)

    assert [at("constant", epoch, 0) for epoch in (0, 9)] == [0.1, 0.1]
    assert at("cosine", 0, 0) == pytest.approx(0.1)
    assert at("cosine", 9, 4) == pytest.approx(0.0, abs=1e-12)
    assert at("paper", 0, 0) == 1e-8
    assert at("paper", 0, 1) == 0.1
    assert at("paper", 5, 3) == pytest.approx(0.05)


def test_a_resumed_plan_must_be_the_same() -> None:
    check_same(TunePlan(lr=0.1), {"lr": 0.1})
    with pytest.raises(ConfigurationError, match=r"--batch-size: is 8 now and was 32"):
        check_same(TunePlan(), {"batch_size": 8})
