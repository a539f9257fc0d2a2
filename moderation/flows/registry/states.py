"""Registered prompts: may one be used here, what was its life, and where does it come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from moderation.domain.prompt import PromptId, PromptRecord
from moderation.domain.prompt_stack import ACTIVATED, MENDED, REGISTERED, ROLLED_BACK, SHADOWED, UNSHADOWED
from moderation.errors import ConfigurationError, PromptMismatch
from moderation.flows.registry.prompt import contents
from moderation.storage.registry.prompts import Prompts

if TYPE_CHECKING:
    from moderation.detector.measures import Measured
    from moderation.domain.audit import Event
    from moderation.storage.events import Events

_KINDS = (REGISTERED, MENDED, ACTIVATED, ROLLED_BACK, SHADOWED, UNSHADOWED)


def check_backbone(prompt_id: PromptId, backbone: str, configured: str) -> None:
    """Raises ConfigurationError for a prompt of another backbone than the configured one."""
    if backbone != configured:
        raise ConfigurationError(
            f"prompt {prompt_id}",
            f"it is for the backbone {backbone}; MODERATION_BACKBONE is {configured}",
            hint=f"choose one for {configured} (modctl prompt list), or set MODERATION_BACKBONE={backbone}",
        )


def check_usable(
    prompts: Prompts, record: PromptRecord, configured: str, measure: Callable[[], Measured] | None
) -> None:
    """Raises ConfigurationError where a worker on the configured backbone could not use this prompt.

    measure: gives that backbone's measures; None: its numbers are not looked at, which takes torch.
    """
    check_backbone(record.prompt_id, record.backbone, configured)
    blob = prompts.blob(record.prompt_id)
    contents(blob)
    if measure is None:
        return
    from moderation.detector import SoftPrompt

    try:
        SoftPrompt.from_bytes(blob, sha256=record.sha256).check_fits(measure())
    except PromptMismatch as error:
        problem = f"it does not fit: {error.problem}"
        raise ConfigurationError(f"prompt {record.prompt_id}", problem, hint=error.hint) from None


def history(events: Events, prompt_id: PromptId) -> list[Event]:
    """What happened to a prompt, the oldest first: also where another took its place."""
    found = (event for kind in _KINDS for event in events.list(kind=kind, limit=None))
    ours = [event for event in found if prompt_id in (event.payload.get("prompt"), event.payload.get("before"))]
    return sorted(ours, key=lambda event: event.seq)


def ancestry(records: Iterable[PromptRecord], parent: PromptId | None) -> list[PromptId]:
    """The parent, its parent and so on; it ends where one is not registered."""
    parents = {record.prompt_id: record.parent for record in records}
    chain: list[PromptId] = []
    while parent is not None and parent not in chain:
        chain.append(parent)
        parent = parents.get(parent)
    return chain
