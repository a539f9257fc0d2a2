"""What is tuned, seen from outside, and how well it does on pictures that it was not tuned on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from moderation.detector.backbone import Backbone
from moderation.detector.prompt import PromptVectors
from moderation.detector.scoring import answer_logits, margins
from moderation.evaluation.metrics import auc
from moderation.training.loader import Batch, Features
from moderation.training.objective import class_weights, losses
from moderation.training.plan import TunePlan

_AT_ONCE = 64  # pictures, at most
_BATCHES_AT_ONCE = 4  # so that a smaller --batch-size helps here too; without gradients they need less memory than one


class Trainable(Protocol):
    """What is tuned: a pseudo-word or an adapter. `parameters`: all that the optimiser gets, float32."""

    backbone: Backbone
    parameters: dict[str, torch.Tensor]

    def vectors(self) -> PromptVectors:
        """What is asked with."""
        ...

    def load(self, numbers: Mapping[str, torch.Tensor]) -> None:
        """Takes numbers over."""
        ...

    def training(self) -> AbstractContextManager[None]:
        """Entered while steps are made."""
        ...

    def scoring(self) -> AbstractContextManager[None]:
        """Entered while pictures are scored."""
        ...


@dataclass(frozen=True)
class Validated:
    """Validation pictures in the order of their rows."""

    loss: float
    margins: NDArray[np.float64]
    is_fake: NDArray[np.bool_]
    rows: list[int]

    @property
    def auc(self) -> float:
        """Of the margins."""
        return auc(self.is_fake.tolist(), self.margins.tolist())


def validate(trainable: Trainable, plan: TunePlan, pictures: Features) -> Validated:
    """Loss and margins of all pictures, in evaluation mode and without autocast: as the detector will score them."""
    backbone = trainable.backbone
    found: list[float] = []
    values: list[float] = []
    rows: list[int] = []
    size = min(_AT_ONCE, _BATCHES_AT_ONCE * plan.batch_size)
    order = [range(start, min(start + size, len(pictures.images))) for start in range(0, len(pictures.images), size)]
    with trainable.scoring():
        vectors = trainable.vectors()
        for batch in pictures.batches(order, epoch=0):
            features = batch.features.to(backbone.device)
            is_fake = labels(pictures, batch).to(backbone.device)
            values += losses(backbone, vectors, is_fake, features, plan.loss).tolist()
            found += margins(answer_logits(backbone, vectors, features=features)).tolist()
            rows += batch.rows
    truth = np.array([pictures.images[row].is_fake for row in rows], dtype=bool)
    fakes = int(truth.sum())
    weights = class_weights(plan.loss, max(len(rows) - fakes, 1), max(fakes, 1)).numpy()[truth.astype(int)]
    loss = float(np.mean(np.array(values) * weights)) if rows else math.nan
    return Validated(loss, np.array(found, dtype=np.float64), truth, rows)


def labels(pictures: Features, batch: Batch) -> torch.Tensor:
    """bool [B]: which of a batch's pictures are fake."""
    return torch.tensor([pictures.images[row].is_fake for row in batch.rows])


def own_weights(pictures: Features, batch: Batch) -> torch.Tensor:
    """float32 [B]: how much a batch's pictures count."""
    return torch.tensor([pictures.images[row].weight for row in batch.rows])
