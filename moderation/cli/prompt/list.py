"""modctl prompt list: what is registered."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import json_option, local_time, parts, print_json, print_table

if TYPE_CHECKING:
    from moderation.domain.training_run import GateState


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All registered prompts, the newest first."""
    with parts() as wiring:
        found = [(record, _gate(wiring.prompt_states.gate(record.prompt_id))) for record in wiring.prompts.list()]
    if as_json:
        for record, gate in found:
            print_json({**asdict(record), "gate": gate or None})
        return
    rows = [
        (r.prompt_id, r.name, r.state, gate, r.backbone, r.backbone_revision[:12], local_time(r.created_at))
        for r, gate in found
    ]
    print_table(
        ("id", "name", "state", "gate", "backbone", "revision", "registered"),
        rows,
        fold=("name", "backbone"),
        spare=("revision",),
    )


def _gate(state: GateState | None) -> str:
    """What the newest training run's gate said; '' where it came to none."""
    return "" if state is None else "passed" if state.passed else "refused"
