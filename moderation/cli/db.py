"""modctl db: the schema."""

from __future__ import annotations

import click

from moderation.cli.shared import confirm, json_option, parts, print_json, yes_option


@click.group()
def command() -> None:
    """The database: create or upgrade its tables, check them."""


@command.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Create the tables or bring them up to date; register the shipped prompt and the default policy."""
    from moderation.flows.registry.install import install
    from moderation.miniature import PROMPT_FILE

    with parts() as wiring:
        done = install(wiring.raw_database, PROMPT_FILE)
        if as_json:
            print_json(done)
            return
        shown = wiring.raw_database.shown
    if done.before == done.after:
        click.echo(f"{shown} was up to date already (revision {done.after}).")
    else:
        click.echo(f"{shown} is now on revision {done.after} (before: {done.before or 'no tables'}).")
    if done.activated:
        click.echo(f"Prompt {done.activated} is active for the miniature backbone.")


@command.command()
@click.argument("revision")
@yes_option
@json_option
def downgrade(revision: str, yes: bool, as_json: bool) -> None:
    """Take the tables back to REVISION ('base' removes them all, with what is in them)."""
    from moderation.storage import schema

    with parts() as wiring:
        database = wiring.raw_database
        confirm(f"Take {database.shown} from revision {schema.current(database)} back to {revision}?", yes=yes)
        before, after = schema.downgrade(database, revision)
        shown = database.shown
    if as_json:
        print_json({"before": before, "after": after})
    else:
        click.echo(f"{shown} is now on revision {after or '(no tables)'} (before: {before or 'no tables'}).")


@command.command()
@json_option
def current(as_json: bool) -> None:
    """The revision the database is on, and the one this code needs."""
    from moderation.storage import schema

    with parts() as wiring:
        found = schema.current(wiring.raw_database)
        if as_json:
            print_json({"database": wiring.raw_database.shown, "found": found, "needed": schema.HEAD})
        else:
            click.echo(
                f"{wiring.raw_database.shown}: revision {found or '(no tables)'}; this code needs {schema.HEAD}."
            )


@command.command()
@json_option
def check(as_json: bool) -> None:
    """Exit 0 if the tables are what this code needs, else 2 with what to do."""
    from moderation.storage import schema

    with parts() as wiring:
        shown = wiring.database.shown
    if as_json:
        print_json({"database": shown, "found": schema.HEAD, "needed": schema.HEAD})
    else:
        click.echo(f"{shown}: the tables are what this code needs.")
