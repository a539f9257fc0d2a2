"""The loop: a few numbers move, the backbone stands still. Word and LoRA are tuned by the same one.

What happens in an epoch is a function of seed, epoch and the numbers at its beginning, so a run that was killed goes on
from its last finished epoch to the same result (bit for bit on the CPU).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from moderation.training.augment import number
from moderation.training.loader import Batch, Features
from moderation.training.objective import class_weights, losses, weighted
from moderation.training.plan import TunePlan
from moderation.training.progress import Interrupt, Watcher
from moderation.training.run import RunFolder
from moderation.training.schedule import rate
from moderation.training.state import Row, State
from moderation.training.stepping import autocast, memory_named, moments, optimiser, restore_moments, seeded
from moderation.training.validation import Trainable, labels, own_weights, validate


@dataclass(frozen=True)
class Outcome:
    """One member's end. numbers: the best epoch's, by name; None when no epoch could be validated."""

    numbers: Mapping[str, torch.Tensor] | None
    state: State
    why: str  # done, patience, interrupted, or what went wrong

    @property
    def failed(self) -> bool:
        """Whether it ended because a loss was no number."""
        return self.why not in ("done", "patience", "interrupted")


def tune(
    trainable: Trainable,
    plan: TunePlan,
    member: int,
    training: Features,
    validation: Features,
    run: RunFolder,
    watchers: Sequence[Watcher],
    interrupt: Interrupt,
) -> Outcome:
    """Tunes one member to its end, from where its state in the run's folder says. The plan must be filled.

    Raises ConfigurationError naming --batch-size when the device's memory does not hold a batch.
    """
    with memory_named(plan):
        return _Loop(trainable, plan, member, training, validation, run, watchers, interrupt).run()


def order_of(pictures: int, plan: TunePlan, seed: int, turn: int) -> list[list[int]]:
    """The batches of a pass, the run's number `turn` from 0: a shuffle of all pictures, less what fills no batch."""
    random = torch.Generator().manual_seed(number(seed, turn, "order"))
    shuffled: list[int] = torch.randperm(pictures, generator=random).tolist()
    size = plan.batch_size
    return [shuffled[place * size : (place + 1) * size] for place in range(plan.steps_a_pass(pictures))]


class _Loop:
    """One member's run."""

    def __init__(
        self,
        trainable: Trainable,
        plan: TunePlan,
        member: int,
        training: Features,
        validation: Features,
        run: RunFolder,
        watchers: Sequence[Watcher],
        interrupt: Interrupt,
    ) -> None:
        self.trainable, self.plan, self.member = trainable, plan, member
        self.training, self.validation = training, validation
        self.folder, self.watchers, self.interrupt = run, watchers, interrupt
        self.seed = number(plan.seed, member)
        self.optimiser = optimiser(trainable, plan)
        place = trainable.backbone.device.type
        self.scaler = torch.amp.GradScaler(place, enabled=plan.precision == "fp16" and place == "cuda")
        self.weights = _class_weights(plan, training)
        self.state, tensors = run.load_state(member)
        self.best: dict[str, torch.Tensor] = {}
        if tensors:
            self._restore(tensors)

    def run(self) -> Outcome:
        epochs = self.plan.epochs or 1
        why = "done"
        while self.state.epochs < epochs and not self.state.ended:
            if self.interrupt.asked:
                why = "interrupted"
                break
            began = time.monotonic()
            loss, problem = self._epoch(self.state.epochs)
            if problem:
                return Outcome(self.best or None, self.state, problem)
            if self.interrupt.asked and self.best:
                why = "interrupted"  # half an epoch is no epoch: what was best before it stays the best
                break
            if problem := self._validate(loss, began):
                return Outcome(self.best or None, self.state, problem)
        if self.state.ended and why == "done" and self.state.epochs < epochs:
            why = "patience"
        return Outcome(self.best or None, self.state, why)

    def _epoch(self, epoch: int) -> tuple[float, str]:
        """The mean loss of its steps, and what went wrong if something did."""
        iterations = self.plan.iterations(len(self.training.images))
        total, steps = 0.0, 0
        with seeded(number(self.seed, epoch, "dropout"), self.trainable.backbone), self.trainable.training():
            for batch in self._batches(epoch):
                lr = rate(
                    self.plan.schedule, epoch, batch.number, lr=self.plan.lr or 0.0, epochs=self.plan.epochs or 1,
                    iterations=iterations,
                )  # fmt: skip
                loss = self._step(batch, lr)
                if not math.isfinite(loss):
                    return loss, f"the loss was {loss} in epoch {epoch + 1}, step {batch.number + 1}"
                total, steps = total + loss, steps + 1
                for watcher in self.watchers:
                    watcher.step(loss)
                if self.interrupt.asked:
                    break
        return (total / steps, "") if steps else (math.nan, "no training picture could be read")

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """An epoch's, numbered through its passes, each of which shuffles and augments anew."""
        pictures, passes = len(self.training.images), self.plan.passes
        for place in range(passes):
            turn = epoch * passes + place
            for batch in self.training.batches(order_of(pictures, self.plan, self.seed, turn), turn):
                yield replace(batch, number=place * self.plan.steps_a_pass(pictures) + batch.number)

    def _step(self, batch: Batch, lr: float) -> float:
        backbone = self.trainable.backbone
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        is_fake = labels(self.training, batch).to(backbone.device)
        features = batch.features.to(backbone.device)
        with autocast(self.plan, backbone):
            values = losses(backbone, self.trainable.vectors(), is_fake, features, self.plan.loss)
        loss = weighted(values, is_fake, self.weights, own_weights(self.training, batch))
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if math.isfinite(value):
            self.scaler.step(self.optimiser)
            self.scaler.update()
        return value

    def _validate(self, loss: float, began: float) -> str:
        """Closes an epoch: validation, state on disk, everyone told. Returns what went wrong, if something did."""
        found = validate(self.trainable, self.plan, self.validation)
        if not math.isfinite(found.loss):
            return f"the validation loss was {found.loss} after epoch {self.state.epochs + 1}"
        row = Row(
            member=self.member, epoch=self.state.epochs + 1, loss=loss, validation_loss=found.loss,
            validation_auc=found.auc, learning_rate=self.optimiser.param_groups[0]["lr"],
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        scaler: dict[str, float] = self.scaler.state_dict()
        self.state = self.state.with_epoch(row, scaler=scaler)
        if self.state.best_epoch == row.epoch:
            self.best = {name: values.detach().cpu().clone() for name, values in self.trainable.parameters.items()}
        if self.interrupt.asked:
            return ""  # stopped within its first epoch: what there is counts, and a resumed run begins anew
        patience = self.plan.patience
        if patience is not None and row.epoch - self.state.best_epoch >= patience:
            self.state = replace(self.state, ended=True)
        self.folder.save_state(self.member, self.state, self._tensors())
        for watcher in self.watchers:
            watcher.epoch(row)
        return ""

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {f"best.{name}": values for name, values in self.best.items()}
        tensors |= {f"now.{name}": values for name, values in self.trainable.parameters.items()}
        return tensors | moments(self.optimiser, self.trainable.parameters)

    def _restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for name, values in self.trainable.parameters.items():
            with torch.no_grad():
                values.copy_(tensors[f"now.{name}"])
        restore_moments(self.optimiser, self.trainable.parameters, tensors)
        if self.state.scaler:
            self.scaler.load_state_dict(dict(self.state.scaler))
        self.best = {name.removeprefix("best."): found for name, found in tensors.items() if name.startswith("best.")}


def _class_weights(plan: TunePlan, training: Features) -> torch.Tensor:
    """By the sums of the pictures' own weights, so that both classes pull alike."""
    sums = [sum(image.weight for image in training.images if image.is_fake is is_fake) for is_fake in (False, True)]
    return class_weights(plan.loss, *sums)
