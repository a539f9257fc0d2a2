"""modctl prompt list and show: what is registered."""

from __future__ import annotations

from dataclasses import asdict

import click

from moderation.cli.prompt.view import described, flattened
from moderation.cli.shared import json_option, local_time, parts, print_facts, print_json, print_table


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All registered prompts, the newest first."""
    with parts() as wiring:
        found = wiring.prompts.list()
    if as_json:
        for record in found:
            print_json(record)
        return
    rows = [
        (r.prompt_id, r.name, r.state, r.backbone, r.backbone_revision[:12], local_time(r.created_at)) for r in found
    ]
    print_table(
        ("id", "name", "state", "backbone", "revision", "registered"),
        rows,
        fold=("name", "backbone"),
        spare=("revision",),
    )


@click.command()
@click.argument("prompt_id")
@json_option
def show(prompt_id: str, as_json: bool) -> None:
    """All that is known of one prompt. The start of an id is enough."""
    from moderation.flows.prompt import contents

    with parts() as wiring:
        record = wiring.prompts.find(prompt_id)
        holds = contents(wiring.prompts.blob(record.prompt_id))
    if as_json:
        print_json({**asdict(record), "holds": asdict(holds)})
        return
    facts = described(holds)
    print_facts(
        {
            "id": record.prompt_id,
            "name": record.name,
            "state": record.state,
            "sha256": record.sha256,
            "parent": record.parent or f"none registered; made from: {facts['made from']}",
            "registered": local_time(record.created_at),
            "activated": local_time(record.activated_at) or "never",
            **{title: value for title, value in facts.items() if title != "made from"},
            **{f"  {name}": value for name, value in flattened(record.metrics) if name != "parent"},
        }
    )
