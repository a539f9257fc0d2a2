"""Builds tiny random InstructBLIPs on disk, tokenizers included: a decoder-only one and an encoder-decoder one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    T5Config,
)

torch.set_num_threads(1)  # the models are tiny; threads would only cost

IMAGE_SIZE, QUERIES, QFORMER_WIDTH, LLM_WIDTH = 28, 4, 24, 32
QFORMER_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "is", "this", "photo", "real", "?", "[", "*", "]"]
_TEXTS = ["Is this photo real?", "yes", "no", "photo ?", "[*] real", "Is this photo [*]?"] * 20


def llama_folder(folder: Path, *, seed: int = 0) -> Path:
    """A tiny InstructBLIP with a LLaMA, its vocabulary padded beyond the tokenizer's, as the Hub does."""
    tokenizer = sentencepiece_model("bpe", unk_id=0, bos_id=1, eos_id=2, pad_id=-1, byte_fallback=True)
    text = llama_config()
    _save(folder, text, seed)
    (folder / "tokenizer.model").write_bytes(tokenizer)
    return folder


def t5_folder(folder: Path, *, seed: int = 0, own_head: bool = True) -> Path:
    """A tiny InstructBLIP with a T5: as Flan (a head of its own, nothing scaled) or as T5 1.0 (shared, scaled)."""
    words = ["▁yes", "▁no"]  # one piece each, as in the real one
    tokenizer = sentencepiece_model("unigram", unk_id=2, bos_id=-1, eos_id=1, pad_id=0, user_defined_symbols=words)
    new_config: Any = T5Config  # its generated signature forgets what it takes for generation
    text = new_config(
        vocab_size=400, d_model=LLM_WIDTH, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0, tie_word_embeddings=not own_head,
    )  # fmt: skip
    _save(folder, text, seed)
    (folder / "spiece.model").write_bytes(tokenizer)
    if own_head:  # transformers ties the two when it builds a model, so the file is where they part
        path = folder / "model.safetensors"
        tensors = load_file(path)
        tensors["language_model.lm_head.weight"] = torch.randn(400, LLM_WIDTH)
        save_file(tensors, path, metadata={"format": "pt"})
    return folder


def language_model_folder(folder: Path, *, width: int = LLM_WIDTH, seed: int = 5) -> Path:
    """A tiny LLaMA by itself."""
    torch.manual_seed(seed)
    LlamaForCausalLM(llama_config(width)).save_pretrained(folder)
    return folder


def llama_config(width: int = LLM_WIDTH) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=420, hidden_size=width, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=48, max_position_embeddings=128, initializer_range=0.2, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip


def sentencepiece_model(kind: str, **options: Any) -> bytes:
    """A small sentencepiece model of the kind that LLaMA (bpe) or T5 (unigram) has."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXTS), model_writer=model, model_type=kind, vocab_size=310 if kind == "bpe" else 40,
        hard_vocab_limit=False, character_coverage=1.0, minloglevel=2, num_threads=1, **options,
    )  # fmt: skip
    return model.getvalue()


def qformer_tokenizer() -> Tokenizer:
    """BERT uncased in small, as its tokenizer.json would hold it."""
    vocabulary = {word: index for index, word in enumerate(QFORMER_VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _save(folder: Path, text: PretrainedConfig, seed: int) -> None:
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(
            hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE_SIZE,
            patch_size=14, initializer_range=0.2,
        ),
        qformer_config=InstructBlipQFormerConfig(
            vocab_size=20, hidden_size=QFORMER_WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=32, initializer_range=0.2,
        ),
        text_config=text, num_query_tokens=QUERIES, image_token_index=text.vocab_size - 1, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = InstructBlipForConditionalGeneration(config)
    with torch.no_grad():
        model.query_tokens.normal_()
        model.language_projection.weight.normal_(std=0.3)
    model.save_pretrained(folder)
    if text.model_type == "t5":  # as the Hub has it; what transformers writes would forget it
        path = folder / "config.json"
        saved = json.loads(path.read_text())
        saved["text_config"].pop("scale_decoder_outputs", None)
        saved["text_config"]["tie_word_embeddings"] = text.scale_decoder_outputs
        path.write_text(json.dumps(saved))
    (folder / "qformer_tokenizer").mkdir()
    qformer_tokenizer().save(str(folder / "qformer_tokenizer" / "tokenizer.json"))
