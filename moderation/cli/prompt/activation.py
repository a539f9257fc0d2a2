"""What is said and asked before a prompt becomes active, whichever command makes it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moderation.cli.prompt.view import titled
from moderation.cli.shared import confirm, say
from moderation.errors import PromptRefused

if TYPE_CHECKING:
    from moderation.domain.prompt import PromptId, PromptRecord
    from moderation.domain.training_run import GateState
    from moderation.storage.registry.states import Shown
    from moderation.wiring import Wiring


def is_refused(gate: GateState | None) -> bool:
    """Whether it takes force to activate what the gate said this of."""
    return gate is not None and not gate.passed


def warn_of_refusal(gate: GateState | None, prompt_id: PromptId) -> None:
    """Of a prompt that was registered and is not to become active now."""
    if gate is not None and is_refused(gate):
        say(
            f"Warning: the gate of training run {gate.run_id} refused {gate.what(prompt_id)}; to activate it "
            f"all the same: modctl prompt activate {prompt_id} --force --reason WHY"
        )


def ask(
    wiring: Wiring,
    prompt_id: PromptId,
    name: str,
    backbone: str,
    gate: GateState | None,
    *,
    forced: bool = False,
    is_shadow: bool = False,
    yes: bool,
    question: str,
) -> Shown | None:
    """Says what would be active in whose place and what its gate proved, and asks. Nothing is changed yet.

    Returns what to activate in the place of; None: of whatever is active then. Raises ConfigurationError for a prompt
    of another backbone than the configured one, PromptRefused for one that the gate refused, unless `forced`.
    """
    from moderation.flows.registry.states import check_backbone
    from moderation.storage.registry.states import Shown

    check_backbone(prompt_id, backbone, wiring.backbone_name)
    before = wiring.prompts.active(backbone)
    is_new = before is None or before.prompt_id != prompt_id
    if is_new and gate is not None and not gate.passed and not forced:
        raise PromptRefused(prompt_id, gate.run_id, gate.reasons, gate.what(prompt_id))
    say(f"active on {backbone}: {titled(before)} -> {prompt_id} ({name})")
    if is_shadow:
        say("it is the shadow now, and will be so no more")
    if is_new and gate is not None:
        _warn(gate, prompt_id, before)
    confirm(question, yes=yes)
    return None if yes else Shown(before.prompt_id if before else None)


def _warn(gate: GateState, prompt_id: PromptId, before: PromptRecord | None) -> None:
    """What the gate did not prove of a prompt that is to take the place of `before`."""
    said = f"Warning: the gate of training run {gate.run_id}"
    if not gate.passed:
        say(f"{said} refused {gate.what(prompt_id)}: {'; '.join(gate.reasons) or 'no reason'}")
    elif before is not None and gate.against != before.prompt_id:
        say(f"{said} compared it with {gate.against}, not with the one that is active now: whether it is no worse than "
            "that one, nobody has looked")  # fmt: skip
