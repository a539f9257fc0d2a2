"""The canary answers of a prompt that was made or taken in here: on record before any worker uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moderation.cli.shared import say
from moderation.errors import CanaryFailed, ServiceDown

if TYPE_CHECKING:
    from moderation.domain.prompt import PromptId
    from moderation.wiring import Wiring


def record_answers(wiring: Wiring, prompt_id: PromptId) -> None:
    """Records them, where this machine answers as the workers of its kind do; a prompt is as good without."""
    try:
        wiring.witness().vouch(prompt_id)
    except CanaryFailed as error:
        say(f"Warning: this machine does not answer as the workers of its kind do: {error.problem}")
        say("  so it records no canary answers of the prompt; see docs/drift.md")
    except ServiceDown as error:
        say(f"Warning: no canary answers of the new prompt are recorded: {error}")
