"""Scoring against transformers' own forward pass, in which the vectors are rows of the embedding tables."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from moderation.detector import (
    QUESTIONS,
    Backbone,
    PromptVectors,
    answer_logits,
    answer_losses,
    load_backbone,
    margins,
    member_margins,
    vision_features,
)
from moderation.detector.question import SideIds
from tests import tiny_backbones as tiny

KINDS = ["llama", "flan-t5", "t5-1.0"]
QFORMER_FREE, LLM_FREE = 13, 350  # rows of the embedding tables that no tokenizer here uses


@pytest.fixture(scope="module", params=KINDS)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("backbone") / "model"
    if request.param == "llama":
        tiny.llama_folder(folder)
    else:
        tiny.t5_folder(folder, own_head=request.param == "flan-t5")
    return load_backbone(str(folder), device="cpu")


def _pixels(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, generator=generator)


def _prompt(backbone: Backbone, position: str = "postfix", tokens: int = 1, sides: str = "both") -> PromptVectors:
    generator = torch.Generator().manual_seed(7)
    qformer = torch.randn(tokens, backbone.qformer_width, generator=generator)
    llm = torch.randn(tokens, backbone.llm_width, generator=generator)
    if position == "plain":
        return PromptVectors(
            backbone.words.question(QUESTIONS["plain"], mark_qformer=False, mark_llm=False), None, None
        )
    question = backbone.words.question(QUESTIONS[position], mark_qformer=sides != "llm", mark_llm=sides != "qformer")
    return PromptVectors(question, None if sides == "llm" else qformer, None if sides == "qformer" else llm)


def _full_logits(backbone: Backbone, prompt: PromptVectors, pixels: torch.Tensor, answers: list[int]) -> torch.Tensor:
    """[B, 1 + A, V] of `InstructBlipForConditionalGeneration.forward`: what follows the question and each answer id."""
    model = copy.deepcopy(backbone.model)
    head = (
        model.language_model.lm_head
    )  # where it shares its rows with the embeddings, writing there must not change it
    head.weight = torch.nn.Parameter(head.weight.clone(), requires_grad=False)
    qformer = _write(
        model.qformer.embeddings.word_embeddings.weight, QFORMER_FREE, prompt.question.qformer, prompt.qformer
    )
    llm = _write(model.language_model.get_input_embeddings().weight, LLM_FREE, prompt.question.llm, prompt.llm)
    ids = [model.config.image_token_index] * backbone.queries + llm
    decoder = {}
    if backbone.encoder_decoder:
        decoder = {"decoder_input_ids": torch.tensor([[0, *answers]] * len(pixels))}
    else:
        ids += answers
    logits: torch.Tensor = model(
        pixel_values=pixels,
        qformer_input_ids=torch.tensor([qformer] * len(pixels)),
        input_ids=torch.tensor([ids] * len(pixels)),
        **decoder,
    ).logits
    return logits[:, -(1 + len(answers)) :]


def _write(table: torch.Tensor, free: int, side: SideIds, vectors: torch.Tensor | None) -> list[int]:
    if vectors is None:
        return [*side.before, *side.after]
    rows = list(range(free, free + len(vectors)))
    table[rows] = vectors
    return [*side.before, *rows, *side.after]


@pytest.mark.parametrize(
    ("position", "tokens", "sides"),
    [
        ("postfix", 1, "both"),
        ("prefix", 1, "both"),
        ("replace", 2, "both"),
        ("postfix", 3, "both"),
        ("postfix", 1, "qformer"),
        ("prefix", 2, "llm"),
        ("plain", 0, "none"),
    ],
)
@torch.no_grad()
def test_the_two_logits_equal_those_of_the_whole_model(
    backbone: Backbone, position: str, tokens: int, sides: str
) -> None:
    prompt = _prompt(backbone, position, tokens, sides)
    expected = _full_logits(backbone, prompt, _pixels(), [])[:, 0]
    found = answer_logits(backbone, prompt, _pixels())
    torch.testing.assert_close(found, expected[:, [backbone.words.yes, backbone.words.no]], atol=1e-5, rtol=1e-5)
    assert torch.equal(margins(found), found[:, 1] - found[:, 0])
    assert float(margins(found).std()) > 1e-4, "the pictures must matter, or this test proves little"


def _members(backbone: Backbone, sides: str, count: int = 3, tokens: int = 2) -> list[PromptVectors]:
    generator = torch.Generator().manual_seed(11)
    question = backbone.words.question(QUESTIONS["postfix"], mark_qformer=sides != "llm", mark_llm=sides != "qformer")
    found = []
    for _ in range(count):
        qformer = torch.randn(tokens, backbone.qformer_width, generator=generator)
        llm = torch.randn(tokens, backbone.llm_width, generator=generator)
        vectors = (None if sides == "llm" else qformer, None if sides == "qformer" else llm)
        found.append(PromptVectors(question, *vectors))
    return found


@pytest.mark.parametrize("sides", ["both", "qformer", "llm"])
@torch.no_grad()
def test_an_ensembles_margins_are_those_of_its_members_one_by_one(backbone: Backbone, sides: str) -> None:
    members, features = _members(backbone, sides), vision_features(backbone, _pixels())
    alone = torch.stack([margins(answer_logits(backbone, member, features=features)) for member in members], dim=1)
    found = member_margins(backbone, members, features)
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)
    assert float(alone.std(dim=1).min()) > 1e-3, "the members must differ, or this test proves little"
    torch.testing.assert_close(member_margins(backbone, members[:1], features), alone[:, :1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sides", ["both", "qformer", "llm"])
@torch.no_grad()
def test_the_pictures_keys_are_made_once_for_all_members(backbone: Backbone, sides: str) -> None:
    """The Q-Former's cross-attention makes keys of the image's tokens; each layer does so once, whatever M is."""
    keys = [
        layer.crossattention.attention.key
        for layer in backbone.model.qformer.encoder.layer
        if layer.has_cross_attention
    ]
    seen: list[tuple[int, ...]] = []
    hooks = [key.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape))) for key in keys]
    features = vision_features(backbone, _pixels())
    member_margins(backbone, _members(backbone, sides, count=4), features)
    for hook in hooks:
        hook.remove()
    assert seen == [tuple(features.shape)] * len(keys)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@torch.no_grad()
def test_half_precision_comes_close(backbone: Backbone, dtype: str) -> None:
    half = load_backbone(backbone.name, device="cpu", dtype=dtype)
    found = answer_logits(half, _prompt(half, tokens=2), _pixels())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, answer_logits(backbone, _prompt(backbone, tokens=2), _pixels()), atol=0.2, rtol=0)


@torch.no_grad()
def test_the_vectors_matter_on_both_sides(backbone: Backbone) -> None:
    base = margins(answer_logits(backbone, _prompt(backbone), _pixels()))
    for sides in ("qformer", "llm"):
        other = margins(answer_logits(backbone, _prompt(backbone, sides=sides), _pixels()))
        assert float((base - other).abs().max()) > 1e-3


@torch.no_grad()
def test_an_image_scores_the_same_in_any_batch(backbone: Backbone) -> None:
    pixels, prompt = _pixels(5), _prompt(backbone)
    together = answer_logits(backbone, prompt, pixels)
    alone = torch.cat([answer_logits(backbone, prompt, pixels[index : index + 1]) for index in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_kept_features_give_the_same_as_pixels(backbone: Backbone) -> None:
    prompt = _prompt(backbone)
    features = vision_features(backbone, _pixels())
    assert torch.equal(answer_logits(backbone, prompt, features=features), answer_logits(backbone, prompt, _pixels()))
    with pytest.raises(ValueError, match="pixels or features"):
        answer_logits(backbone, prompt)


@torch.no_grad()
def test_scoring_never_computes_the_whole_vocabulary(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the LM head ran over the whole vocabulary")

    monkeypatch.setattr(backbone.model.language_model.lm_head, "forward", refuse)
    answer_logits(backbone, _prompt(backbone), _pixels())


@pytest.mark.parametrize("fake", [True, False])
def test_the_tuning_loss_is_that_of_answer_and_end(backbone: Backbone, fake: bool) -> None:
    prompt, words = _prompt(backbone, tokens=2), backbone.words
    answer = words.no if fake else words.yes
    with torch.no_grad():
        logits = _full_logits(backbone, prompt, _pixels(), [answer])[..., : backbone.vocabulary]
    targets = torch.tensor([[answer, words.eos]] * 3)
    expected = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(3, 2).mean(1)
    found = answer_losses(backbone, prompt, torch.full((3,), fake), _pixels())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_vectors_and_nothing_else(backbone: Backbone) -> None:
    prompt = _prompt(backbone, tokens=2)
    assert prompt.qformer is not None
    assert prompt.llm is not None
    prompt.qformer.requires_grad_()
    prompt.llm.requires_grad_()
    answer_losses(backbone, prompt, torch.tensor([True, False, True]), _pixels()).mean().backward()  # type: ignore[no-untyped-call]
    for vectors in (prompt.qformer, prompt.llm):
        assert vectors.grad is not None
        assert bool((vectors.grad.abs().sum(dim=1) > 0).all())
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


def test_the_loss_sees_no_padded_rows_of_a_vicuna(tmp_path: Path) -> None:
    """Golden numbers prove the 32,001 rows; here only that a smaller vocabulary is taken whole."""
    backbone = load_backbone(str(tiny.llama_folder(tmp_path / "model")), device="cpu")
    assert backbone.vocabulary == backbone.model.language_model.lm_head.weight.shape[0]
