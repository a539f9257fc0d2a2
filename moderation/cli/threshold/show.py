"""modctl threshold show, history: the thresholds that hold, and those that did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.shared import json_option, local_time, parts, print_json, print_table, say

if TYPE_CHECKING:
    from moderation.domain.policy import Policy

_NUMBERS = ("review at", "block at", "audit rate", "block check")


@click.command()
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
    rows = [
        (
            policy.source,
            *_numbers(policy),
            policy.policy_id,
            policy.author,
            policy.reason,
            local_time(policy.created_at),
        )
        for policy in shown
    ]
    print_table(
        ("source", *_NUMBERS, "version", "author", "reason", "since"),
        rows,
        right=(*_NUMBERS, "version"),
        fold=("source", "author", "reason"),
        spare=("since", "author", "version", "block check"),
    )
    say("'*' stands for every source without thresholds of its own.")


@click.command()
@click.option("--source", help="Only this source's versions ('*': those for all without their own).")
@json_option
def history(source: str | None, as_json: bool) -> None:
    """All versions of the thresholds, the newest first, with who set them and why."""
    with parts() as wiring:
        versions = wiring.policies.history(source)
    if as_json:
        for policy in versions:
            print_json(policy)
        return
    if not versions:
        click.echo(f"{source} has no thresholds of its own; those of '*' hold.")
        return
    rows = [
        (policy.policy_id, policy.source, *_numbers(policy), policy.author, policy.reason, policy.parent,
         local_time(policy.created_at))
        for policy in versions
    ]  # fmt: skip
    print_table(
        ("version", "source", *_NUMBERS, "author", "reason", "parent", "when"),
        rows,
        right=("version", *_NUMBERS, "parent"),
        fold=("source", "author", "reason"),
        spare=("parent", "block check", "audit rate", "when"),
    )


def _numbers(policy: Policy) -> Sequence[Any]:
    at = policy.thresholds
    return at.review_at, at.block_at, at.audit_rate, at.block_check_rate
