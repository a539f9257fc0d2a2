"""Writes a prompt in the format of the original code, so that the original can score with it too.

That format holds one word of one token, its question and its normalisation. What it has no place for is named; what
the original would misread is refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import torch

from moderation.detector.calibration import Calibration
from moderation.detector.checkpoint import LLM_KEY, QFORMER_KEY
from moderation.detector.checkpoint_config import held_by
from moderation.detector.prompt import SoftPrompt
from moderation.detector.question import MARKER
from moderation.errors import ConfigurationError


def write_original(prompt: SoftPrompt) -> bytes:
    """{model, optimizer, config, scaler, epoch} as `torch.save` writes it, with the vectors to the bit.

    Raises ConfigurationError for the plain question, for an ensemble and for a word of several tokens: the original's
    classes have room for one vector a side.
    """
    _check(prompt)
    sides = ((QFORMER_KEY, prompt.qformer), (LLM_KEY, prompt.llm))
    epoch = prompt.metadata.get("epoch")
    content = {
        "model": {key: side.contiguous().clone() for key, side in sides if side is not None},
        "optimizer": {},
        "config": _config(prompt),
        "scaler": None,
        "epoch": epoch if isinstance(epoch, int) else 0,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def lost_in_original(prompt: SoftPrompt) -> list[str]:
    """What of the prompt the original's format has no place for."""
    return list(_lost(prompt))


def _lost(prompt: SoftPrompt) -> Iterator[str]:
    if prompt.calibration != Calibration():
        yield f"the calibration ({prompt.calibration.described}): the original gives no probability"
    if prompt.crops is not None:
        yield f"the {prompt.crops.count} native crops: the original sees the whole picture only"
    if prompt.expert is not None:
        yield "the pixel expert, so that margins will differ"
    if prompt.metadata:
        yield "the metadata"


def _check(prompt: SoftPrompt) -> None:
    problem = ""
    if prompt.position == "plain":
        problem = "it is the plain question, with no pseudo-word to write"
    elif prompt.members > 1:
        problem = f"it is an ensemble of {prompt.members} words"
    elif several := [len(side) for side in (prompt.qformer, prompt.llm) if side is not None and side.shape[-2] > 1]:
        problem = f"its word has {max(several)} tokens"
    elif any(side is not None and side.ndim != 2 for side in (prompt.qformer, prompt.llm)):
        problem = "it is an ensemble"
    if problem:
        raise ConfigurationError(
            "--format original",
            f"{problem}, and the original's classes hold one vector a side",
            hint="export it as ours: --format safetensors",
        )


def _config(prompt: SoftPrompt) -> dict[str, Any]:
    """What the original's config says of these, in the places it says it."""
    language_model = prompt.metadata.get("language_model") or held_by(prompt.backbone) or prompt.backbone
    statistics = {"mean": list(prompt.normalisation.mean), "std": list(prompt.normalisation.std)}
    pictures = {
        "train": {"name": "blip2_image_train_textinv", **statistics},
        "eval": {"name": "blip_image_eval_textinv", **statistics},
    }
    words = {"name": "blip_question_textinv", "prompt": prompt.question, "pseudo_word": MARKER}
    processors = {"vis_processor": pictures, "text_processor": {"train": words, "eval": dict(words)}}
    return {
        "run": {"task": "textual_inversion"},
        "model": {
            "arch": "blip2_vicuna_instruct_textinv",
            "model_type": "vicuna7b",
            "llm_model": str(language_model),
            "prompt": prompt.question,
            "pseudo_word": MARKER,
        },
        "preprocess": processors,
        "datasets": {"textinv": {"data_type": "images", **processors}},
    }
