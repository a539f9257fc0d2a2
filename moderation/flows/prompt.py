"""Prompts: taking an artefact into the registry, by what its own header says."""

from __future__ import annotations

from moderation.domain.prompt import PromptId, PromptRecord, read_header
from moderation.errors import ConfigurationError
from moderation.storage.prompts import Prompts


def register(prompts: Prompts, blob: bytes, *, name: str, parent: PromptId | None = None) -> PromptRecord:
    """Adds a prompt file's bytes as a candidate; the same bytes twice are one prompt.

    Raises ConfigurationError when they are no prompt file.
    """
    try:
        header = read_header(blob)
    except ValueError as error:
        raise ConfigurationError("prompt", str(error)) from None
    return prompts.register(
        blob,
        name=name,
        backbone=str(header["backbone"]),
        backbone_revision=str(header["revision"] or ""),
        question=str(header["question"]),
        metrics=dict(header["metadata"]),
        parent=parent,
    )
