"""Which prompts were active one after the other: what a rollback goes back along.

An activation puts a prompt on top; a rollback takes off what was found bad, down to the prompt it returns to. So a
second rollback goes further back, and none returns to what an earlier one took off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moderation.domain.prompt import PromptId

ACTIVATED, ROLLED_BACK = "prompt.activate", "prompt.rollback"
SHADOWED, UNSHADOWED = "prompt.shadow", "prompt.unshadow"
REGISTERED, MENDED = "prompt.register", "prompt.mend"
"""The kinds of events that tell a prompt's life."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One change of a backbone's active prompt, as its event tells. kind: ACTIVATED or ROLLED_BACK."""

    kind: str
    prompt: PromptId
    before: PromptId | None


def stack(turns: Iterable[Turn], active: PromptId | None) -> list[PromptId]:
    """The prompts that a rollback may return to, oldest first, and on top the one that is active now.

    turns: of one backbone, in their order. A trail that lacks some (older versions kept none) gives what it can.
    """
    found: list[PromptId] = []
    for turn in turns:
        if turn.before is not None and turn.before not in found:
            found.append(turn.before)
        if turn.kind == ROLLED_BACK and turn.prompt in found:
            _cut_above(found, turn.prompt)
        else:
            found.append(turn.prompt)
    if active is None:
        return found
    if active not in found:
        return [*found, active]
    _cut_above(found, active)
    return found


def _cut_above(found: list[PromptId], prompt: PromptId) -> None:
    del found[len(found) - found[::-1].index(prompt) :]
