"""The registry's view of a tuned pseudo-word: an artefact with a state. Its numbers live in the detector."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

PromptId = NewType("PromptId", str)
ID_CHARS = 12
HEADER_KEY = "antifake_prompt"  # the only entry: safetensors writes several in no fixed order


class PromptState(StrEnum):
    """What a prompt is for now. At most one is active per backbone."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A registered prompt, without its numbers. `backbone_revision` is '' when it fits any."""

    prompt_id: PromptId
    name: str
    sha256: str
    backbone: str
    backbone_revision: str
    state: PromptState
    parent: PromptId | None
    question: str
    metrics: Mapping[str, Any]
    created_at: datetime
    activated_at: datetime | None


@dataclass(frozen=True, slots=True)
class InUse:
    """The prompts that score on one backbone, and when that was so."""

    active: PromptRecord | None
    shadow: PromptRecord | None
    read_at: datetime


def read_header(blob: bytes) -> dict[str, Any]:
    """What a prompt's safetensors file says of itself, read without its numbers.

    The file begins with 8 bytes of length and a JSON header; ours is JSON text in its metadata. Raises ValueError.
    """
    size = int.from_bytes(blob[:8], "little")
    try:
        header = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"][HEADER_KEY])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"not a prompt of this program: no {HEADER_KEY!r} in its safetensors header") from None
    if not isinstance(header, dict):
        raise ValueError(f"{HEADER_KEY!r} in its safetensors header is no object")
    return header


def numbers_of(blob: bytes) -> bytes:
    """A prompt file's tensors: what lies behind its header. All of the bytes where nothing does.

    A calibration changes the header alone, so prompts with the same numbers rank all pictures alike.
    """
    return blob[8 + int.from_bytes(blob[:8], "little") :] or blob


def prompt_id_of(sha256: str) -> PromptId:
    """The id of a prompt: the head of its content hash, so that it is the same in every database."""
    return PromptId(sha256[:ID_CHARS])
