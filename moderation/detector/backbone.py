"""The frozen backbone: an InstructBLIP of transformers with everything that must match it, loaded in one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, InstructBlipForConditionalGeneration
from transformers.utils import logging as transformers_logging

from moderation.detector.device import choose_device, choose_dtype
from moderation.detector.hub import find_files
from moderation.detector.question import Words
from moderation.detector.tokenizer import load_words
from moderation.errors import ConfigurationError

LN_VISION_EPS = 1e-5
"""The original's `ln_vision` is a plain torch LayerNorm; transformers gives it the ViT's 1e-6 and no config field."""
VICUNA_ROWS = 32001
"""The vocabulary the original trains over: LLaMA's 32,000 pieces and [PAD]. The Hub pads it to 32,064 rows."""
_LANGUAGE_MODELS = ("llama", "t5")


@dataclass(frozen=True, eq=False)
class Backbone:
    """A loaded, frozen InstructBLIP with its tokenizers. `name` and `revision` say exactly which."""

    model: Any  # InstructBlipForConditionalGeneration; its submodules carry no types
    words: Words
    name: str
    revision: str
    device: torch.device
    dtype: torch.dtype
    image_size: int  # pixels a side
    queries: int  # how many query tokens the Q-Former hands to the language model
    qformer_width: int
    llm_width: int
    vocabulary: int  # rows of the LM head that a softmax may see
    encoder_decoder: bool
    decoder_start: int  # the decoder's first id; unused without a decoder
    scaled_output: bool  # whether the decoder's states are scaled by width**-0.5 before the LM head


def load_backbone(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    language_model: str | None = None,
    words: Words | None = None,
) -> Backbone:
    """Loads `miniature`, a local folder or a Hub id (the only case that downloads), frozen and in evaluation mode.

    revision: of a Hub id; None is the newest. language_model: a folder or Hub id put in the place of the backbone's
    own; the name and the revision then read `backbone+language model`. words: instead of the folder's tokenizers.
    Raises ConfigurationError.
    """
    place = choose_device(device)
    precision = choose_dtype(dtype, place)
    files = find_files(name, revision=revision or None, setting="MODERATION_BACKBONE")
    model = _load_model(files.folder, precision)
    version = files.revision
    if language_model:
        name, version = f"{name}+{language_model}", f"{version}+{_swap(model, language_model, precision)}"
    words = words or load_words(files.folder, model.config.text_config)
    model.vision_model.post_layernorm.eps = LN_VISION_EPS
    model.requires_grad_(requires_grad=False).eval()
    try:
        model.to(place)
    except torch.OutOfMemoryError:
        raise ConfigurationError("MODERATION_DEVICE", f"{name} does not fit into the memory of {place}") from None
    return _describe(model, words, name, version, device=place, dtype=precision)


def _describe(
    model: Any, words: Words, name: str, revision: str, *, device: torch.device, dtype: torch.dtype
) -> Backbone:
    config = model.config
    rows = int(model.language_model.lm_head.weight.shape[0])
    seq2seq = bool(config.text_config.is_encoder_decoder)
    if max(words.yes, words.no) >= rows:
        raise _unfit(f"{name}: its tokenizer knows ids that its language model of {rows} rows does not")
    return Backbone(
        model=model,
        words=words,
        name=name,
        revision=revision,
        device=device,
        dtype=dtype,
        image_size=int(config.vision_config.image_size),
        queries=int(config.num_query_tokens),
        qformer_width=int(config.qformer_config.hidden_size),
        llm_width=int(config.text_config.hidden_size),
        vocabulary=rows if seq2seq else min(rows, VICUNA_ROWS),
        encoder_decoder=seq2seq,
        decoder_start=int(config.text_config.decoder_start_token_id or 0) if seq2seq else 0,
        scaled_output=seq2seq and _scales_output(config.text_config),
    )


def _scales_output(text_config: Any) -> bool:
    """T5 1.0 shares its LM head with the input embeddings and scales for that; 1.1 and Flan have their own head."""
    return bool(getattr(text_config, "scale_decoder_outputs", text_config.tie_word_embeddings))


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
    loader: Any = InstructBlipForConditionalGeneration  # its stub forgets `output_loading_info`
    try:
        with _no_bars():
            model, report = loader.from_pretrained(folder, dtype=dtype, local_files_only=True, output_loading_info=True)
    except Exception as error:  # noqa: BLE001 - transformers raises anything on files that are not what they say
        raise _unfit(f"{folder} does not load as an InstructBLIP: {error}") from None
    if missing := sorted(report["missing_keys"]):
        raise _unfit(f"{folder} lacks weights: {', '.join(missing[:3])} and {max(0, len(missing) - 3)} more")
    kind = model.config.text_config.model_type
    if kind not in _LANGUAGE_MODELS:
        raise _unfit(f"its language model is {kind}; supported are {', '.join(_LANGUAGE_MODELS)}")
    return model


@contextmanager
def _no_bars() -> Iterator[None]:
    """No progress bars of transformers: a bar belongs to a command, not to a library."""
    bars: Any = transformers_logging  # its functions carry no types
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _swap(model: Any, name: str, dtype: torch.dtype) -> str:
    """Puts language model `name` in its place in `model`; returns its revision. Raises ConfigurationError."""
    setting = "MODERATION_LANGUAGE_MODEL"
    files = find_files(name, revision=None, setting=setting)
    own = model.config.text_config
    loader = AutoModelForSeq2SeqLM if own.is_encoder_decoder else AutoModelForCausalLM
    try:
        with _no_bars():
            other = loader.from_pretrained(files.folder, dtype=dtype, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - as above
        raise ConfigurationError(setting, f"{name} does not load: {error}") from None
    found = other.config
    if found.model_type != own.model_type or found.hidden_size != own.hidden_size:
        raise ConfigurationError(
            setting,
            f"{name} is a {found.model_type} of width {found.hidden_size}; "
            f"the backbone takes a {own.model_type} of width {own.hidden_size}",
        )
    model.language_model = other
    model.config.text_config = found
    return files.revision


def _unfit(problem: str) -> ConfigurationError:
    return ConfigurationError("MODERATION_BACKBONE", problem)
