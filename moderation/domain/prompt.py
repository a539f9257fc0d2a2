"""The registry's view of a tuned pseudo-word: an artefact with a state. Its numbers live in the detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

PromptId = NewType("PromptId", str)
ID_CHARS = 12


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


def prompt_id_of(sha256: str) -> PromptId:
    """The id of a prompt: the head of its content hash, so that it is the same in every database."""
    return PromptId(sha256[:ID_CHARS])
