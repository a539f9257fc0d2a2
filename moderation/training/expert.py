"""Training the pixel expert, and what its word is worth beside the margin. Holds three batches of crops at most.

The expert is trained on native crops alone; the language model's margin meets it only in `fuse`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from moderation.detector.expert import PixelExpert
from moderation.errors import ConfigurationError
from moderation.evaluation.metrics import auc
from moderation.training.fusion import Fusion, fuse
from moderation.training.learner import Begun, Learner
from moderation.training.native import Look, file_crops

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Epoch", "Examples", "Fusion", "Look", "expert_logits", "file_crops", "fuse", "train_expert"]

_VALIDATION_SEED = 0  # any number, as long as it stays the same


@dataclass(frozen=True)
class Examples:
    """Labelled pictures, read when they are needed. is_fake: bool [N]; weights: float [N], None: all weigh 1."""

    look: Look
    is_fake: NDArray[np.bool_]
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; `number` counts from 1. The validation pictures are treated as the training ones are."""

    number: int
    loss: float
    validation_loss: float
    validation_auc: float


def train_expert(
    training: Examples,
    validation: Examples,
    *,
    seed: int,
    epochs: int = 6,
    batch_size: int = 32,
    lr: float = 4e-3,
    start: Mapping[str, torch.Tensor] | None = None,
    begun: Begun | None = None,
    device: str = "cpu",
    readers: Executor | None = None,
    report: Callable[[Epoch], None] | None = None,
) -> dict[str, torch.Tensor]:
    """The tensors (float32, CPU) of the epoch with the lowest validation loss, ready for ExpertWeights.

    Judged on treated pictures, the same in every epoch: untouched ones are soon all told apart and choose by chance.
    start: an expert's tensors to go on from, which are kept where no epoch is better. begun: where this very training
    was left off; None: it begins, and nobody keeps where it stands.

    Each batch holds as many reals as fakes. Pictures of one group must not stand on both sides. On a CPU the same seed
    gives the same numbers, whatever `readers` does and however often it was left off. Raises ConfigurationError where a
    class is missing.
    """
    for name, examples in (("training", training), ("validation", validation)):
        if examples.is_fake.all() or not examples.is_fake.any():
            raise ConfigurationError("--expert", f"the {name} pictures are all of one class")
    learner = Learner(
        start, seed=seed, lr=lr, epochs=epochs, steps_an_epoch=-(-len(training.is_fake) // batch_size), device=device
    )
    if begun is not None and begun.tensors:
        learner.restore(begun.state, begun.tensors)
    elif start is not None:
        loss, _ = _validated(learner.best, validation, device, batch_size, readers)
        learner.judged(0, loss, learner.best)
    for number in range(learner.state.epochs + 1, epochs + 1):
        loss = _epoch(learner, _batches(training, batch_size, (seed, number), readers), device)
        tensors = learner.folded()
        validation_loss, found = _validated(tensors, validation, device, batch_size, readers)
        learner.judged(number, validation_loss, tensors)
        if begun is not None:
            begun.keep(learner.state, learner.tensors())
        if report is not None:
            report(Epoch(number, loss, validation_loss, found))
    return learner.best


def expert_logits(
    tensors: dict[str, torch.Tensor],
    look: Look,
    count: int,
    *,
    device: str = "cpu",
    batch_size: int = 32,
    readers: Executor | None = None,
) -> NDArray[np.float64]:
    """[count]: the expert's logit of each picture, the mean over its native crops as they are."""
    expert = PixelExpert()
    expert.load_state_dict(tensors)
    expert.eval().to(device)
    found: list[float] = []
    with torch.inference_mode():
        for crops in _read(lambda index: look(index, None), range(count), batch_size, readers):
            logits = expert(torch.from_numpy(np.concatenate(crops)).to(device)).cpu()
            found += [float(part.mean()) for part in logits.split([len(one) for one in crops])]
    return np.array(found)


def _epoch(
    learner: Learner, batches: Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]], device: str
) -> float:
    """One pass; the mean loss."""
    learner.expert.train()
    losses = []
    for pixels, is_fake, weights in batches:
        loss = functional.binary_cross_entropy_with_logits(
            learner.expert(pixels.to(device)), is_fake.to(device), None if weights is None else weights.to(device)
        )
        learner.step(loss)
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def _validated(
    tensors: dict[str, torch.Tensor], examples: Examples, device: str, batch_size: int, readers: Executor | None
) -> tuple[float, float]:
    """Loss and AUC on one drawn crop of each picture, treated; always the same ones."""

    def treated(index: int, _: np.random.Generator | None) -> NDArray[np.uint8]:
        return examples.look(index, np.random.default_rng((_VALIDATION_SEED, index)))

    truth = examples.is_fake
    logits = expert_logits(tensors, treated, len(truth), device=device, batch_size=batch_size, readers=readers)
    loss = float(np.logaddexp(0, np.where(truth, -logits, logits)).mean())
    return loss, auc(truth.tolist(), logits.tolist())


def _batches(
    examples: Examples, batch_size: int, seed: tuple[int, int], readers: Executor | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """(pixels uint8 [B, S, S, 3], whether fake float32 [B], weights float32 [B]) for one epoch of as many draws as
    there are pictures."""
    order = _order(examples.is_fake, np.random.default_rng(seed))

    def read(place: int) -> NDArray[np.uint8]:
        return examples.look(int(order[place]), np.random.default_rng((*seed, place)))

    start = 0
    for crops in _read(read, range(len(order)), batch_size, readers):
        chosen = np.repeat(order[start : start + len(crops)], [len(one) for one in crops])
        start += len(crops)
        labels = torch.from_numpy(examples.is_fake[chosen].astype(np.float32))
        weights = None if examples.weights is None else torch.from_numpy(examples.weights[chosen].astype(np.float32))
        yield torch.from_numpy(np.concatenate(crops)), labels, weights


def _order(is_fake: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
    """Real and fake in turn, each class as often as it takes."""
    half = -(-len(is_fake) // 2)
    sides = []
    for members in (np.flatnonzero(~is_fake), np.flatnonzero(is_fake)):
        rounds = [rng.permutation(members) for _ in range(-(-half // len(members)))]
        sides.append(np.concatenate(rounds)[:half])
    return np.stack(sides, axis=1).reshape(-1)[: len(is_fake)]


def _read(
    read: Callable[[int], NDArray[np.uint8]], places: Sequence[int], size: int, readers: Executor | None
) -> Iterator[list[NDArray[np.uint8]]]:
    """Batches in order; with `readers`, the next one is read while this one is worked on."""
    parts = [places[start : start + size] for start in range(0, len(places), size)]
    coming = None
    for part in [*parts, None]:
        following = None if part is None else (readers.map if readers else map)(read, part)
        if coming is not None:
            yield list(coming)
        coming = following
