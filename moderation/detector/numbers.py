"""A prompt file's numbers without torch: how two pseudo-words lie to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from moderation.errors import ConfigurationError

Numbers = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two pseudo-words on one side. norms: Euclidean, of each; None: that one has no vectors on this side.

    cosine: between the vectors where their shapes are equal (`means` False), else between their means; None where
    one has none, where they are of different widths, or where one is all zeros.
    """

    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    norms: tuple[float | None, float | None]
    cosine: float | None
    means: bool
    equal: bool


def numbers_of(blob: bytes) -> Numbers:
    """The tensors of the prompt file of these bytes, by name. Raises ConfigurationError."""
    try:
        return load(blob)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ConfigurationError("prompt", f"not a safetensors file: {error}") from None


def likeness(first: Numbers, second: Numbers, side: str) -> Likeness | None:
    """How the vectors of one side (`qformer`, `llm`) lie to each other; None where neither has any."""
    one, other = first.get(side), second.get(side)
    if one is None and other is None:
        return None
    shapes = (_shape(one), _shape(other))
    means = None not in shapes and shapes[0] != shapes[1]
    return Likeness(
        shapes=shapes,
        norms=(_norm(one), _norm(other)),
        cosine=_cosine(_mean(one), _mean(other)) if means else _cosine(one, other),
        means=means,
        equal=one is not None and other is not None and np.array_equal(one, other),
    )


def equal_experts(first: Numbers, second: Numbers) -> bool:
    """Whether both have the same pixel expert, number by number, or neither has one."""
    ours, theirs = ({name for name in each if name.startswith("expert.")} for each in (first, second))
    return ours == theirs and all(np.array_equal(first[name], second[name]) for name in ours)


def _shape(vectors: npt.NDArray[np.float32] | None) -> tuple[int, ...] | None:
    return None if vectors is None else tuple(vectors.shape)


def _norm(vectors: npt.NDArray[np.float32] | None) -> float | None:
    return None if vectors is None else float(np.linalg.norm(vectors.astype(np.float64)))


def _mean(vectors: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
    """Over members and tokens: one vector."""
    if vectors is None:
        return None
    mean: npt.NDArray[np.float32] = vectors.reshape(-1, vectors.shape[-1]).mean(axis=0)
    return mean


def _cosine(one: npt.NDArray[np.float32] | None, other: npt.NDArray[np.float32] | None) -> float | None:
    if one is None or other is None or one.shape != other.shape:
        return None
    left, right = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / length if length else None
