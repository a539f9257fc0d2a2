"""The soft prompt: the tuned pseudo-word with all that is needed to use it, as one small safetensors blob.

Its bytes are a function of its content, so its sha256 is its identity. Nothing here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from moderation.detector.calibration import Calibration
from moderation.detector.preprocess import STATISTICS_150K, Normalisation
from moderation.detector.question import MARKER, QUESTIONS, Question
from moderation.domain.prompt import HEADER_KEY, read_header
from moderation.errors import ConfigurationError, PromptMismatch

if TYPE_CHECKING:
    from moderation.detector.backbone import Backbone

Position = Literal["prefix", "postfix", "replace", "plain"]
FORMAT = 1
_UNCALIBRATED = Calibration()
_SIDES = ("qformer", "llm")


@dataclass(frozen=True, eq=False)
class PromptVectors:
    """What the scoring functions ask with: a question's ids and the vectors that stand at its marker.

    qformer: [K, Hq] or None; llm: [K, Hl] or None; K >= 1. They may require gradients.
    """

    question: Question
    qformer: torch.Tensor | None
    llm: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class SoftPrompt:
    """A pseudo-word for one backbone. `revision` None: tuned on it in whatever revision."""

    backbone: str
    qformer: torch.Tensor | None  # float32 [K, Hq], in the Q-Former's word-embedding space
    llm: torch.Tensor | None  # float32 [K, Hl], in the language model's
    revision: str | None = None
    position: Position = "postfix"
    question: str = QUESTIONS["postfix"]
    normalisation: Normalisation = STATISTICS_150K
    calibration: Calibration = _UNCALIBRATED
    metadata: Mapping[str, Any] = field(default_factory=dict)  # free, must survive JSON

    def __post_init__(self) -> None:
        if self.position not in get_args(Position):
            raise _invalid(f"position {self.position!r} is unknown: use {', '.join(get_args(Position))}")
        for side in _SIDES:
            _check_vectors(side, getattr(self, side))
        tuned = self.qformer is not None or self.llm is not None
        if tuned == (self.position == "plain"):
            raise _invalid("position plain has no vectors, and every other position has some")
        if self.question.count(MARKER) != int(tuned):
            raise _invalid(f"the question must hold {MARKER} {'once' if tuned else 'nowhere'}: {self.question!r}")

    @classmethod
    def plain(
        cls,
        backbone: str,
        *,
        revision: str | None = None,
        question: str = QUESTIONS["plain"],
        normalisation: Normalisation = STATISTICS_150K,
        calibration: Calibration = _UNCALIBRATED,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """The zero-shot question, without a pseudo-word."""
        return cls(backbone, None, None, revision, "plain", question, normalisation, calibration, dict(metadata or {}))

    def vectors(self, backbone: Backbone) -> PromptVectors:
        """What to score with on `backbone`, the vectors on its device. Raises PromptMismatch."""
        self.check_fits(backbone)
        question = backbone.words.question(
            self.question, mark_qformer=self.qformer is not None, mark_llm=self.llm is not None
        )
        qformer, llm = (None if side is None else side.to(backbone.device) for side in (self.qformer, self.llm))
        return PromptVectors(question, qformer, llm)

    def check_fits(self, backbone: Backbone) -> None:
        """Raises PromptMismatch unless tuned on `backbone`: a recorded revision decides, else the name."""
        for side, width in zip(_SIDES, (backbone.qformer_width, backbone.llm_width), strict=True):
            found = getattr(self, side)
            if found is not None and found.shape[1] != width:
                raise PromptMismatch(
                    f"its {side} vectors hold {found.shape[1]} numbers, tuned on {self.backbone}; "
                    f"the backbone {backbone.name} takes {width}"
                )
        if self.revision is not None and self.revision != backbone.revision:
            raise PromptMismatch(
                f"tuned on {self.backbone} at revision {self.revision}; "
                f"the backbone loaded is {backbone.name} at revision {backbone.revision}"
            )
        if self.revision is None and self.backbone != backbone.name:
            raise PromptMismatch(f"tuned on {self.backbone}; the backbone loaded is {backbone.name}")

    def to_bytes(self) -> bytes:
        """The safetensors file's content: the same bytes for the same prompt."""
        tensors = {side: getattr(self, side).contiguous() for side in _SIDES if getattr(self, side) is not None}
        header = {
            "format": FORMAT,
            "backbone": self.backbone,
            "revision": self.revision,
            "position": self.position,
            "question": self.question,
            "mean": list(self.normalisation.mean),
            "std": list(self.normalisation.std),
            "scale": self.calibration.scale,
            "bias": self.calibration.bias,
            "metadata": dict(self.metadata),
        }
        try:
            text = json.dumps(header, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise _invalid(f"its metadata must be plain JSON: {error}") from None
        return save(tensors, metadata={HEADER_KEY: text})

    @cached_property
    def sha256(self) -> str:
        """The identity of this prompt: the sha256 of `to_bytes()`, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, *, sha256: str | None = None) -> Self:
        """The prompt in `data`. Raises ConfigurationError that names what is wrong with it."""
        found = hashlib.sha256(data).hexdigest()
        if sha256 is not None and found != sha256:
            raise _invalid(f"its sha256 is {found}, expected {sha256}")
        header = _header(data)
        try:
            tensors = load(data)
        except (SafetensorError, ValueError) as error:
            raise _invalid(f"not a safetensors file: {error}") from None
        if unknown := sorted(set(tensors) - set(_SIDES)):
            raise _invalid(f"unknown tensors {', '.join(unknown)}")
        try:
            if header["format"] != FORMAT:
                raise _invalid(f"format {header['format']!r}; this version reads {FORMAT}")
            return cls(
                backbone=_text(header, "backbone"),
                qformer=tensors.get("qformer"),
                llm=tensors.get("llm"),
                revision=None if header["revision"] is None else _text(header, "revision"),
                position=header["position"],
                question=_text(header, "question"),
                normalisation=Normalisation(_triple(header, "mean"), _triple(header, "std")),
                calibration=Calibration(float(header["scale"]), float(header["bias"])),
                metadata=dict(header["metadata"]),
            )
        except KeyError as error:
            raise _invalid(f"its header lacks {error.args[0]!r}") from None
        except (TypeError, ValueError) as error:
            raise _invalid(str(error)) from None

    def save(self, path: Path) -> str:
        """Writes the file and returns its sha256."""
        path.write_bytes(self.to_bytes())
        return self.sha256

    @classmethod
    def load(cls, path: Path, *, sha256: str | None = None) -> Self:
        """The prompt in file `path`. Raises ConfigurationError."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _invalid(f"can't read {path}: {error.strerror}") from None
        return cls.from_bytes(data, sha256=sha256)


def _invalid(problem: str) -> ConfigurationError:
    return ConfigurationError("prompt", problem)


def _check_vectors(side: str, vectors: torch.Tensor | None) -> None:
    if vectors is None:
        return
    if vectors.dtype != torch.float32 or vectors.ndim != 2 or 0 in vectors.shape:
        raise _invalid(f"{side} must be float32 [K, H], not {vectors.dtype} {list(vectors.shape)}")
    if not bool(torch.isfinite(vectors).all()):
        raise _invalid(f"{side} holds numbers that are not finite")


def _header(data: bytes) -> dict[str, Any]:
    try:
        return read_header(data)
    except ValueError as error:
        raise _invalid(str(error)) from None


def _text(header: Mapping[str, Any], key: str) -> str:
    if not isinstance(header[key], str):
        raise _invalid(f"{key} must be text, not {header[key]!r}")
    return str(header[key])


def _triple(header: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in header[key])
    return red, green, blue
