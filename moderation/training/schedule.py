"""The learning rate as a pure function of epoch and iteration, so that a resumed run goes on where it was."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["paper", "onecycle", "cosine", "constant"]

_RISE = 0.3  # the share of steps in which OneCycle climbs; torch.optim.lr_scheduler.OneCycleLR's default
_START = 1 / 25  # of the peak: its div_factor
_END = _START / 1e4  # of the peak: its final_div_factor


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


def rate(kind: Schedule, epoch: int, iteration: int, *, lr: float, epochs: int, iterations: int) -> float:
    """The rate of one step. lr: the highest. iterations: steps an epoch. Epoch and iteration count from 0."""
    if kind == "paper":
        return learning_rate(epoch, iteration, init_lr=lr, max_epoch=epochs)
    if kind == "constant":
        return lr
    step, steps = epoch * iterations + iteration, epochs * iterations
    return lr * (_between(1.0, 0.0, step / max(steps - 1, 1)) if kind == "cosine" else _onecycle(step, steps))


def _onecycle(step: int, steps: int) -> float:
    if steps == 1:
        return 1.0
    top = _RISE * steps - 1  # as torch counts
    if step <= top:
        return _between(_START, 1.0, step / top if top else 1.0)
    return _between(1.0, _END, (step - top) / (steps - 1 - top))


def _between(first: float, last: float, share: float) -> float:
    """Along half a cosine from `first` to `last`."""
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))
