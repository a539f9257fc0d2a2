"""The prompt's file: one safetensors blob, its fields as JSON in the header. The same prompt has the same bytes.

Format 1 is a single pseudo-word with Platt scaling; format 2 adds what came later, and is written only where used, so
that a prompt keeps its bytes, and with them its id. Nothing here is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from moderation.detector.calibration import Calibration
from moderation.detector.crops import Crops
from moderation.detector.expert import ExpertWeights
from moderation.detector.preprocess import Normalisation
from moderation.domain.prompt import HEADER_KEY, read_header
from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from moderation.detector.prompt import SoftPrompt

FORMATS = (1, 2)
SIDES = ("qformer", "llm")
FIELDS = frozenset(
    {"format", "backbone", "revision", "position", "question", "mean", "std", "scale", "bias", "metadata"}
)
NEWER = frozenset({"isotonic", "source_bias", "crops", "expert", "members"})
_EXPERT = "expert."


def write(prompt: SoftPrompt) -> bytes:
    """The file's content. Raises ConfigurationError for metadata that is no plain JSON."""
    tensors = {side: getattr(prompt, side).contiguous() for side in SIDES if getattr(prompt, side) is not None}
    header: dict[str, Any] = {
        "format": 1,
        "backbone": prompt.backbone,
        "revision": prompt.revision,
        "position": prompt.position,
        "question": prompt.question,
        "mean": list(prompt.normalisation.mean),
        "std": list(prompt.normalisation.std),
        "scale": prompt.calibration.scale,
        "bias": prompt.calibration.bias,
        "metadata": dict(prompt.metadata),
    }
    if newer := _newer(prompt):
        header |= newer | {"format": 2}
    if prompt.expert is not None:
        tensors |= {_EXPERT + name: values.contiguous() for name, values in sorted(prompt.expert.tensors.items())}
    try:
        text = json.dumps(header, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise invalid(f"its metadata must be plain JSON: {error}") from None
    return save(tensors, metadata={HEADER_KEY: text})


def read(data: bytes) -> dict[str, Any]:
    """The fields of the SoftPrompt in `data`. Raises ConfigurationError that names what is wrong with it."""
    header = _header(data)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as error:
        raise invalid(f"not a safetensors file: {error}") from None
    expert = {name.removeprefix(_EXPERT): tensors.pop(name) for name in sorted(tensors) if name.startswith(_EXPERT)}
    if unknown := sorted(set(tensors) - set(SIDES)):
        raise invalid(f"unknown tensors {', '.join(unknown)}")
    try:
        if header["format"] not in FORMATS:
            raise invalid(f"format {header['format']!r}; this version reads {', '.join(map(str, FORMATS))}")
        _check_fields(header, tensors)
        return {
            "backbone": _text(header, "backbone"),
            "qformer": tensors.get("qformer"),
            "llm": tensors.get("llm"),
            "revision": None if header["revision"] is None else _text(header, "revision"),
            "position": header["position"],
            "question": _text(header, "question"),
            "normalisation": Normalisation(_triple(header, "mean"), _triple(header, "std")),
            "calibration": _calibration(header),
            "metadata": dict(header["metadata"]),
            "crops": Crops(**header["crops"]) if header.get("crops") else None,
            "expert": _expert(header, expert),
        }
    except KeyError as error:
        raise invalid(f"its header lacks {error.args[0]!r}") from None
    except (TypeError, ValueError) as error:
        raise invalid(str(error)) from None


def invalid(problem: str) -> ConfigurationError:
    """The error for a prompt that can't be used."""
    return ConfigurationError("prompt", problem)


def _newer(prompt: SoftPrompt) -> dict[str, Any]:
    """What only format 2 can say of this prompt."""
    newer: dict[str, Any] = {}
    if prompt.calibration.isotonic:
        newer["isotonic"] = [list(knot) for knot in prompt.calibration.isotonic]
    if prompt.calibration.source_bias:
        newer["source_bias"] = dict(prompt.calibration.source_bias)
    if prompt.crops is not None:
        crops = prompt.crops
        newer["crops"] = {"count": crops.count, "pool": crops.pool, "low": crops.low, "high": crops.high}
    if prompt.expert is not None:
        expert = prompt.expert
        newer["expert"] = {"weight": expert.weight, "crops": expert.crops, "architecture": expert.architecture}
    if prompt.members > 1:
        newer["members"] = prompt.members
    return newer


def _check_fields(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """What a format does not know could change the score: it is refused, not passed over."""
    known = FIELDS if header["format"] == 1 else FIELDS | NEWER
    if unknown := sorted(set(header) - known):
        raise invalid(f"unknown fields {', '.join(unknown)} in its header of format {header['format']}")
    found = max((len(values) for values in tensors.values() if values.ndim == 3), default=1)
    if (said := header.get("members", 1)) != found:
        raise invalid(f"its header says {said} members, its tensors hold {found}")


def _calibration(header: Mapping[str, Any]) -> Calibration:
    return Calibration(
        scale=float(header["scale"]),
        bias=float(header["bias"]),
        isotonic=tuple((float(margin), float(probability)) for margin, probability in header.get("isotonic", ())),
        source_bias={str(name): float(bias) for name, bias in header.get("source_bias", {}).items()},
    )


def _expert(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> ExpertWeights | None:
    if not header.get("expert"):
        if tensors:
            raise invalid("it holds the tensors of a pixel expert, and its header knows of none")
        return None
    fields = header["expert"]
    return ExpertWeights(tensors, float(fields["weight"]), int(fields["crops"]), str(fields["architecture"]))


def _header(data: bytes) -> dict[str, Any]:
    try:
        return read_header(data)
    except ValueError as error:
        raise invalid(str(error)) from None


def _text(header: Mapping[str, Any], key: str) -> str:
    if not isinstance(header[key], str):
        raise invalid(f"{key} must be text, not {header[key]!r}")
    return str(header[key])


def _triple(header: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in header[key])
    return red, green, blue
