"""The detector: a frozen backbone and one prompt. Pictures in, scores out; a failure is the value of its image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from moderation.detector.backbone import Backbone
from moderation.detector.preprocess import normalise, stack
from moderation.detector.prompt import SoftPrompt
from moderation.detector.scoring import answer_logits, margins
from moderation.errors import ImageRejected, RejectReason


@dataclass(frozen=True)
class Score:
    """margin: logit(no) - logit(yes). probability: P(fake) after the prompt's calibration, 0 to 1."""

    margin: float
    probability: float


class Views(Protocol):
    """What there is to see of one picture, uint8 RGB: `whole` [S, S, 3], and `native` [K, S, S, 3] or None."""

    @property
    def whole(self) -> Any: ...
    @property
    def native(self) -> Any | None: ...


class Detector:
    """Scores pictures. Not locked: one call at a time per device."""

    def __init__(self, backbone: Backbone, prompt: SoftPrompt) -> None:
        """Raises PromptMismatch when the prompt was not tuned on this backbone."""
        self.backbone = backbone
        self.prompt = prompt
        self._vectors = prompt.vectors(backbone)

    def with_prompt(self, prompt: SoftPrompt) -> Detector:
        """Another prompt on the same backbone, which stays where it is. Raises PromptMismatch."""
        return Detector(self.backbone, prompt)

    @property
    def native_crops(self) -> int:
        """How many native crops its pictures' views must hold; 0: none."""
        return self.prompt.native_crops

    def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> list[Score | ImageRejected]:
        """One item per image, in order.

        views: S is the backbone's `image_size`. sources: where each image came from, for a calibration that knows
        sources; none given: nowhere in particular. A batch too large for the device is halved; an image that does not
        fit alone, or whose margin is not finite, is an ImageRejected in its place.
        """
        batch = stack([view.whole for view in views], self.backbone.image_size)
        found = halving(self._margins, batch)
        named = sources or [""] * len(views)
        return [
            margin if isinstance(margin, ImageRejected) else self._score(margin, source)
            for margin, source in zip(found, named, strict=True)
        ]

    @torch.inference_mode()
    def _margins(self, pixels: torch.Tensor) -> list[float]:
        ready = normalise(pixels.to(self.backbone.device), self.prompt.normalisation)
        values: list[float] = margins(answer_logits(self.backbone, self._vectors, ready)).tolist()
        return values

    def _score(self, margin: float, source: str) -> Score | ImageRejected:
        if not math.isfinite(margin):
            return ImageRejected(RejectReason.NOT_A_NUMBER, f"margin {margin}")
        return Score(margin, self.prompt.calibration.probability(margin, source))


def score_together(
    detectors: Sequence[Detector], views: Sequence[Views], sources: Sequence[str] = ()
) -> list[list[Score | ImageRejected]]:
    """One list a detector, each as its `score` gives it."""
    return [detector.score(views, sources) for detector in detectors]


def halving(work: Callable[[torch.Tensor], Sequence[float]], batch: torch.Tensor) -> list[float | ImageRejected]:
    """`work` on the batch, or on halves of it for as long as the device runs out of memory."""
    if not len(batch):
        return []
    try:
        return list(work(batch))
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        problem = (str(error).splitlines() or ["out of memory"])[0]
    # Out of the except block, so that the traceback no longer holds the tensors that filled the device.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(batch) == 1:
        return [ImageRejected(RejectReason.OUT_OF_MEMORY, problem)]
    middle = len(batch) // 2
    return halving(work, batch[:middle]) + halving(work, batch[middle:])


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has a class for it; the CPU and Apple's GPU say so in a RuntimeError's text."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "MPS backend out of memory"))
