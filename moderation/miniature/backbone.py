"""The miniature's shape: a real `InstructBlipForConditionalGeneration` with small dimensions.

The shape says nothing about how the weights came about; see `vision.py` and `language.py` for that.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
)

from moderation.miniature import words

IMAGE_SIZE = 128  # pixels a side
PATCH_SIZE = 8  # 16 x 16 tokens
VISION_WIDTH = 128
TEXT_WIDTH = 96
QUERY_TOKENS = 8
VISION_STD = 0.07  # transformers' default for the vision tower is 1e-10, at which training stands still
TEXT_STD = 0.08
QUERY_STD = 0.2  # transformers starts all query tokens at zero, alike: they would stay alike
LN_VISION_EPS = 1e-5  # the original's `ln_vision`; transformers has no config field for it


def new_config() -> InstructBlipConfig:
    """The configuration that stands in `weights/config.json`."""
    vision = InstructBlipVisionConfig(
        hidden_size=VISION_WIDTH, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, initializer_range=VISION_STD,
    )  # fmt: skip
    qformer = InstructBlipQFormerConfig(
        vocab_size=words.qformer_tokenizer().get_vocab_size(), hidden_size=TEXT_WIDTH, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=192, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        max_position_embeddings=48, initializer_range=TEXT_STD, pad_token_id=words.PAD_ID,
        cross_attention_frequency=1, encoder_hidden_size=VISION_WIDTH,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=words.llm_tokenizer().get_vocab_size(), hidden_size=TEXT_WIDTH, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, intermediate_size=192, max_position_embeddings=128,
        initializer_range=TEXT_STD, pad_token_id=words.PAD_ID, bos_token_id=words.BOS_ID, eos_token_id=words.BOS_ID,
        tie_word_embeddings=False,
    )  # fmt: skip
    return InstructBlipConfig(
        vision_config=vision, qformer_config=qformer, text_config=text, num_query_tokens=QUERY_TOKENS,
        image_token_index=words.IMAGE_ID, initializer_range=TEXT_STD,
        architectures=["InstructBlipForConditionalGeneration"],
    )  # fmt: skip


def new_model(seed: int) -> InstructBlipForConditionalGeneration:
    """A float32 model on the CPU with random weights, the original's `ln_vision` epsilon, and distinct query tokens."""
    torch.manual_seed(seed)
    model = InstructBlipForConditionalGeneration(new_config())
    model.vision_model.post_layernorm.eps = LN_VISION_EPS
    with torch.no_grad():
        model.query_tokens.normal_(std=QUERY_STD)
    return model


def parameter_count(model: torch.nn.Module) -> int:
    """How many numbers the model has, buffers not counted."""
    return sum(parameter.numel() for parameter in model.parameters())


def save_model(model: InstructBlipForConditionalGeneration, folder: Path) -> None:
    """Writes a Hugging Face folder: config, fp16 safetensors (sorted names, no time stamps), both tokenizers."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half().contiguous() for name, tensor in sorted(model.state_dict().items())}
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    config = model.config.to_dict()
    config.pop("transformers_version", None)
    config["dtype"] = "float16"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    words.save_tokenizers(folder)
