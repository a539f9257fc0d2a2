"""modctl threshold set, rollback: a new version of the thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moderation.cli.shared import actor, actor_option, confirm, json_option, parts, print_json, say, yes_option
from moderation.cli.threshold.proposal import NAMES, affected, check_source, described, proposed, threshold_options

if TYPE_CHECKING:
    from moderation.domain.policy import Policy, Thresholds
    from moderation.wiring import Wiring

reason_option = click.option("--reason", required=True, help="Why; kept with the version.")


@click.command("set")
@threshold_options
@reason_option
@actor_option
@yes_option
@json_option
def set_(
    review_at: float | None,
    block_at: float | None,
    audit_rate: float | None,
    block_check_rate: float | None,
    source: str,
    reason: str,
    actor: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Set thresholds: a new version, for images scored from now on. Stored scores stay as they are.

    What is not given stays as it is. What would have changed on the stored scores is shown before it asks.
    """
    from moderation.storage.policies import for_sources

    check_source(source)
    _check_reason(reason)
    given = dict(zip(NAMES, (review_at, block_at, audit_rate, block_check_rate), strict=True))
    with parts() as wiring:
        before = for_sources(wiring.policies.current(), [source])[source].thresholds
        after = proposed(before, given)
        _show_and_ask(wiring, source, before, after, yes=yes)
        policy = wiring.policies.set(source, after, author=_author(wiring, actor), reason=reason)
    _report(policy, as_json)


@click.command()
@click.argument("version", type=int)
@reason_option
@actor_option
@yes_option
@json_option
def rollback(version: int, reason: str, actor: str, yes: bool, as_json: bool) -> None:
    """Go back to the numbers of VERSION: a new version of its source, so that nothing is lost.

    `modctl threshold history` lists the versions.
    """
    from moderation.domain.policy import PolicyId
    from moderation.storage.policies import for_sources

    _check_reason(reason)
    with parts() as wiring:
        old = wiring.policies.get(PolicyId(version))
        before = for_sources(wiring.policies.current(), [old.source])[old.source].thresholds
        if old.thresholds == before:
            raise click.UsageError(f"the numbers of version {version} hold for source {old.source} already")
        _show_and_ask(wiring, old.source, before, old.thresholds, yes=yes)
        author = _author(wiring, actor)
        policy = wiring.policies.set(old.source, old.thresholds, author=author, reason=reason, restores=old.policy_id)
    _report(policy, as_json)


def _show_and_ask(wiring: Wiring, source: str, before: Thresholds, after: Thresholds, *, yes: bool) -> None:
    say(f"source {source}")
    for name in NAMES:
        old, new = getattr(before, name), getattr(after, name)
        say(f"{name:<16}  {old} -> {new}" if old != new else f"{name:<16}  {old}, as before")
    if not yes:
        from moderation.flows.reviewing.threshold import preview

        scope = affected(source, None, wiring.policies.current())
        say("\n" + "\n".join(described(preview(wiring.archive, scope, before, after))) + "\n")
    confirm("Set these thresholds?", yes=yes)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise click.UsageError("--reason is empty; say in a few words why")


def _author(wiring: Wiring, given: str) -> str:
    return actor(given.strip() or wiring.settings.actor)


def _report(policy: Policy, as_json: bool) -> None:
    if as_json:
        print_json(policy)
        return
    whom = "every source without its own" if policy.source == "*" else policy.source
    click.echo(f"Version {policy.policy_id} holds for {whom}.")
