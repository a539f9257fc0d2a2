"""modctl prompt list: what is registered."""

from __future__ import annotations

import click

from moderation.cli.shared import json_option, local_time, parts, print_json, print_table


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
