"""Every number of a forward pass of the original code, from activations to verdicts.

Tolerances are those that data/README.md recommends: 1e-4 for activations, logits and margins, 1e-5 for losses; ids,
masks, verdicts and ranks exact.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open

from moderation.detector import Backbone, PromptVectors, answer_logits, margins, vision_features
from moderation.detector.scoring import answer_states, language_inputs, question_states, vocabulary_logits
from tests.golden.sets import GoldenSet, Tensors, assert_near, each, ids_with, name_of

ATOL, LOSS_ATOL = 1e-4, 1e-5


class Run(NamedTuple):
    """One `<prompt>.` of a forward file with its images, and for each image the prompt that it is asked."""

    backbone: Backbone
    pixels: torch.Tensor
    prompts: list[PromptVectors]
    expected: Tensors
    verdicts: list[str]


def _cases(tensor: str) -> list[Any]:
    """Every prompt that a forward file holds `tensor` for."""
    cases = []
    for golden, letter in each("forward_*.safetensors"):
        with safe_open(golden.root / f"forward_{letter}.safetensors", "pt") as file:
            names = [key.partition(".")[0] for key in file.keys() if key.endswith(f".{tensor}")]  # noqa: SIM118
        cases += [pytest.param(golden, letter, name, id=f"{name_of(golden)}-{letter}-{name}") for name in names]
    return cases


@cache
def _run(golden: GoldenSet, letter: str, name: str) -> Run:
    tensors, facts = golden.forward(letter)
    backbone = golden.backbone(letter)
    expected = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
    count = len(expected["margin"])
    questions = facts["mixed_prompts"] if name == "mixed" else [facts["prompts"][name]] * count
    prompts = [golden.prompt(letter, question).vectors(backbone) for question in questions]
    assert (backbone.words.yes, backbone.words.no) == (facts["yes_id"], facts["no_id"])
    if "logit_ids" in tensors:
        expected["logit_ids"] = tensors["logit_ids"]
    return Run(backbone, tensors["pixel_values"][:count], prompts, expected, facts["verdict"][name])


def _one_by_one(run: Run, count: int) -> list[tuple[PromptVectors, torch.Tensor]]:
    return [(run.prompts[index], run.pixels[index : index + 1]) for index in range(count)]


@pytest.mark.parametrize(("golden", "letter", "name"), _cases("margin"))
@torch.no_grad()
def test_logits_margins_and_verdicts(golden: GoldenSet, letter: str, name: str) -> None:
    run = _run(golden, letter, name)
    if name == "mixed":  # the original pads unequal questions; each picture's answer must not depend on that
        found = torch.cat(
            [answer_logits(run.backbone, prompt, pixels) for prompt, pixels in _one_by_one(run, len(run.pixels))]
        )
    else:
        found = answer_logits(run.backbone, run.prompts[0], run.pixels)
    assert_near(found[:, 0], run.expected["logit_yes"], ATOL)
    assert_near(found[:, 1], run.expected["logit_no"], ATOL)
    assert_near(margins(found), -run.expected["margin"], ATOL)  # theirs is yes - no
    assert ["Fake" if margin > 0 else "Real" for margin in margins(found)] == run.verdicts


@pytest.mark.parametrize(("golden", "letter", "name"), _cases("candidate_loss"))
@torch.no_grad()
def test_candidate_losses_and_ranks(golden: GoldenSet, letter: str, name: str) -> None:
    run = _run(golden, letter, name)
    backbone, expected = run.backbone, run.expected
    logits = torch.cat([_vocabulary(backbone, prompt, pixels) for prompt, pixels in _one_by_one(run, len(run.pixels))])
    total = logits.logsumexp(dim=1)
    assert_near(logits[:, expected["logit_ids"]], expected["logits_at_ids"], ATOL)
    assert_near(total, expected["logsumexp"], ATOL)
    answers = logits[:, [backbone.words.yes, backbone.words.no]]
    losses = (total.unsqueeze(1) - answers) / expected["candidate_loss_divisor"]
    assert_near(losses, expected["candidate_loss"], LOSS_ATOL)
    assert torch.equal(losses.argsort(dim=1), expected["ranks"])
    lengths = torch.tensor([_length(prompt) for prompt in run.prompts])
    assert torch.equal(backbone.queries + lengths - 1, expected["last_prompt_index"])
    assert int(expected["candidate_loss_divisor"]) == backbone.queries + int(lengths.max())


@pytest.mark.parametrize(("golden", "letter", "name"), _cases("ln_vision"))
@torch.no_grad()
def test_activations(golden: GoldenSet, letter: str, name: str) -> None:
    run = _run(golden, letter, name)
    backbone, expected = run.backbone, run.expected
    queries = backbone.queries
    for index, (prompt, pixels) in enumerate(_one_by_one(run, len(expected["ln_vision"]))):
        features = vision_features(backbone, pixels)
        assert_near(features[0], expected["ln_vision"][index], ATOL)
        states = question_states(backbone, prompt, features)
        kept = expected["qformer_attention_mask"][index].bool()
        assert_near(states[0], expected["qformer_last_hidden"][index][kept], ATOL)
        assert_near(backbone.model.language_projection(states[0, :queries]), expected["llm_proj"][index], ATOL)
        inputs = language_inputs(backbone, prompt, states)[0]
        kept = expected["llm_attention_mask"][index].bool()
        assert len(inputs) + 1 == int(kept.sum())  # theirs ends with the answer `yes`
        assert_near(inputs, expected["llm_inputs_embeds"][index][kept][:-1], ATOL)
        marked = prompt.qformer is not None
        ids = ids_with(_PSEUDO, prompt.question.qformer, marked=marked)
        assert ids == expected["qformer_input_ids"][index][: len(ids)].tolist()


_PSEUDO = 30523  # `[*]` in the original's Q-Former vocabulary


def _vocabulary(backbone: Backbone, prompt: PromptVectors, pixels: torch.Tensor) -> torch.Tensor:
    states = question_states(backbone, prompt, vision_features(backbone, pixels))
    return vocabulary_logits(backbone, answer_states(backbone, language_inputs(backbone, prompt, states)))[:, 0]


def _length(prompt: PromptVectors) -> int:
    side = prompt.question.llm
    return len(side.before) + (0 if prompt.llm is None else len(prompt.llm)) + len(side.after)
