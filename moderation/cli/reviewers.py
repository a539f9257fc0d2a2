"""modctl reviewers: how the reviewers do."""

from __future__ import annotations

import click

from moderation.cli.shared import json_option, local_time, parts, print_json, print_table
from moderation.domain.agreement import Record, Share, records


@click.command()
@json_option
def command(as_json: bool) -> None:
    """How the reviewers do: pace, accuracy on gold, agreement with the others.

    Accuracy is over the gold answered real or fake, with a 95 % interval (Wilson). Kappa (Cohen) is over images that
    others answered too: 1 is full agreement, 0 what chance would give.
    """
    with parts() as wiring:
        found = records(wiring.reviews.list(), wiring.gold.truths())
    if as_json:
        for record in found:
            print_json(record)
    elif found:
        columns = (
            "reviewer",
            "answers",
            "unsure",
            "s/answer",
            "a minute",
            "gold",
            "right on gold",
            "kappa",
            "pairs",
            "last",
        )
        right = columns[1:-1]
        spare = ("last", "unsure", "pairs", "a minute", "gold")
        print_table(columns, [_row(each) for each in found], right=right, fold=("reviewer",), spare=spare)
    else:
        click.echo("Nobody has reviewed yet. Begin: modctl review")


def _row(record: Record) -> tuple[object, ...]:
    return (
        record.reviewer,
        record.answers,
        record.unsure,
        _number(record.median_s),
        _number(record.per_minute),
        record.on_gold.total,
        _share(record.on_gold),
        _number(record.agreement.kappa, ".2f"),
        record.agreement.pairs,
        local_time(record.last_at),
    )


def _number(value: float | None, form: str = ".1f") -> str:
    return "" if value is None else format(value, form)


def _share(share: Share) -> str:
    if share.value is None:
        return ""
    return f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"
