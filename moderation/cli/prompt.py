"""modctl prompt: the registry of tuned pseudo-words."""

from __future__ import annotations

import json

import click

from moderation.cli.shared import json_option, local_time, parts, print_facts, print_json, print_table


@click.group()
def command() -> None:
    """The tuned pseudo-words: list, show, import, activate."""


@command.command("list")
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
    print_table(("id", "name", "state", "backbone", "revision", "registered"), rows)


@command.command()
@click.argument("prompt_id")
@json_option
def show(prompt_id: str, as_json: bool) -> None:
    """All that is known of one prompt. The start of an id is enough."""
    with parts() as wiring:
        record = wiring.prompts.find(prompt_id)
    if as_json:
        print_json(record)
        return
    print_facts(
        {
            "id": record.prompt_id,
            "name": record.name,
            "state": record.state,
            "backbone": record.backbone,
            "revision": record.backbone_revision or "any",
            "question": record.question,
            "sha256": record.sha256,
            "parent": record.parent or "none",
            "registered": local_time(record.created_at),
            "activated": local_time(record.activated_at) or "never",
            **{f"  {name}": json.dumps(value) for name, value in record.metrics.items()},
        }
    )
