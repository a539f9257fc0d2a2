"""The pixel expert while it learns: its network, optimiser and schedule, and the best of its epochs so far.

What an epoch meets is a function of seed and number, so where it stands after one is all that it takes to go on to the
same bits. It reads no pictures and judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.fusion import fuse_conv_bn_eval

from moderation.detector.expert import PixelExpert
from moderation.training.state import State
from moderation.training.stepping import moments, restore_moments

_DECAY = 1e-2
_CLIP = 1.0  # of the gradient's norm


@dataclass(frozen=True)
class Begun:
    """Where a training stands, for who goes on from there. keep: is given the same after every epoch.

    tensors: by name, as `Learner.tensors` gives them; {}: it is yet to begin.
    """

    state: State
    tensors: Mapping[str, torch.Tensor]
    keep: Callable[[State, Mapping[str, torch.Tensor]], None]


class Learner:
    """An expert in training; `best` are the tensors (float32, CPU) of the best epoch, with none: what it began from."""

    def __init__(
        self,
        start: Mapping[str, torch.Tensor] | None,
        *,
        seed: int,
        lr: float,
        epochs: int,
        steps_an_epoch: int,
        device: str,
    ) -> None:
        self.expert = (_untrained(seed) if start is None else _started(start)).to(device)
        self.state = State()
        self.best = dict(start or {})
        self._optimiser = torch.optim.AdamW(self.expert.parameters(), lr=lr, weight_decay=_DECAY)
        steps = epochs * steps_an_epoch
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimiser, max_lr=lr, total_steps=steps + 1)
        self._steps_an_epoch = steps_an_epoch

    def step(self, loss: torch.Tensor) -> None:
        """One step down the loss of a batch."""
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        clip_grad_norm_(self.expert.parameters(), _CLIP)
        self._optimiser.step()
        self._schedule.step()

    def folded(self) -> dict[str, torch.Tensor]:
        """The tensors of the same expert without normalisations."""
        plain, layers = PixelExpert(), cast("Any", self.expert.layers)
        if not any(isinstance(layer, nn.Sequential) for layer in layers):
            return {name: values.clone() for name, values in self.expert.tensors().items()}
        plain.layers = nn.ModuleList(fuse_conv_bn_eval(layer[0].eval(), layer[1].eval()) for layer in layers)
        plain.head = self.expert.head
        return plain.tensors()

    def judged(self, epoch: int, loss: float, tensors: dict[str, torch.Tensor]) -> None:
        """Takes the validation loss of an epoch's tensors; epoch 0 is what it began from."""
        self.state = replace(self.state, epochs=epoch)
        if loss < self.state.best_loss:
            self.state = replace(self.state, best_epoch=epoch, best_loss=loss)
            self.best = tensors

    def tensors(self) -> dict[str, torch.Tensor]:
        """What it takes beside `state` to go on."""
        now, best = self.expert.state_dict(), self.best
        kept = {f"now.{name}": values for name, values in now.items()}
        kept |= {f"best.{name}": values for name, values in best.items()}
        return kept | moments(self._optimiser, dict(self.expert.named_parameters()))

    def restore(self, state: State, tensors: Mapping[str, torch.Tensor]) -> None:
        """Stands where another one stood when it gave these."""
        now, best = (
            {name.removeprefix(part): values for name, values in tensors.items() if name.startswith(part)}
            for part in ("now.", "best.")
        )
        self.expert.load_state_dict(now)
        restore_moments(self._optimiser, dict(self.expert.named_parameters()), tensors)
        steps = state.epochs * self._steps_an_epoch
        # Rate and momentum are functions of the step alone: the last one is made again, and they are set.
        self._schedule.load_state_dict({"last_epoch": steps - 1, "_step_count": steps + 1})
        self._schedule.step()
        self.state, self.best = state, best


def _untrained(seed: int) -> PixelExpert:
    """Each convolution with a normalisation behind it, which training needs and scoring does not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expert = PixelExpert()
    layers = cast("Any", expert.layers)  # a ModuleList does not know what it holds
    expert.layers = nn.ModuleList(nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels)) for layer in layers)
    return expert


def _started(tensors: Mapping[str, torch.Tensor]) -> PixelExpert:
    """An expert that goes on from these: its normalisations are folded in and stay so."""
    expert = PixelExpert()
    expert.load_state_dict({name: values.clone() for name, values in tensors.items()})
    return expert
