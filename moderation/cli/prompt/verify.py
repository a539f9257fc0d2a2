"""modctl prompt verify: whether every registered prompt is as it was taken in."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import counted, json_option, parts, print_json, print_table, say

if TYPE_CHECKING:
    from moderation.flows.registry.health import Checked

_DAMAGED = 4


@click.command()
@click.option("--no-check", is_flag=True, help="Bytes, header and manifest alone, without the numbers; needs no torch.")
@json_option
def verify(no_check: bool, as_json: bool) -> None:
    """Whether all prompts are as they were registered: bytes, numbers, manifest; one active per backbone at most.

    Those in use must also fit the configured backbone. Exit code 4 where something is damaged.
    """
    from moderation.flows.registry.health import verify as look

    if not no_check and importlib.util.find_spec("torch") is None:
        say("torch is not installed: the numbers are not looked at")
        no_check = True
    with parts() as wiring:
        found = look(wiring.prompts, wiring.backbone_name, None if no_check else wiring.measures)
    if as_json:
        told = [{**_plain(each), "problems": each.problems, "notes": each.notes} for each in found.prompts]
        print_json({"good": found.good, "problems": found.problems, "prompts": told})
    else:
        rows = [
            (each.record.prompt_id, each.record.name, each.record.state, each.record.backbone, _lessons(each),
             "; ".join((*each.problems, *each.notes)) or "good")
            for each in found.prompts
        ]  # fmt: skip
        print_table(
            ("id", "name", "state", "backbone", "lessons", "found"),
            rows,
            right=("lessons",),
            fold=("name", "backbone", "found"),
            spare=("lessons", "backbone"),
        )
    if not found.good:
        bad = [each.record.prompt_id for each in found.prompts if not each.good]
        told_of = [f"damaged: {', '.join(bad)}"] if bad else []
        say(f"Error: {'; '.join((*told_of, *found.problems))}")
        say("  what to do: docs/registry.md, or modctl doctor")
        raise SystemExit(_DAMAGED)
    if not as_json:
        click.echo(f"All is well: {counted(len(found.prompts), 'prompt')}.")


def _lessons(checked: Checked) -> str:
    return "unknown" if checked.lessons is None else str(checked.lessons)


def _plain(checked: Checked) -> dict[str, object]:
    record = checked.record
    return {
        "prompt_id": record.prompt_id, "name": record.name, "state": record.state, "backbone": record.backbone,
        "lessons": checked.lessons, "good": checked.good,
    }  # fmt: skip
