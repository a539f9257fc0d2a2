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
from moderation.detector.checkpoint_config import (
    RELEASED_ON,
    held_by,
    language_model_of,
    matches,
    normalisation_of,
    position_of,
    question_of,
    refused,
)
from moderation.detector.preprocess import Normalisation
from moderation.detector.prompt import Position, SoftPrompt
from moderation.detector.question import MARKER

QFORMER_KEY = "Qformer.bert.embeddings.train_word_embeddings.weight"
LLM_KEY = "llm_model.model.train_embed_tokens.weight"
_BUFFERS = ("position_ids", "inv_freq")  # rebuilt by every model; saved because they are no frozen parameters
_NOT_WEIGHTS = ("config", "optimizer", "scaler", "epoch")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


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
            metadata={
                "source": "AntifakePrompt checkpoint",
                "epoch": self.epoch,
                "language_model": self.trained_on,
                "notes": list(self.notes),
            },
        )

    @property
    def trained_on(self) -> str:
        """The name of its language model; where the file names none, that of the released checkpoints."""
        return Path(self.language_model).name or RELEASED_ON

    def compared(self, backbone: str) -> str:
        """In a line: the language model it was tuned on, and whether the backbone of this name holds it."""
        said = "" if self.language_model else " (not said in the file; the released ones were)"
        verdict = {True: "matches", False: "differs", None: "can't be told from its name"}[
            matches(self.trained_on, backbone)
        ]
        held = held_by(backbone)
        holds = f"{backbone} holds {held}" if held else f"that of {backbone}"
        return f"language model: tuned on {self.trained_on}{said}; {holds}: {verdict}"

    def warnings(self, backbone: Backbone | str) -> list[str]:
        """What makes scores on `backbone`, or on the one of this name, differ from the original's; with the way out."""
        name = backbone if isinstance(backbone, str) else backbone.name
        if matches(self.trained_on, name):
            return []
        where = f"lmsys/{self.trained_on}" if self.trained_on.startswith("vicuna-") else "(its folder or Hub id)"
        return [
            f"trained with the language model {self.trained_on}; {name} may hold another one "
            f"(Salesforce/instructblip-vicuna-7b holds Vicuna v1.1): set MODERATION_LANGUAGE_MODEL={where}"
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
            raise refused(path, "it has no `model` entry; an original checkpoint is {model, optimizer, config, ...}")
        raise refused(path, f"it holds neither {QFORMER_KEY} nor {LLM_KEY}: no pseudo-word was trained in it")
    config = content.get("config")
    text, on_question = question_of(path, config, question)
    statistics, on_statistics = normalisation_of(path, config, normalisation)
    ignored = tuple(sorted(name for name, _ in _entries(content, 3) if not _is_known(name)))
    epoch = content.get("epoch")
    return OriginalCheckpoint(
        qformer=qformer,
        llm=llm,
        question=text,
        position=position_of(path, text),
        normalisation=statistics,
        language_model=language_model_of(config),
        epoch=epoch if isinstance(epoch, int) else None,
        ignored=ignored,
        notes=(*_sides(qformer, llm), *on_question, *on_statistics, *_left_aside(content, ignored)),
    )


def _load(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:  # a file, since for a name torch goes by its end
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise refused(path, "no such file") from None
    except pickle.UnpicklingError as error:
        kind = _GLOBAL.search(str(error))
        held = f" ({kind.group(1)})" if kind else ""
        raise refused(path, f"it holds more than tensors and plain values{held}; nothing of it was run") from None
    except Exception as error:  # noqa: BLE001 - torch raises nearly anything on a file cut short
        raise refused(path, f"not a whole torch file ({type(error).__name__})") from None
    if not isinstance(content, Mapping):
        raise refused(path, f"it holds a {type(content).__name__}, not a checkpoint")
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


def _is_known(name: str) -> bool:
    return name in _NOT_WEIGHTS or name.endswith((QFORMER_KEY, LLM_KEY))


def _vectors(path: Path, key: str, found: list[Any]) -> torch.Tensor | None:
    if not found:
        return None
    if len(found) > 1:
        raise refused(path, f"it holds {key} {len(found)} times")
    value = found[0]
    if not isinstance(value, torch.Tensor) or value.ndim != 2 or 0 in value.shape or not value.is_floating_point():
        shape = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise refused(path, f"{key} must be a float tensor [K, H], not {shape}")
    vectors = value.detach().float().clone()
    if not bool(torch.isfinite(vectors).all()):
        raise refused(path, f"{key} holds numbers that are not finite")
    return vectors


def _sides(qformer: torch.Tensor | None, llm: torch.Tensor | None) -> Iterator[str]:
    for name, side in (("Q-Former", qformer), ("language model", llm)):
        if side is not None:
            yield f"{name}: {list(side.shape)} numbers"
        else:
            yield f"{name}: not trained; it reads {MARKER} as plain characters, as the original's one-sided class does"


def _left_aside(content: Mapping[str, Any], ignored: tuple[str, ...]) -> Iterator[str]:
    buffers = [name for name in ignored if name.endswith(_BUFFERS)]
    others = [name for name in ignored if not name.endswith(_BUFFERS)]
    if buffers:
        yield f"left aside: {len(buffers)} buffers that every model rebuilds"
    if states := [name for name in ("optimizer", "scaler") if content.get(name)]:
        yield f"left aside: {', '.join(states)}, of use only to go on tuning"
    if others:
        yield f"left aside, not known: {', '.join(others)}"
