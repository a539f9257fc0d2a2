"""The soft prompt: the tuned pseudo-word with all that is needed to use it, as one small safetensors blob.

Its bytes are a function of its content, so its sha256 is its identity. Nothing here is ever unpickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import torch

from moderation.detector import artefact
from moderation.detector.artefact import SIDES, invalid
from moderation.detector.calibration import Calibration
from moderation.detector.crops import Crops
from moderation.detector.expert import ExpertWeights
from moderation.detector.preprocess import STATISTICS_150K, Normalisation
from moderation.detector.question import MARKER, QUESTIONS, Question
from moderation.errors import PromptMismatch

if TYPE_CHECKING:
    from moderation.detector.backbone import Backbone
    from moderation.detector.measures import Measured

Position = Literal["prefix", "postfix", "replace", "plain"]
_UNCALIBRATED = Calibration()


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
    """A pseudo-word for one backbone. `revision` None: tuned on it in whatever revision.

    qformer, llm: float32 [K, H] in the word-embedding space of the Q-Former and of the language model; [M, K, H] for an
    ensemble of M words, whose margins are averaged. `crops` and `expert` look at native pixels; None: off.
    """

    backbone: str
    qformer: torch.Tensor | None
    llm: torch.Tensor | None
    revision: str | None = None
    position: Position = "postfix"
    question: str = QUESTIONS["postfix"]
    normalisation: Normalisation = STATISTICS_150K
    calibration: Calibration = _UNCALIBRATED
    metadata: Mapping[str, Any] = field(default_factory=dict)  # free, must survive JSON
    crops: Crops | None = None
    expert: ExpertWeights | None = None

    def __post_init__(self) -> None:
        if self.position not in get_args(Position):
            raise invalid(f"position {self.position!r} is unknown: use {', '.join(get_args(Position))}")
        for side in SIDES:
            _check_vectors(side, getattr(self, side))
        _check_alike(self.qformer, self.llm)
        tuned = self.qformer is not None or self.llm is not None
        if tuned == (self.position == "plain"):
            raise invalid("position plain has no vectors, and every other position has some")
        if self.question.count(MARKER) != int(tuned):
            raise invalid(f"the question must hold {MARKER} {'once' if tuned else 'nowhere'}: {self.question!r}")

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

    @property
    def members(self) -> int:
        """How many words are asked with: 1, or the size of the ensemble."""
        tuned = self.llm if self.qformer is None else self.qformer
        return len(tuned) if tuned is not None and tuned.ndim == 3 else 1

    @property
    def native_crops(self) -> int:
        """How many native crops of each picture this prompt may look at; 0: none."""
        return max(self.crops.count if self.crops else 0, self.expert.crops if self.expert else 0)

    @property
    def looks(self) -> str:
        """What it sees of a picture, in a few words, for a verdict: `whole + 4 crops mean in 0.2..0.8`."""
        seen = f"whole + {self.crops.described}" if self.crops else "whole"
        return f"{seen}, {self.expert.described}" if self.expert else seen

    def vectors(self, backbone: Backbone) -> PromptVectors:
        """What to score with on `backbone`, on its device. Raises PromptMismatch, and ValueError for an ensemble."""
        (only,) = self.member_vectors(backbone)
        return only

    def member_vectors(self, backbone: Backbone) -> list[PromptVectors]:
        """The same for each member of an ensemble; a single word has one. Raises PromptMismatch."""
        self.check_fits(backbone)
        question = backbone.words.question(
            self.question, mark_qformer=self.qformer is not None, mark_llm=self.llm is not None
        )
        sides = [_per_member(side, self.members, backbone.device) for side in (self.qformer, self.llm)]
        return [PromptVectors(question, qformer, llm) for qformer, llm in zip(*sides, strict=True)]

    def check_fits(self, backbone: Measured) -> None:
        """Raises PromptMismatch unless tuned on `backbone`: a recorded revision decides, else the name."""
        for side, width in zip(SIDES, (backbone.qformer_width, backbone.llm_width), strict=True):
            found = getattr(self, side)
            if found is not None and found.shape[-1] != width:
                raise PromptMismatch(
                    f"its {side} vectors hold {found.shape[-1]} numbers, tuned on {self.backbone}; "
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
        return artefact.write(self)

    @cached_property
    def sha256(self) -> str:
        """The identity of this prompt: the sha256 of `to_bytes()`, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, *, sha256: str | None = None) -> Self:
        """The prompt in `data`. Raises ConfigurationError that names what is wrong with it."""
        found = hashlib.sha256(data).hexdigest()
        if sha256 is not None and found != sha256:
            raise invalid(f"its sha256 is {found}, expected {sha256}")
        return cls(**artefact.read(data))

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
            raise invalid(f"can't read {path}: {error.strerror}") from None
        return cls.from_bytes(data, sha256=sha256)


def _per_member(vectors: torch.Tensor | None, members: int, device: torch.device) -> list[torch.Tensor | None]:
    if vectors is None:
        return [None] * members
    return list(vectors.to(device).reshape(members, *vectors.shape[-2:]))


def _check_vectors(side: str, vectors: torch.Tensor | None) -> None:
    if vectors is None:
        return
    if vectors.dtype != torch.float32 or vectors.ndim not in (2, 3) or 0 in vectors.shape:
        raise invalid(f"{side} must be float32 [K, H], or [M, K, H] for several, not {_shape(vectors)}")
    if not bool(torch.isfinite(vectors).all()):
        raise invalid(f"{side} holds numbers that are not finite")


def _check_alike(qformer: torch.Tensor | None, llm: torch.Tensor | None) -> None:
    if qformer is not None and llm is not None and qformer.shape[:-2] != llm.shape[:-2]:
        raise invalid(f"both sides must hold as many members: {_shape(qformer)} and {_shape(llm)}")


def _shape(vectors: torch.Tensor) -> str:
    return f"{vectors.dtype} {list(vectors.shape)}"
