"""modctl threshold: the policy."""

from __future__ import annotations

from dataclasses import replace

import click

from moderation.cli.shared import (
    actor,
    confirm,
    json_option,
    local_time,
    parts,
    print_json,
    print_table,
    say,
    yes_option,
)


@click.group()
def command() -> None:
    """From which probability people look, and pictures are blocked."""


@command.command()
@click.option("--source", help="What holds for this source.")
@json_option
def show(source: str | None, as_json: bool) -> None:
    """The thresholds that hold now."""
    from moderation.storage.policies import for_sources

    with parts() as wiring:
        policies = wiring.policies.current()
    shown = list(for_sources(policies, [source]).values()) if source else list(policies.values())
    if as_json:
        for policy in shown:
            print_json(policy)
        return
    rows = []
    for policy in shown:
        at = policy.thresholds
        numbers = (at.review_at, at.block_at, at.audit_rate, at.block_check_rate, policy.policy_id)
        rows.append((policy.source, *numbers, policy.author, policy.reason, local_time(policy.created_at)))
    columns = ("source", "review at", "block at", "audit rate", "block check", "version", "author", "reason", "since")
    print_table(
        columns,
        rows,
        right=columns[1:6],
        fold=("source", "author", "reason"),
        spare=("since", "author", "version", "block check"),
    )
    say("'*' stands for every source without thresholds of its own.")


@command.command("set")
@click.option("--review-at", type=float, help="From this P(fake) on a person looks (0..1).")
@click.option("--block-at", type=float, help="From this P(fake) on the picture is blocked (0..1).")
@click.option("--audit-rate", type=float, help="Share of allowed pictures to be checked (0..1).")
@click.option("--block-check-rate", type=float, help="Share of blocked pictures to be checked (0..1).")
@click.option("--source", default="*", show_default=True, help="For this source only.")
@click.option("--reason", required=True, help="Why; kept with the version.")
@yes_option
@json_option
def set_(
    review_at: float | None,
    block_at: float | None,
    audit_rate: float | None,
    block_check_rate: float | None,
    source: str,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Set thresholds: a new version, for images scored from now on. Stored scores stay as they are.

    What is not given stays as it is.
    """
    from moderation.flows.submit import MAX_SOURCE_CHARS
    from moderation.storage.policies import for_sources

    given = {
        "review_at": review_at,
        "block_at": block_at,
        "audit_rate": audit_rate,
        "block_check_rate": block_check_rate,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to set: give --review-at, --block-at, --audit-rate or --block-check-rate")
    if not source or len(source) > MAX_SOURCE_CHARS or not source.isprintable():
        raise click.UsageError(f"--source has 1 to {MAX_SOURCE_CHARS} printable characters: {source[:60]!r}")
    if not reason.strip():
        raise click.UsageError("--reason is empty; say in a few words why")
    with parts() as wiring:
        before = for_sources(wiring.policies.current(), [source])[source].thresholds
        try:
            after = replace(before, **changes)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        say(f"source {source}")
        for name in given:
            old, new = getattr(before, name), getattr(after, name)
            say(f"{name:<16}  {old} -> {new}" if old != new else f"{name:<16}  {old}, as before")
        confirm("Set these thresholds?", yes=yes)
        policy = wiring.policies.set(source, after, author=actor(wiring.settings.actor), reason=reason)
    if as_json:
        print_json(policy)
    else:
        click.echo(
            f"Version {policy.policy_id} holds for {'every source without its own' if source == '*' else source}."
        )
