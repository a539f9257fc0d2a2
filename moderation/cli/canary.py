"""modctl canary: the known answers that workers check themselves against."""

from __future__ import annotations

import click

from moderation.cli.shared import (
    actor_option,
    by_whom,
    confirm,
    counted,
    json_option,
    local_time,
    parts,
    print_json,
    print_table,
    reason_option,
    say,
    yes_option,
)


@click.group()
def command() -> None:
    """Pictures with known answers that every worker checks itself on, at its start and every hour.

    What a prompt says of them is recorded where it is made, or by the first worker on a kind of machine. A worker whose
    answers differ takes no work.
    """


@command.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """What is on record: of which prompt, on which machine, by which worker."""
    with parts() as wiring:
        found = wiring.canaries.list()
    if as_json:
        for known in found:
            print_json(known)
    elif found:
        rows = [
            (known.asked.prompt_id, known.machine.device, known.machine.dtype, local_time(known.created_at),
             known.worker, " ".join(f"{answer:.3f}" for answer in known.answers))
            for known in found
        ]  # fmt: skip
        columns = ("prompt", "device", "dtype", "recorded", "worker", "P(fake)")
        print_table(columns, rows, fold=("worker", "P(fake)"), spare=("recorded",))
    else:
        click.echo("Nothing is on record: the first worker that starts records its answers.")


@command.command()
@click.option("--prompt", "prefix", help="Only what is known of this prompt; else of all.")
@yes_option
@reason_option
@actor_option
def forget(prefix: str | None, yes: bool, reason: str, actor: str) -> None:
    """Drop known answers, so that the next worker to check itself records new ones.

    For when workers changed on purpose: another torch or Pillow, or MODERATION_EXIF_ORIENTATION. Bring all workers to
    the new state first. --prompt is for answers that a broken machine recorded.
    """
    with parts() as wiring:
        prompt_id = wiring.prompts.find(prefix).prompt_id if prefix else None
        known = [each for each in wiring.canaries.list() if prompt_id in (None, each.asked.prompt_id)]
        if not known:
            say("Nothing is on record.")
            return
        of = f"prompt {prompt_id}" if prompt_id else "all prompts"
        say(f"{counted(len(known), 'record')} of {of} will go; whoever checks itself next is believed.")
        confirm("Forget?", yes=yes)
        gone = wiring.canaries.forget(prompt_id, by=by_whom(wiring, actor, reason))
    say(f"{counted(gone, 'record')} dropped.")
