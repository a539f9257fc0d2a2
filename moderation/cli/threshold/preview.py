"""modctl threshold preview: what other thresholds would change, on stored scores."""

from __future__ import annotations

from datetime import datetime

import click

from moderation.cli.shared import Since, json_option, parts, print_json
from moderation.cli.threshold.proposal import NAMES, affected, check_source, described, proposed, threshold_options


@click.command()
@threshold_options
@click.option("--since", type=Since(), help="Only images scored since: a span back (90m, 24h, 7d) or an ISO time.")
@json_option
def preview(
    review_at: float | None,
    block_at: float | None,
    audit_rate: float | None,
    block_check_rate: float | None,
    source: str,
    since: datetime | None,
    as_json: bool,
) -> None:
    """What other thresholds would change on the stored scores. Nothing is scored, nothing is set.

    What is not given stays as it is. Images count with their newest verdict, by the prompt that scored last.
    """
    from moderation.flows.reviewing.threshold import preview as replay
    from moderation.storage.policies import for_sources

    check_source(source)
    given = dict(zip(NAMES, (review_at, block_at, audit_rate, block_check_rate), strict=True))
    with parts() as wiring:
        policies = wiring.policies.current()
        before = for_sources(policies, [source])[source].thresholds
        after = proposed(before, given)
        found = replay(wiring.archive, affected(source, since, policies), before, after)
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(described(found)))
