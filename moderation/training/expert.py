"""Training the pixel expert, and what its word is worth beside the margin. Holds one batch of crops, never a data set.

The expert is trained on native crops alone; the language model's margin meets it only in `fuse`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from moderation.detector.calibration import Calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

Look = Callable[[int, np.random.Generator | None], "NDArray[np.uint8]"]
"""Native crops uint8 [K, S, S, 3] of the picture at an index; with a generator: drawn and augmented by it."""
Augment = Callable[["Image.Image", np.random.Generator], "Image.Image"]


@dataclass(frozen=True)
class Examples:
    """Labelled pictures that are read when they are needed. `is_fake`: bool [N]."""

    look: Look
    is_fake: NDArray[np.bool_]


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    number: int
    loss: float
    validation_auc: float


@dataclass(frozen=True)
class Fusion:
    """`weight`: what one unit of the expert's logit adds to the margin. `calibration`: of the sum."""

    weight: float
    calibration: Calibration


def file_crops(paths: Sequence[Path], size: int, crops: int, augment: Augment | None = None) -> Look:
    """A Look that decodes files: the crops of `images.views`, or drawn places after `augment`, with a generator."""
    raise NotImplementedError


def train_expert(
    training: Examples,
    validation: Examples,
    *,
    seed: int,
    epochs: int = 12,
    batch_size: int = 32,
    lr: float = 3e-3,
    device: str = "cpu",
    readers: Executor | None = None,
    report: Callable[[Epoch], None] | None = None,
) -> dict[str, torch.Tensor]:
    """The tensors (float32, CPU) of the epoch with the best validation AUC; ExpertWeights takes them.

    Keep pictures of one source (group) on one side of training and validation. On a CPU the same seed gives the same
    numbers, whatever `readers` does. Raises ConfigurationError where a class is missing.
    """
    raise NotImplementedError


def expert_logits(
    tensors: dict[str, torch.Tensor],
    look: Look,
    count: int,
    *,
    device: str = "cpu",
    batch_size: int = 32,
    readers: Executor | None = None,
) -> NDArray[np.float64]:
    """[count]: the expert's logit of each picture, the mean over its native crops, not augmented."""
    raise NotImplementedError


def fuse(margins: NDArray[np.float64], logits: NDArray[np.float64], is_fake: NDArray[np.bool_]) -> Fusion:
    """The logistic of margin and expert's logit on validation pictures that neither was trained on.

    Raises ConfigurationError where the expert (or the margin) does not help: then leave it out.
    """
    raise NotImplementedError
