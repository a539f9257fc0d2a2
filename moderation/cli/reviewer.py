"""modctl reviewer: the people who review, and their tokens."""

from __future__ import annotations

import hashlib
import secrets

import click

from moderation.cli.shared import (
    actor_option,
    by_whom,
    confirm,
    json_option,
    local_time,
    parts,
    print_facts,
    print_json,
    print_table,
    say,
    yes_option,
)
from moderation.domain.review import Role

_TOKEN_BYTES = 32  # 256 bits: nobody guesses it, so that a plain sha256 of it can be kept
reason_option = click.option("--reason", default="", help="Why; kept in the audit trail.")


@click.group()
def command() -> None:
    """The people who review: add, list, remove."""


@command.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice([each.value for each in Role]), default=Role.REVIEWER.value, show_default=True
)
@click.option("--trusted", is_flag=True, help="The word of this reviewer alone makes a label trusted.")
@reason_option
@actor_option
@yes_option
@json_option
def add(name: str, role: str, trusted: bool, reason: str, actor: str, yes: bool, as_json: bool) -> None:
    """Add NAME, and show the token that they log in with; only its hash is kept.

    For a known name: a new role and a new token, and the old token is worth nothing any more.
    """
    from moderation.domain.review import check_reviewer

    try:
        check_reviewer(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    with parts() as wiring:
        if (known := wiring.reviewers.get(name)) is not None:
            say(f"{name} is known: role {known.role} -> {role}, trusted {known.is_trusted} -> {trusted}, a new token")
            confirm("Change this reviewer?", yes=yes)
        by = by_whom(wiring, actor, reason)
        saved = wiring.reviewers.save(name, Role(role), is_trusted=trusted, token_sha256=digest, by=by)
    if as_json:
        print_json({"name": saved.name, "role": saved.role, "trusted": saved.is_trusted, "token": token})
        return
    print_facts({"name": saved.name, "role": saved.role, "trusted": "yes" if trusted else "no", "token": token})
    say("Pass the token on now: it is not kept, and can't be shown again.")


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All reviewers, those who were removed among them."""
    with parts() as wiring:
        found = wiring.reviewers.list()
    if as_json:
        for reviewer in found:
            print_json(reviewer)
    elif found:
        rows = [
            (r.name, r.role, "yes" if r.is_trusted else "", "" if r.is_active else "removed", local_time(r.created_at))
            for r in found
        ]
        print_table(("reviewer", "role", "trusted", "state", "since"), rows, fold=("reviewer",), spare=("since",))
    else:
        click.echo("No reviewer is registered. Add one: modctl reviewer add NAME")


@command.command()
@click.argument("name")
@reason_option
@actor_option
@yes_option
@json_option
def remove(name: str, reason: str, actor: str, yes: bool, as_json: bool) -> None:
    """Take NAME's token away. What they said stays."""
    with parts() as wiring:
        confirm(f"Remove {name}?", yes=yes)
        wiring.reviewers.remove(name, by=by_whom(wiring, actor, reason))
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        click.echo(f"{name} can't log in any more.")
