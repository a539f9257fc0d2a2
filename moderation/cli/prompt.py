"""modctl prompt: the registry of tuned pseudo-words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import (
    confirm,
    json_option,
    load_prompt,
    local_time,
    parts,
    print_facts,
    print_json,
    print_table,
    say,
    yes_option,
)
from moderation.domain.prompt import ID_CHARS
from moderation.errors import ConfigurationError, PromptMismatch

if TYPE_CHECKING:
    from moderation.detector import SoftPrompt
    from moderation.wiring import Wiring


@click.group()
def command() -> None:
    """The tuned pseudo-words: list, show, import."""


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
    print_table(
        ("id", "name", "state", "backbone", "revision", "registered"),
        rows,
        fold=("name", "backbone"),
        spare=("revision",),
    )


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


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call it; the file's name if not given.")
@click.option("--activate", is_flag=True, help="Make it the active prompt of its backbone.")
@click.option("--no-check", is_flag=True, help="Do not check that the prompt fits the backbone.")
@yes_option
@json_option
def import_(file: Path, name: str | None, activate: bool, no_check: bool, yes: bool, as_json: bool) -> None:
    """Register a prompt from FILE: one of ours (.safetensors) or a checkpoint of the original code (.pth).

    No code in the file is run.
    """
    from moderation.flows.prompt import register

    with parts() as wiring:
        prompt = _original(file, wiring) if file.suffix in {".pth", ".pt"} else load_prompt(file)
        if not no_check:
            _check(file, prompt, wiring)
        say(f"{file.name}: position {prompt.position}, question {prompt.question!r}, tuned on {prompt.backbone}")
        if activate:
            before = wiring.prompts.active(prompt.backbone)
            say(f"active on {prompt.backbone}: {before.prompt_id if before else 'none'} -> {prompt.sha256[:ID_CHARS]}")
            confirm("Register and activate it?", yes=yes)
        record = register(wiring.prompts, prompt.to_bytes(), name=name or file.stem)
        if activate:
            wiring.prompts.activate(record.prompt_id)
            record = wiring.prompts.find(record.prompt_id)
    if as_json:
        print_json(record)
    else:
        click.echo(f"{record.prompt_id} ({record.name}) is registered as {record.state}.")


def _check(file: Path, prompt: SoftPrompt, wiring: Wiring) -> None:
    try:
        prompt.check_fits(wiring.backbone)
    except PromptMismatch as error:
        hint = "set MODERATION_BACKBONE to the one it was tuned on, or register it unchecked: --no-check"
        raise ConfigurationError(str(file), f"it does not fit: {error.problem}", hint=hint) from None


def _original(file: Path, wiring: Wiring) -> SoftPrompt:
    from moderation.detector.checkpoint import read_original

    checkpoint = read_original(file)
    for note in checkpoint.notes:
        say(note)
    backbone = wiring.backbone
    for warning in checkpoint.warnings(backbone):
        say(f"Warning: {warning}")
    return checkpoint.to_prompt(backbone.name)
