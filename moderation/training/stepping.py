"""What a step stands on: the optimiser, mixed precision, repeatable dropout, and memory that may not suffice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from moderation.detector.backbone import Backbone
from moderation.errors import ConfigurationError
from moderation.training.plan import TunePlan
from moderation.training.validation import Trainable

BETAS = (0.9, 0.999)
"""AdamW's, as the original's."""
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def optimiser(trainable: Trainable, plan: TunePlan) -> torch.optim.AdamW:
    """AdamW over the trainable's numbers and nothing else."""
    parameters = list(trainable.parameters.values())
    return torch.optim.AdamW(parameters, lr=plan.lr or 0.0, betas=BETAS, weight_decay=plan.weight_decay)


def moments(optimiser: torch.optim.AdamW, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the optimiser knows of each parameter that was stepped, as `moment.name`."""
    found: dict[str, torch.Tensor] = {}
    for name, values in parameters.items():
        known: Mapping[str, Any] = optimiser.state[values]
        found |= {f"{moment}.{name}": torch.as_tensor(known[moment]) for moment in _MOMENTS if known}
    return found


def restore_moments(
    optimiser: torch.optim.AdamW, parameters: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Gives it back what `moments` found."""
    for name, values in parameters.items():
        if f"step.{name}" in tensors:
            found = {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS}
            optimiser.state[values] = {
                moment: each if moment == "step" else each.to(values.device) for moment, each in found.items()
            }


def autocast(plan: TunePlan, backbone: Backbone) -> AbstractContextManager[Any]:
    """Mixed precision as the plan says; the numbers that are tuned stay float32."""
    dtype = _AUTOCAST.get(plan.precision or "")
    return torch.autocast(backbone.device.type, dtype) if dtype else nullcontext()


@contextmanager
def seeded(seed: int, backbone: Backbone) -> Iterator[None]:
    """Dropout draws as the seed says, and nobody else's draws are touched."""
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def memory_named(plan: TunePlan) -> Iterator[None]:
    """Names --batch-size when the device's memory is full. Raises ConfigurationError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        full = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
            words in str(error) for words in ("can't allocate memory", "MPS backend out of memory")
        )
        if not full:
            raise
        raise ConfigurationError(
            "--batch-size", f"the device's memory does not hold a batch of {plan.batch_size}",
            hint="take a smaller one; what was finished so far is in the run's folder: --resume",
        ) from None  # fmt: skip
