"""What `modctl doctor` finds of the registered prompts. Their bytes are hashed; that takes no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moderation.cli.finding import Finding, Health
from moderation.cli.shared import counted

if TYPE_CHECKING:
    from moderation.flows.registry.health import Survey
    from moderation.wiring import Wiring

_PART = "registry"
_KEEP = "workers that run keep the last good prompt; one that starts now stops at once"


def registry_finding(wiring: Wiring) -> Finding:
    """The active prompt, the shadow, and whether any is damaged or was refused."""
    from moderation.flows.registry.health import survey

    backbone = wiring.backbone_name
    found = survey(wiring.prompts, wiring.prompt_states, backbone)
    active, damaged = found.active, [record.prompt_id for record in found.damaged]
    if active is not None and active.prompt_id in damaged:
        seen = f"THE ACTIVE PROMPT {active.prompt_id} ({active.name}) IS DAMAGED: its bytes are not those registered"
        return Finding(_PART, Health.FAILED, seen, f"{_KEEP}\nactivate another: {_way_out(found)}")
    if damaged:
        remedy = "they can't be used; bring them back: modctl prompt verify, docs/registry.md"
        if found.shadow is not None and found.shadow.prompt_id in damaged:
            remedy = f"the shadow {found.shadow.prompt_id} scores nothing; end it: modctl prompt unshadow\n{remedy}"
        return Finding(_PART, Health.WARNING, f"{_seen(found)}; damaged: {', '.join(damaged)}", remedy)
    if active is None:
        remedy = "import one: modctl prompt import FILE --activate (for the miniature: modctl db upgrade)"
        return Finding(_PART, Health.WARNING, _seen(found), remedy)
    return Finding(_PART, Health.OK, _seen(found))


def _seen(found: Survey) -> str:
    told = [
        counted(found.prompts, "prompt"),
        f"active {found.active.prompt_id}" if found.active else f"none active on {found.backbone}",
    ]
    if found.shadow is not None:
        told.append(f"shadow {found.shadow.prompt_id}")
    if found.refused:
        told.append(f"refused by the gate: {', '.join(record.prompt_id for record in found.refused)}")
    return ", ".join(told)


def _way_out(found: Survey) -> str:
    if found.way_back is not None:
        return f"modctl prompt rollback --to {found.way_back} --reason WHY"
    if found.good:
        return f"modctl prompt activate {found.good[0].prompt_id} --reason WHY"
    return "none is good; import one: modctl prompt import FILE --activate"
