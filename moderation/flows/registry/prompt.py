"""Prompts: taking an artefact into the registry by what its own header says, reading it, writing it to a file.

Nothing here needs torch, so that a machine without it can look after its prompts too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from moderation.detector import Calibration
from moderation.domain.prompt import PromptId, PromptRecord, read_header
from moderation.errors import ConfigurationError
from moderation.files import write_whole
from moderation.storage.events import SYSTEM, By
from moderation.storage.registry.prompts import Prompts

_SIDES = ("qformer", "llm")
_EXPERT = "expert."


@dataclass(frozen=True, slots=True)
class PromptContents:
    """What a prompt's file holds. tokens: by side; a side that is not in it was not tuned.

    calibration: in words; '' where there is none. crops, expert: their settings; None: off.
    """

    format: int
    backbone: str
    revision: str | None
    position: str
    question: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokens: Mapping[str, int]
    members: int
    calibration: str
    source_bias: Mapping[str, float]
    crops: Mapping[str, Any] | None
    expert: Mapping[str, Any] | None
    metadata: Mapping[str, Any]


def contents(blob: bytes) -> PromptContents:
    """What the prompt file of these bytes says of itself. Its numbers are not checked.

    Raises ConfigurationError when they are no prompt file.
    """
    header = _header(blob)
    try:
        shapes = _shapes(blob)
        calibration = _calibration(header)
        expert = dict(header.get("expert") or {})
        if expert:
            expert["numbers"] = sum(prod(shape) for name, shape in shapes.items() if name.startswith(_EXPERT))
        return PromptContents(
            format=int(header["format"]),
            backbone=str(header["backbone"]),
            revision=header["revision"],
            position=str(header["position"]),
            question=str(header["question"]),
            mean=tuple(header["mean"]),
            std=tuple(header["std"]),
            tokens={side: shapes[side][-2] for side in _SIDES if side in shapes},
            members=int(header.get("members", 1)),
            calibration="" if calibration == Calibration() else calibration.described,
            source_bias=calibration.source_bias,
            crops=header.get("crops"),
            expert=expert or None,
            metadata=dict(header["metadata"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigurationError("prompt", f"its header can't be read: {error}") from None


def calibration_of(blob: bytes) -> Calibration:
    """How the prompt file of these bytes turns a margin into P(fake). Raises ConfigurationError."""
    try:
        return _calibration(_header(blob))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError("prompt", f"its calibration can't be read: {error}") from None


def register(
    prompts: Prompts,
    blob: bytes,
    *,
    name: str,
    parent: PromptId | None = None,
    manifest: bytes | None = None,
    by: By = SYSTEM,
) -> PromptRecord:
    """Adds a prompt file's bytes as a candidate, with its event; the same bytes twice are one prompt.

    Raises ConfigurationError when they are no prompt file.
    """
    return prompts.register(blob, name=name, parent=parent, manifest=manifest, by=by, **fields_of(blob))


def fields_of(blob: bytes) -> dict[str, Any]:
    """What the registry keeps of a prompt file's header. Raises ConfigurationError when it is no prompt file."""
    header = _header(blob)
    return {
        "backbone": str(header["backbone"]),
        "backbone_revision": str(header["revision"] or ""),
        "question": str(header["question"]),
        "metrics": dict(header["metadata"]),
    }


def known_parent(prompts: Prompts, metadata: Mapping[str, Any]) -> PromptId | None:
    """The prompt that this metadata names as the one it was made from, where it is registered here."""
    parent = metadata.get("parent")
    return next((record.prompt_id for record in prompts.list() if record.prompt_id == parent), None)


def check_vacant(path: Path, *, force: bool) -> None:
    """Raises ConfigurationError where `write_file` would: a file that must stay, or no folder for it."""
    if path.is_dir():
        raise ConfigurationError(str(path), "it is a folder", hint="name a file")
    if path.exists() and not force:
        raise ConfigurationError(str(path), "this file exists", hint="name another, or overwrite it: --force")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(str(path), f"there is no folder {path.parent}")


def write_file(path: Path, data: bytes, *, force: bool) -> None:
    """Writes all of `data` or, where that fails, nothing. Raises ConfigurationError; see `check_vacant`."""
    check_vacant(path, force=force)
    try:
        write_whole(path, data)
    except OSError as error:
        raise ConfigurationError(str(path), f"can't be written: {error.strerror or error}") from None


def _header(blob: bytes) -> dict[str, Any]:
    try:
        return read_header(blob)
    except ValueError as error:
        raise ConfigurationError("prompt", str(error)) from None


def _calibration(header: Mapping[str, Any]) -> Calibration:
    knots = tuple((float(margin), float(p)) for margin, p in header.get("isotonic", ()))
    return Calibration(header["scale"], header["bias"], knots, dict(header.get("source_bias", {})))


def _shapes(blob: bytes) -> dict[str, list[int]]:
    """The tensors' shapes, from the safetensors header."""
    listed = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    return {name: list(entry["shape"]) for name, entry in listed.items() if name != "__metadata__"}
