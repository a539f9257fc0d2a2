"""Tuning: loss, gradients and optimiser steps of the original, on our differentiable path.

Tolerances as data/README.md recommends: 1e-5 for losses and embeddings, 1e-4 of the largest for gradients.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from moderation.detector import Backbone, PromptVectors, normalise, vision_features
from moderation.detector.question import Question
from moderation.training.augment import paper
from moderation.training.objective import class_weights, losses, weighted
from moderation.training.schedule import learning_rate, rate
from moderation.training.stepping import BETAS
from tests.golden.sets import GoldenSet, Tensors, assert_near, each, golden_sets, name_of
from tests.golden.test_pictures import _decodes_alike, _facts, _rgb, picture_case

ATOL, GRADIENT_RTOL = 1e-5, 1e-4

golden_case = pytest.mark.parametrize(("golden", "letter"), list(each("train_*.safetensors")), ids=name_of)


class Tuning:
    """The original's fixed batch, and a pseudo-word that starts where the original's did."""

    def __init__(self, golden: GoldenSet, letter: str) -> None:
        self.expected: Tensors
        self.expected, self.facts = _files(golden, letter)
        self.backbone: Backbone = golden.backbone(letter)
        self.question = _question(self.backbone, self.facts)
        self.is_fake = torch.tensor([answer == "no" for answer in self.facts["text_output"]])
        with torch.no_grad():
            self.features = vision_features(self.backbone, _pixels(golden, letter)[: len(self.is_fake)])
        self.qformer = self.expected["init_qformer"].clone().requires_grad_()
        self.llm = self.expected["init_llm"].clone().requires_grad_()

    def losses(self) -> torch.Tensor:
        prompt = PromptVectors(self.question, self.qformer, self.llm)
        return losses(self.backbone, prompt, self.is_fake, self.features, "answer")

    def optimizer(self) -> torch.optim.AdamW:
        facts = self.facts["optimizer"]
        assert tuple(facts["betas"]) == BETAS
        return torch.optim.AdamW(
            [self.qformer, self.llm],
            lr=self.facts["lr"],
            betas=BETAS,
            eps=facts["eps"],
            weight_decay=facts["weight_decay"],
        )

    def step(self, optimizer: torch.optim.Optimizer) -> float:
        """One step; returns the loss before it."""
        optimizer.zero_grad()
        loss = weighted(self.losses(), self.is_fake, class_weights("answer", real=1, fake=1))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())


def _files(golden: GoldenSet, letter: str) -> tuple[Tensors, Any]:
    from safetensors.torch import load_file

    return load_file(golden.root / f"train_{letter}.safetensors"), golden.json(f"train_{letter}.json")


def _pixels(golden: GoldenSet, letter: str) -> torch.Tensor:
    own = (golden.root / f"forward_{letter}.safetensors").is_file()
    return (golden if own else golden_sets()[0]).forward(letter)[0]["pixel_values"]


def _question(backbone: Backbone, facts: Any) -> Question:
    (text,) = set(facts["text_input"])
    return backbone.words.question(text)


@golden_case
def test_loss_and_gradients(golden: GoldenSet, letter: str) -> None:
    tuning = Tuning(golden, letter)
    losses = tuning.losses()
    assert_near(losses, tuning.expected["loss_per_sample"], ATOL)
    loss = losses.mean()
    assert_near(loss.unsqueeze(0), tuning.expected["loss"], ATOL)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, vector in (("qformer", tuning.qformer), ("llm", tuning.llm)):
        expected = tuning.expected[f"grad_{name}"]
        assert vector.grad is not None
        assert_near(vector.grad, expected, GRADIENT_RTOL * float(expected.abs().max()))


@golden_case
def test_steps_at_a_constant_learning_rate(golden: GoldenSet, letter: str) -> None:
    tuning = Tuning(golden, letter)
    optimizer = tuning.optimizer()
    losses = []
    for qformer, llm in zip(
        tuning.expected["const_lr.qformer_after_step"], tuning.expected["const_lr.llm_after_step"], strict=True
    ):
        losses.append(tuning.step(optimizer))
        assert_near(tuning.qformer, qformer, ATOL)
        assert_near(tuning.llm, llm, ATOL)
    losses.append(float(tuning.losses().mean().detach()))
    assert_near(torch.tensor(losses), tuning.expected["const_lr.loss_before_each_step_and_final"], ATOL)


@golden_case
def test_scheduled_steps(golden: GoldenSet, letter: str) -> None:
    tuning = Tuning(golden, letter)
    optimizer = tuning.optimizer()
    schedule = tuning.facts["sched"]
    rates = [
        learning_rate(
            epoch,
            iteration,
            init_lr=tuning.facts["lr"],
            max_epoch=schedule["max_epoch"],
            min_lr=schedule["min_lr"],
            warmup_lr=schedule["warmup_start_lr"],
            warmup_steps=schedule["warmup_steps"],
        )
        for epoch in schedule["epochs"]
        for iteration in range(schedule["iters_per_epoch"])
    ]
    assert rates == pytest.approx(tuning.expected["sched.lr"].tolist(), rel=1e-12)
    for index, lr in enumerate(rates):
        optimizer.param_groups[0]["lr"] = lr
        tuning.step(optimizer)
        assert_near(tuning.qformer, tuning.expected["sched.qformer_after_step"][index], ATOL)
        assert_near(tuning.llm, tuning.expected["sched.llm_after_step"][index], ATOL)


@pytest.mark.parametrize(
    "golden", [golden for golden in golden_sets() if (golden.root / "lr_schedule.json").is_file()], ids=name_of
)
def test_learning_rate_schedule(golden: GoldenSet) -> None:
    facts = golden.json("lr_schedule.json")
    settings = {key: facts[key] for key in ("init_lr", "min_lr", "warmup_lr", "warmup_steps", "max_epoch")}
    for epoch, iteration, expected in facts["rows"]:
        assert learning_rate(epoch, iteration, **settings) == pytest.approx(expected, rel=1e-12)
        found = rate("paper", epoch, iteration, lr=facts["init_lr"], epochs=facts["max_epoch"], iterations=3)
        assert found == pytest.approx(expected, rel=1e-12)


@picture_case
def test_training_picture(golden: GoldenSet, path: Path) -> None:
    example = _facts(golden, path)["train_example"]
    found = paper(_rgb(path), 224, torch.Generator().manual_seed(example["torch_seed"]))
    values = normalise(torch.from_numpy(found)[None], golden.normalisation())[0].numpy()
    assert values.shape == (3, 224, 224)
    if _decodes_alike(golden, path):
        assert hashlib.sha256(values.tobytes()).hexdigest() == example["float32_chw_sha256"]
