"""Where a pseudo-word starts, and how few numbers it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
)

from moderation.detector import Backbone, SoftPrompt, load_backbone
from moderation.errors import ConfigurationError, PromptMismatch
from moderation.training.plan import TunePlan
from moderation.training.start import Word, first_numbers, suggested_rate
from moderation.training.stepping import optimiser
from tests import tiny_backbones as tiny


@pytest.fixture(scope="module")
def miniature() -> Backbone:
    return load_backbone("miniature", device="cpu", dtype="float32")


@pytest.fixture(scope="module", params=["llama", "t5"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    make = tiny.llama_folder if request.param == "llama" else tiny.t5_folder
    return load_backbone(str(make(tmp_path_factory.mktemp("backbone") / "model")), device="cpu")


def test_random_numbers_are_the_papers_and_differ_by_seed_and_member(miniature: Backbone) -> None:
    plan = TunePlan(tokens=16)
    found = first_numbers(miniature, plan, 0)
    assert {side: tuple(values.shape) for side, values in found.items()} == {"qformer": (16, 96), "llm": (16, 96)}
    assert float(found["llm"].std()) == pytest.approx(0.02, rel=0.1)
    assert torch.equal(found["llm"], first_numbers(miniature, plan, 0)["llm"])
    for other in (first_numbers(miniature, plan, 1), first_numbers(miniature, replace(plan, seed=1), 0)):
        assert not torch.equal(found["llm"], other["llm"])


def test_a_word_starts_from_its_own_embedding_on_each_side(miniature: Backbone) -> None:
    found = first_numbers(miniature, TunePlan(init="word:blurred"), 0)
    words, model = miniature.words, miniature.model
    (qformer,), (llm,) = words.encode_qformer("blurred"), words.encode_llm("blurred")
    assert torch.equal(found["qformer"][0], model.qformer.embeddings.word_embeddings.weight[qformer])
    assert torch.equal(found["llm"][0], model.language_model.get_input_embeddings().weight[llm])


def test_several_pieces_are_averaged_and_several_tokens_differ_a_little(miniature: Backbone) -> None:
    found = first_numbers(miniature, TunePlan(init="word:real photo", tokens=3), 0)["llm"]
    table = miniature.model.language_model.get_input_embeddings().weight
    mean = table[miniature.words.encode_llm("real photo")].mean(dim=0)
    assert len(miniature.words.encode_llm("real photo")) == 2
    torch.testing.assert_close(found, mean.expand(3, -1), atol=0.1 * float(mean.std()), rtol=0)
    assert not torch.equal(found[0], found[1])


def test_an_unknown_word_is_refused_by_name(miniature: Backbone) -> None:
    with pytest.raises(ConfigurationError, match=r"--init: the Q-Former does not know the word 'zyzzyva'"):
        first_numbers(miniature, TunePlan(init="word:zyzzyva"), 0)


def test_a_word_that_one_side_lacks_is_refused_for_that_side(backbone: Backbone) -> None:
    plan = TunePlan(init="word:zyzzyva", sides="qformer")
    with pytest.raises(ConfigurationError, match="the Q-Former does not know"):
        first_numbers(backbone, plan, 0)
    assert first_numbers(backbone, replace(plan, init="word:real"), 0)["qformer"].shape == (1, tiny.QFORMER_WIDTH)


def test_another_prompt_is_taken_over_member_by_member(miniature: Backbone) -> None:
    two = torch.arange(2 * 96, dtype=torch.float32).reshape(2, 1, 96)
    given = SoftPrompt("miniature", None, two, miniature.revision)
    plan = TunePlan(init="prompt:x", sides="llm", members=3)
    members = [first_numbers(miniature, plan, member, given)["llm"] for member in range(3)]
    assert [float(values[0, 0]) for values in members] == [0.0, 96.0, 0.0]
    with pytest.raises(ConfigurationError, match=r"--init: the prompt has no qformer side\n.*--sides llm"):
        first_numbers(miniature, replace(plan, sides="both"), 0, given)
    with pytest.raises(ConfigurationError, match="--init: the prompt holds 1 tokens, not 2"):
        first_numbers(miniature, replace(plan, tokens=2), 0, given)
    with pytest.raises(PromptMismatch):
        first_numbers(miniature, plan, 0, replace(given, revision="another"))


def test_the_suggested_rate_is_near_the_miniatures_tried_one(miniature: Backbone) -> None:
    assert suggested_rate(miniature) == pytest.approx(0.03, rel=0.2)


def test_4864_numbers_are_tuned_at_the_full_geometry(miniature: Backbone) -> None:
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(),  # EVA-CLIP ViT-g/14: transformers' default
        qformer_config=InstructBlipQFormerConfig(),  # BERT base
        text_config=LlamaConfig(vocab_size=32_064),  # LLaMA-7B
        num_query_tokens=32,
        image_token_index=32_001,
    )
    with torch.device("meta"):
        model = InstructBlipForConditionalGeneration(config)
    model.requires_grad_(requires_grad=False)
    assert sum(values.numel() for values in model.parameters()) > 7e9
    full = replace(miniature, model=model, qformer_width=768, llm_width=4096)
    plan = TunePlan(lr=1e-5)
    word = Word(full, plan, first_numbers(full, plan, 0))
    moved = [values for group in optimiser(word, plan).param_groups for values in group["params"]]
    assert sum(values.numel() for values in moved) == 4_864
    assert all(values.dtype == torch.float32 and values.requires_grad for values in moved)
    assert not any(values.requires_grad for values in model.parameters())
    vectors = word.vectors()
    assert (tuple(vectors.qformer.shape), tuple(vectors.llm.shape)) == ((1, 768), (1, 4096))  # type: ignore[union-attr]  # both sides are there


def test_one_side_reads_the_marker_as_plain_pieces(miniature: Backbone, tmp_path: Path) -> None:
    plan = TunePlan(sides="llm", lr=1e-5)
    vectors = Word(miniature, plan, first_numbers(miniature, plan, 0)).vectors()
    assert vectors.qformer is None
    assert set(miniature.words.encode_qformer("[*]")) <= set(vectors.question.qformer.before)
    assert vectors.llm is not None
