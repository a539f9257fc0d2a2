"""The pixel expert: a tiny convolutional head on native pixels, beside the language model and far cheaper.

It only adds a share to the margin. Its numbers lie in the prompt's file; without them there is no expert.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from moderation.detector.crops import MAX_CROPS

MAX_PARAMETERS = 20_000
ARCHITECTURE = "residual-1"
"""The name of what is built here. Other layers or another input get another name: weights never meet the wrong one."""
_WIDTHS = (3, 16, 24, 24, 32)
_STRIDES = (1, 2, 1, 2)
MIN_SIDE = 19  # pixels, so that the last layer still has two places to compare
_FLAT = 0.005
"""Added to a residual's deviation, on the scale 0 to 1: a good grey level, so that flat pictures are not blown up."""
_FAINT = 1e-6  # under the root of a variance, whose slope at 0 is infinite


class PixelExpert(nn.Module):
    """What a 3 x 3 mean leaves of the picture, scaled to its own strength; four convolutions; mean and deviation.

    The picture's content is in the mean that is taken away. Nothing is padded: an edge would look like a trace.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(taken, given, 3, stride=stride)
            for (taken, given), stride in zip(pairwise(_WIDTHS), _STRIDES, strict=True)
        )
        self.head = nn.Linear(2 * _WIDTHS[-1], 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits float32 [N], higher is more likely fake, from uint8 [N, S, S, 3]; S is at least MIN_SIDE."""
        values = residual(pixels)
        for layer in self.layers:
            values = functional.relu(layer(values))
        deviation = (values.var(dim=(2, 3), correction=0) + _FAINT).sqrt()
        logits: torch.Tensor = self.head(torch.cat((values.mean(dim=(2, 3)), deviation), dim=1)).squeeze(1)
        return logits

    def tensors(self) -> dict[str, torch.Tensor]:
        """What ExpertWeights keeps of it: float32 on the CPU, by name."""
        return {name: values.detach().cpu().clone() for name, values in self.state_dict().items()}


@dataclass(frozen=True, eq=False)
class ExpertWeights:
    """tensors: the expert's float32 numbers by name. weight: what one unit of its logit adds to the margin.

    crops: how many native crops it looks at; it answers with their mean. Raises ValueError.
    """

    tensors: Mapping[str, torch.Tensor]
    weight: float
    crops: int
    architecture: str = ARCHITECTURE

    def __post_init__(self) -> None:
        if self.architecture != ARCHITECTURE:
            raise ValueError(f"the pixel expert {self.architecture!r} is unknown; this version has {ARCHITECTURE}")
        _check_tensors(self.tensors)
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"the pixel expert's weight {self.weight} must be finite and above 0")
        if not 1 <= self.crops <= MAX_CROPS:
            raise ValueError(f"the pixel expert looks at 1 to {MAX_CROPS} crops, not {self.crops}")

    @property
    def described(self) -> str:
        """In a few words, for a verdict."""
        return f"expert {self.architecture} on {self.crops} crops, weight {self.weight:.9g}"

    def build(self, device: torch.device) -> PixelExpert:
        """The expert with these numbers on `device`, in float32, for scoring."""
        expert = PixelExpert()
        expert.load_state_dict(dict(self.tensors))
        return expert.requires_grad_(requires_grad=False).eval().to(device)


def shapes() -> dict[str, torch.Size]:
    """The name and shape of each of the expert's tensors."""
    with torch.device("meta"):
        return {name: values.shape for name, values in PixelExpert().state_dict().items()}


def residual(pixels: torch.Tensor) -> torch.Tensor:
    """float32 [N, 3, S, S] from uint8 [N, S, S, 3]: each pixel less the mean around it, over the whole's deviation."""
    values = pixels.permute(0, 3, 1, 2).float() / 255
    values = values - functional.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)
    return values / (values.std(dim=(1, 2, 3), keepdim=True, correction=0) + _FLAT)


def flops(size: int) -> int:
    """Floating-point operations of the convolutions on one crop of `size` pixels a side; a multiply-add counts two."""
    side, total = size, 0
    for (taken, given), stride in zip(pairwise(_WIDTHS), _STRIDES, strict=True):
        side = (side - 3) // stride + 1
        total += 2 * 9 * taken * given * side**2
    return total


def _check_tensors(tensors: Mapping[str, torch.Tensor]) -> None:
    expected = shapes()
    if missing := sorted(set(expected) - set(tensors)):
        raise ValueError(f"the pixel expert lacks {', '.join(missing)}")
    if unknown := sorted(set(tensors) - set(expected)):
        raise ValueError(f"the pixel expert {ARCHITECTURE} has no {', '.join(unknown)}")
    for name, values in tensors.items():
        if values.shape != expected[name]:
            raise ValueError(f"the pixel expert's {name} is {list(values.shape)}, not {list(expected[name])}")
        if values.dtype != torch.float32 or not bool(torch.isfinite(values).all()):
            raise ValueError(f"the pixel expert's {name} must be float32 and finite")
