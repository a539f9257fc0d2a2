"""modctl prompt activate, rollback, shadow, unshadow: what a registered prompt is for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from moderation.cli.prompt.activation import ask
from moderation.cli.prompt.view import titled
from moderation.cli.shared import (
    actor_option,
    by_whom,
    confirm,
    json_option,
    parts,
    print_json,
    reason_option,
    say,
    yes_option,
)
from moderation.domain.prompt import PromptState
from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from moderation.domain.prompt import PromptRecord
    from moderation.storage.registry.states import Changed
    from moderation.wiring import Wiring

_why = click.option("--reason", required=True, help="Why; kept in the audit trail.")
_no_check = click.option("--no-check", is_flag=True, help="Do not look whether its numbers fit; needs no torch.")


@click.command()
@click.argument("prompt_id", metavar="ID")
@click.option("--force", is_flag=True, help="Even if the gate refused it; the audit trail says so.")
@_no_check
@_why
@actor_option
@yes_option
@json_option
def activate(prompt_id: str, force: bool, no_check: bool, reason: str, actor: str, yes: bool, as_json: bool) -> None:
    """Make a prompt the active one of its backbone. Running workers take it with their next batch.

    The one before is retired; `modctl prompt rollback` brings it back. Exit code 4 for a candidate the gate refused.
    """
    from moderation.storage.registry.states import Changed

    _check_reason(reason)
    with parts() as wiring:
        record = wiring.prompts.find(prompt_id)
        if record.state == PromptState.ACTIVE:
            _tell(Changed(record.prompt_id, record.prompt_id, happened=False), "active", record.backbone, as_json)
            return
        _check_usable(wiring, record, no_check=no_check)
        shown = ask(
            wiring, record.prompt_id, record.name, record.backbone, wiring.prompt_states.gate(record.prompt_id),
            forced=force, is_shadow=record.state == PromptState.SHADOW, yes=yes, question="Activate it?",
        )  # fmt: skip
        by = by_whom(wiring, actor, reason)
        changed = wiring.prompt_states.activate(record.prompt_id, forced=force, shown=shown, by=by)
    _tell(changed, "active", record.backbone, as_json)


@click.command()
@click.option("--to", metavar="ID", help="Further back: to this one, which was active earlier.")
@_no_check
@_why
@actor_option
@yes_option
@json_option
def rollback(to: str | None, no_check: bool, reason: str, actor: str, yes: bool, as_json: bool) -> None:
    """Make the prompt active again that was so before the active one.

    A second rollback goes further back; none returns to a prompt that an earlier one took off.
    """
    from moderation.storage.registry.states import Shown

    _check_reason(reason)
    with parts() as wiring:
        backbone = wiring.backbone_name
        before = wiring.prompts.active(backbone)
        further = wiring.prompts.find(to).prompt_id if to else None
        target = wiring.prompts.find(wiring.prompt_states.target(backbone, to=further))
        _check_usable(wiring, target, no_check=no_check)
        say(f"active on {backbone}: {titled(before)} -> {titled(target)}")
        confirm("Go back to it?", yes=yes)
        changed = wiring.prompt_states.roll_back(
            backbone,
            to=target.prompt_id,
            shown=Shown(before.prompt_id if before else None),  # also unasked: two who go back at once mean one step
            by=by_whom(wiring, actor, reason),
        )
    _tell(changed, "active", backbone, as_json)


@click.command()
@click.argument("prompt_id", metavar="ID")
@_no_check
@reason_option
@actor_option
@yes_option
@json_option
def shadow(prompt_id: str, no_check: bool, reason: str, actor: str, yes: bool, as_json: bool) -> None:
    """Let a prompt score beside the active one. Its verdicts are kept apart and decide nothing.

    A backbone has one shadow at most. `modctl prompt compare` shows how it does.
    """
    from moderation.storage.registry.states import Changed, Shown

    with parts() as wiring:
        record = wiring.prompts.find(prompt_id)
        if record.state == PromptState.SHADOW:
            _tell(Changed(record.prompt_id, record.prompt_id, happened=False), "the shadow", record.backbone, as_json)
            return
        if record.state == PromptState.ACTIVE:  # refused before anybody is asked
            wiring.prompt_states.set_shadow(record.prompt_id)
        _check_usable(wiring, record, no_check=no_check)
        before = wiring.prompts.in_use(record.backbone).shadow
        say(f"shadow on {record.backbone}: {titled(before)} -> {titled(record)}")
        confirm(f"Replace the shadow {titled(before)}?" if before else "Let it score beside the active one?", yes=yes)
        shown = None if yes else Shown(before.prompt_id if before else None)
        changed = wiring.prompt_states.set_shadow(record.prompt_id, shown=shown, by=by_whom(wiring, actor, reason))
    _tell(changed, "the shadow", record.backbone, as_json)


@click.command()
@reason_option
@actor_option
@yes_option
@json_option
def unshadow(reason: str, actor: str, yes: bool, as_json: bool) -> None:
    """End the shadow: a candidate again, or retired if it was active once. Its verdicts stay."""
    from moderation.storage.registry.states import Shown

    with parts() as wiring:
        backbone = wiring.backbone_name
        before = wiring.prompts.in_use(backbone).shadow
        if before is not None:
            say(f"shadow on {backbone}: {titled(before)} -> none")
            confirm("End it?", yes=yes)
            shown = None if yes else Shown(before.prompt_id)
            wiring.prompt_states.end_shadow(backbone, shown=shown, by=by_whom(wiring, actor, reason))
            before = wiring.prompts.find(before.prompt_id)
    if as_json:
        print_json({"prompt_id": before.prompt_id if before else None, "state": before.state if before else None})
    elif before is None:
        click.echo(f"No prompt is the shadow on {backbone}.")
    else:
        click.echo(f"{before.prompt_id} is the shadow no more; it is {before.state}.")


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise click.UsageError("--reason is empty; say in a few words why")


def _check_usable(wiring: Wiring, record: PromptRecord, *, no_check: bool) -> None:
    from moderation.flows.registry.states import check_usable

    try:
        check_usable(wiring.prompts, record, wiring.backbone_name, None if no_check else wiring.measures)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "installation",
            f"{error.name} is missing, so this machine can't see whether the prompt fits",
            hint="do it where a worker runs, or unchecked: --no-check",
        ) from None


def _tell(changed: Changed, what: str, backbone: str, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(changed), "backbone": backbone})
    elif changed.happened:
        click.echo(f"{changed.prompt_id} is {what} on {backbone}.")
    else:
        click.echo(f"{changed.prompt_id} is {what} on {backbone} already.")
