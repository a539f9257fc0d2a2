"""Reads the checkpoints that the original code writes (nctu-eva-lab/AntifakePrompt, `torch.save` of a dict).

Safe: `weights_only`, so no code in a pickle is run. Loud: it says what was found and what was left aside, and refuses
what the original would load in silence with a random vector in the place of a missing one.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moderation.detector.backbone import Backbone
from moderation.detector.preprocess import Normalisation
from moderation.detector.prompt import Position, SoftPrompt
from moderation.detector.question import MARKER, QUESTIONS
from moderation.errors import ConfigurationError

QFORMER_KEY = "Qformer.bert.embeddings.train_word_embeddings.weight"
LLM_KEY = "llm_model.model.train_embed_tokens.weight"
_BUFFERS = ("position_ids", "inv_freq")  # rebuilt by every model; saved because they are no frozen parameters
_NOT_WEIGHTS = ("config", "optimizer", "scaler")
_EVAL = ("datasets", "textinv", "vis_processor", "eval")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_ORIGINAL_LLM = "vicuna-7b-v1.3"


@dataclass(frozen=True, eq=False)
class OriginalCheckpoint:
    """What an original checkpoint holds. A side that was not trained is None."""

    qformer: torch.Tensor | None  # float32 [K, Hq]
    llm: torch.Tensor | None  # float32 [K, Hl]
    question: str
    position: Position
    normalisation: Normalisation
    language_model: str  # where the language model it was trained on lay; '' when not said
    epoch: int | None
    ignored: tuple[str, ...]  # keys left aside
    notes: tuple[str, ...]  # for the person who imports it

    def to_prompt(self, backbone: str, *, revision: str | None = None) -> SoftPrompt:
        """The pseudo-word as a prompt for `backbone`; uncalibrated, since the original gives no scores."""
        return SoftPrompt(
            backbone=backbone,
            qformer=self.qformer,
            llm=self.llm,
            revision=revision,
            position=self.position,
            question=self.question,
            normalisation=self.normalisation,
            metadata={"source": "AntifakePrompt checkpoint", "epoch": self.epoch, "notes": list(self.notes)},
        )

    def warnings(self, backbone: Backbone) -> list[str]:
        """What makes scores on `backbone` differ from the original's, each with the way out."""
        trained_on = Path(self.language_model).name or _ORIGINAL_LLM
        if trained_on.lower() in backbone.name.lower():
            return []
        return [
            f"trained with the language model {trained_on}; {backbone.name} may hold another one "
            f"(Salesforce/instructblip-vicuna-7b holds Vicuna v1.1): "
            f"set MODERATION_LANGUAGE_MODEL=lmsys/{_ORIGINAL_LLM}"
        ]


def read_original(
    path: Path, *, question: str | None = None, normalisation: Normalisation | None = None
) -> OriginalCheckpoint:
    """Reads the checkpoint at `path`. Raises ConfigurationError naming the file and what is wrong with it.

    question, normalisation: for a file whose config was stripped; where the file says something, the file counts.
    """
    content = _load(path)
    found = _trained(content)
    qformer, llm = (_vectors(path, key, found[key]) for key in (QFORMER_KEY, LLM_KEY))
    if qformer is None and llm is None:
        if "model" not in content:
            raise _refused(path, "it has no `model` entry; an original checkpoint is {model, optimizer, config, ...}")
        raise _refused(path, f"it holds neither {QFORMER_KEY} nor {LLM_KEY}: no pseudo-word was trained in it")
    config = content.get("config")
    text = _question(path, config, question)
    ignored = tuple(sorted(key for key in _names(content.get("model")) if not key.endswith((QFORMER_KEY, LLM_KEY))))
    epoch = content.get("epoch")
    return OriginalCheckpoint(
        qformer=qformer,
        llm=llm,
        question=text,
        position=_position(path, text),
        normalisation=_normalisation(path, config, normalisation),
        language_model=str(_dig(config, "model", "llm_model") or ""),
        epoch=epoch if isinstance(epoch, int) else None,
        ignored=ignored,
        notes=tuple(_notes(qformer, llm, ignored)),
    )


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise _refused(path, "no such file") from None
    except pickle.UnpicklingError as error:
        kind = _GLOBAL.search(str(error))
        held = f" ({kind.group(1)})" if kind else ""
        raise _refused(path, f"it holds more than tensors and plain values{held}; nothing of it was run") from None
    except Exception as error:  # noqa: BLE001 - torch raises nearly anything on a file cut short
        raise _refused(path, f"not a whole torch file ({type(error).__name__})") from None
    if not isinstance(content, Mapping):
        raise _refused(path, f"it holds a {type(content).__name__}, not a checkpoint")
    return content


def _trained(content: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The entries for the two trained tensors, in whatever nesting and below whatever prefix (`module.`)."""
    hits: dict[str, list[Any]] = {QFORMER_KEY: [], LLM_KEY: []}
    for name, value in _entries(content, 3):
        for key, found in hits.items():
            if name == key or name.endswith("." + key):
                found.append(value)
    return hits


def _entries(tree: Any, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and depth and name not in _NOT_WEIGHTS:
            yield from _entries(value, depth - 1)
        else:
            yield str(name), value


def _names(model: Any) -> Iterator[str]:
    if isinstance(model, Mapping):
        yield from (name for name, _ in _entries(model, 2))


def _vectors(path: Path, key: str, found: list[Any]) -> torch.Tensor | None:
    if not found:
        return None
    if len(found) > 1:
        raise _refused(path, f"it holds {key} {len(found)} times")
    value = found[0]
    if not isinstance(value, torch.Tensor) or value.ndim != 2 or 0 in value.shape or not value.is_floating_point():
        raise _refused(path, f"{key} must be a float tensor [K, H]")
    vectors = value.detach().float().clone()
    if not bool(torch.isfinite(vectors).all()):
        raise _refused(path, f"{key} holds numbers that are not finite")
    return vectors


def _question(path: Path, config: Any, fallback: str | None) -> str:
    text = _dig(config, "model", "prompt") or fallback
    if not isinstance(text, str) or text.count(MARKER) != 1:
        raise _refused(path, f"its config names no question with one {MARKER} at model.prompt: {text!r}")
    return text


def _position(path: Path, question: str) -> Position:
    left, right = (part.strip() for part in question.split(MARKER))
    if not left:
        return "prefix"
    if question == QUESTIONS["replace"]:
        return "replace"
    if right.strip("?.! "):
        raise _refused(path, f"the pseudo-word stands in the middle of {question!r}")
    return "postfix"


def _normalisation(path: Path, config: Any, fallback: Normalisation | None) -> Normalisation:
    """The statistics that trained it. `preprocess` in the same config holds defaults that may differ."""
    mean, std = (_dig(config, *_EVAL, name) for name in ("mean", "std"))
    if mean is None and std is None and fallback is not None:
        return fallback
    try:
        (red, green, blue), (red_std, green_std, blue_std) = (tuple(map(float, part)) for part in (mean, std))
        return Normalisation((red, green, blue), (red_std, green_std, blue_std))
    except (TypeError, ValueError) as error:
        raise _refused(path, f"its config has no usable {'.'.join(_EVAL)}.mean and .std ({error})") from None


def _notes(qformer: torch.Tensor | None, llm: torch.Tensor | None, ignored: tuple[str, ...]) -> list[str]:
    sides = (("Q-Former", qformer), ("language model", llm))
    notes = [f"{name}: {list(side.shape)} numbers" for name, side in sides if side is not None]
    notes += [
        f"{name}: not trained; it reads {MARKER} as plain characters, as the original's one-sided class does"
        for name, side in sides
        if side is None
    ]
    buffers = [key for key in ignored if key.endswith(_BUFFERS)]
    others = [key for key in ignored if not key.endswith(_BUFFERS)]
    if buffers:
        notes.append(f"left aside: {len(buffers)} buffers that every model rebuilds")
    if others:
        notes.append(f"left aside, not known: {', '.join(others)}")
    return notes


def _dig(tree: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def _refused(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(str(path), problem)
