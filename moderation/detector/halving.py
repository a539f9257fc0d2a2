"""Work on a batch that may not fit the device: halved until it does. What does not fit alone is its image's error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from moderation.errors import ImageRejected, RejectReason

T = TypeVar("T")


def halving(work: Callable[[torch.Tensor], Sequence[T]], batch: torch.Tensor) -> list[T | ImageRejected]:
    """`work` on the batch, or on halves of it for as long as the device runs out of memory."""
    if not len(batch):
        return []
    try:
        return list(work(batch))
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        problem = (str(error).splitlines() or ["out of memory"])[0]
    # Out of the except block, so that the traceback no longer holds the tensors that filled the device.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(batch) == 1:
        return [ImageRejected(RejectReason.OUT_OF_MEMORY, problem)]
    middle = len(batch) // 2
    return halving(work, batch[:middle]) + halving(work, batch[middle:])


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has a class for it; the CPU and Apple's GPU say so in a RuntimeError's text."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "MPS backend out of memory"))
