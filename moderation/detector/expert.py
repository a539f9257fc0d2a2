"""The pixel expert: a tiny convolutional head on native pixels, beside the language model and far cheaper.

It only adds a share to the margin. Its numbers lie in the prompt's file; without them there is no expert.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

MAX_PARAMETERS = 20_000


@dataclass(frozen=True, eq=False)
class ExpertWeights:
    """tensors: the expert's float32 numbers by name. weight: what one unit of its logit adds to the margin.

    crops: how many native crops it looks at; it answers with their mean. Raises ValueError.
    """

    tensors: Mapping[str, torch.Tensor]
    weight: float
    crops: int

    def __post_init__(self) -> None:
        count = sum(values.numel() for values in self.tensors.values())
        if not 0 < count <= MAX_PARAMETERS:
            raise ValueError(f"a pixel expert has 1 to {MAX_PARAMETERS} numbers, this one has {count}")
        for name, values in self.tensors.items():
            if values.dtype != torch.float32 or not bool(torch.isfinite(values).all()):
                raise ValueError(f"the pixel expert's {name} must be float32 and finite")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"the pixel expert's weight {self.weight} must be finite and above 0")
        if not 1 <= self.crops <= 16:
            raise ValueError(f"the pixel expert looks at 1 to 16 crops, not {self.crops}")
