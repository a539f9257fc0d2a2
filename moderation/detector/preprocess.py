"""From uint8 pictures to the model's input. Resizing and cropping happened before, in `moderation.images`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel (red, green, blue) on the scale 0 to 1. It belongs to the prompt."""

    mean: Triple
    std: Triple

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise ValueError(f"normalisation mean {self.mean}, std {self.std}: finite numbers, std above 0")


STATISTICS_150K = Normalisation((0.4730, 0.4499, 0.4129), (0.2780, 0.2713, 0.2872))
"""Statistics of the original's training set of 150,000 pictures (repository nctu-eva-lab/AntifakePrompt)."""
STATISTICS_150K_LAMA = Normalisation((0.4722, 0.4490, 0.4117), (0.2772, 0.2708, 0.2867))
"""The same with the LaMa pictures added."""


def stack(pixels: Any, size: int) -> torch.Tensor:
    """One uint8 tensor [B, size, size, 3] from such a tensor or array, or a sequence of [size, size, 3] ones.

    Raises ValueError for another type or shape.
    """
    if isinstance(pixels, torch.Tensor):
        batch = pixels
    elif isinstance(pixels, Sequence):
        batch = torch.from_numpy(np.stack(pixels)) if pixels else torch.empty(0, dtype=torch.uint8)
    else:
        batch = torch.as_tensor(pixels)
    if not len(batch):
        return torch.empty(0, size, size, 3, dtype=torch.uint8)
    if batch.dtype != torch.uint8 or batch.shape[1:] != (size, size, 3):
        raise ValueError(f"pixels must be uint8 [B, {size}, {size}, 3], not {batch.dtype} {list(batch.shape)}")
    return batch


def normalise(pixels: torch.Tensor, statistics: Normalisation) -> torch.Tensor:
    """uint8 [B, S, S, 3] to float32 [B, 3, S, S] on the same device: (x / 255 - mean) / std, rounded in this order."""
    mean = torch.tensor(statistics.mean, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(statistics.std, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
    return pixels.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std).contiguous()
