"""modctl audit: the audit trail."""

from __future__ import annotations

import json
from datetime import datetime

import click

from moderation.cli.shared import Since, counted, json_option, local_time, parts, print_json, print_table, say

_BROKEN = 4


@click.group()
def command() -> None:
    """The audit trail: who changed what and why, and whether it is whole."""


@command.command()
@click.option("--kind", help="Only events of this kind, such as policy.set or review.answer.")
@click.option("--image", "image_id", help="Only events about this image.")
@click.option("--since", type=Since(), help="Only newer ones: a span back (90m, 24h, 7d) or an ISO time.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="So many at most, newest first.")
@click.option("--all", "everything", is_flag=True, help="No limit.")
@json_option
def log(
    kind: str | None, image_id: str | None, since: datetime | None, limit: int, everything: bool, as_json: bool
) -> None:
    """What was done, the newest first: by whom, why, and to which image."""
    with parts() as wiring:
        found = wiring.events.list(kind=kind, image_id=image_id, since=since, limit=None if everything else limit)
    if as_json:
        for event in found:
            print_json(event)
        return
    if not found:
        click.echo("No event fits.")
        return
    rows = [
        (event.seq, local_time(event.created_at), event.kind, event.actor, event.image_id, event.reason,
         json.dumps(event.payload, ensure_ascii=False))
        for event in found
    ]  # fmt: skip
    print_table(
        ("seq", "when", "kind", "actor", "image", "reason", "details"),
        rows,
        right=("seq",),
        fold=("actor", "image", "reason", "details"),
        spare=("details", "when"),
    )


@command.command()
@json_option
def verify(as_json: bool) -> None:
    """Whether the trail is whole: exit code 4 and the first broken seq where an event was changed or removed.

    Keep the last hash elsewhere now and then: whoever may write to the database could make the whole chain anew.
    """
    with parts() as wiring:
        events, broken = wiring.events.verify()
        last = wiring.events.list(limit=1)
    if as_json:
        problem = {"seq": broken.seq, "problem": broken.problem} if broken else None
        print_json({"events": events, "last_hash": last[0].hash if last else None, "broken": problem})
    elif broken is None:
        click.echo(f"The audit trail is whole: {counted(events, 'event')}.")
        if last:
            click.echo(f"The last one's hash is {last[0].hash}.")
    if broken is not None:
        say(f"Error: the audit trail is broken at seq {broken.seq}: {broken.problem}")
        raise SystemExit(_BROKEN)
