"""The original's learning rate, as a pure function."""

from __future__ import annotations

import math


def learning_rate(
    epoch: int,
    iteration: int,
    *,
    init_lr: float,
    max_epoch: int = 10,
    min_lr: float = 0.0,
    warmup_lr: float = 1e-8,
    warmup_steps: int = 0,
) -> float:
    """LAVIS's linear_warmup_cosine_lr: epoch 0 climbs by iteration to `init_lr`, later epochs fall along a cosine."""
    if epoch == 0:
        return min(init_lr, warmup_lr + (init_lr - warmup_lr) * iteration / max(warmup_steps, 1))
    return (init_lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * epoch / max_epoch)) + min_lr
