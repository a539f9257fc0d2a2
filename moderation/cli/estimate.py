"""modctl estimate: how good the current thresholds are."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from moderation.cli.figures import aligned, kind_name, missing, percent
from moderation.cli.shared import Since, json_option, parts, print_json

if TYPE_CHECKING:
    from moderation.flows.reviewing.threshold import Estimate


@click.command()
@click.option("--source", help="Only images of this source.")
@click.option("--since", type=Since(), help="Only images scored since: a span back (90m, 24h, 7d) or an ISO time.")
@json_option
def command(source: str | None, since: datetime | None, as_json: bool) -> None:
    """How good the current thresholds are, from what people said.

    Shown are the prevalence of fakes, false positives, recall and precision, with 95 % intervals in brackets. Each
    labelled image stands for those like it that nobody was asked about.
    """
    from moderation.domain.evidence import Scope, rule_of
    from moderation.flows.reviewing.threshold import estimate
    from moderation.storage.policies import for_sources

    with parts() as wiring:
        policies = wiring.policies.current()
        for_sources(policies, ["*"])
        found = estimate(wiring.archive, Scope(source=source, since=since), rule_of(policies))
    if as_json:
        print_json(found)
    elif not found.images:
        click.echo("No image has a verdict yet." if not (source or since) else "No verdict fits.")
    else:
        click.echo("\n".join(_lines(found)))


def _lines(found: Estimate) -> list[str]:
    kinds = [["", "images", "drawn", "labelled", "fakes among them"]]
    for each in found.kinds:
        at = each.coverage
        kinds.append([kind_name(at.kind), f"{at.images:,}", f"{at.drawn:,}", f"{at.labelled:,}", percent(each.fakes)])
    rows = [["", "at review_at", "at block_at"]]
    for name in ("false_positive_rate", "recall", "precision"):
        pair = [percent(getattr(threshold, name)) for threshold in (found.review_at, found.block_at)]
        rows.append([name.replace("_", " "), *pair])
    return [
        f"{found.images:,} images by prompt {found.prompt_id}",
        "",
        *aligned(kinds),
        "",
        f"prevalence of fakes  {percent(found.prevalence)}",
        "",
        *aligned(rows),
        *missing([each.coverage for each in found.kinds]),
    ]
