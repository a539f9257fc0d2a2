"""modctl drift: whether what comes in, or what people say of it, differs from before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.figures import UNKNOWN
from moderation.cli.shared import json_option, local_time, parts, print_json, print_table, say

if TYPE_CHECKING:
    from moderation.domain.drift import DriftReport, SourceDrift
    from moderation.domain.shift import Share, Shift

_MISSED = 4
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Span(click.ParamType[timedelta]):
    """A length of time: 90m, 24h, 7d, 4w."""

    name = "span"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([1-9]\d{0,8})([mhdw])", value)
        if match is None:
            self.fail(f"{value!r} is no span of time such as 90m, 24h, 7d or 4w")
        try:
            return timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError:
            self.fail(f"{value!r} is too long")


@click.command()
@click.option("--window", type=Span(), default="7d", show_default=True, help="The time looked at: 90m, 24h, 7d.")
@click.option("--baseline", type=Span(), default="30d", show_default=True, help="The time before it to compare with.")
@click.option("--source", help="Only this source.")
@json_option
def command(window: timedelta, baseline: timedelta, source: str | None, as_json: bool) -> None:
    """Whether what comes in, or what people say of it, differs from before.

    For all sources together ('*') and each: how far the scores lie apart (population-stability index and
    Kolmogorov-Smirnov distance), the share flagged (REVIEW or BLOCK), the share of decisions that trusted labels
    overturn, and the share of all images wrongly allowed or blocked, as estimated from audits. Only scores by the
    active prompt are compared. Exit code 4 when a limit is broken (MODERATION_DRIFT_MAX_*). Nothing is changed.
    """
    with parts() as wiring:
        report = wiring.drift_watch.look(window=window, baseline=baseline, source=source)
    if as_json:
        print_json(_plain(report))
    else:
        _show(report)
    if report.broken:
        from moderation.flows.watching.turn import told

        for broken in report.broken:
            say(f"Alarm: {told(broken)}\n  {broken.remedy}")
        raise SystemExit(_MISSED)


def _plain(report: DriftReport) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(report), "broken": [{**asdict(each), "setting": each.setting} for each in report.broken]}


def _show(report: DriftReport) -> None:
    from moderation.domain.drift_limits import ALL_SOURCES

    if not any(each.images or each.images_before for each in report.sources):
        only = report.sources[0].source if len(report.sources) == 1 else ALL_SOURCES
        of = "" if only == ALL_SOURCES else f" of source {only!r}"
        click.echo(f"No image{of} was scored in these spans, so there is nothing to compare.")
        return
    until, split, since = map(local_time, (report.until, report.split, report.since))
    click.echo(f"{split} to {until}, beside {since} to {split}; scores by prompt {report.prompt_id}\n")
    print_table(
        ("source", "images", "before", "PSI", "KS", "p", "flagged", "flagged before", "change"),
        [_scores(each) for each in report.sources],
        right=("images", "before", "PSI", "KS", "p", "flagged", "flagged before", "change"),
        fold=("source",),
    )
    click.echo()
    print_table(
        ("source", "overturned", "ALLOW", "REVIEW", "BLOCK", "wrong, estimated"),
        [_people(each) for each in report.sources],
        right=("overturned", "ALLOW", "REVIEW", "BLOCK", "wrong, estimated"),
        fold=("source",),
    )
    for each in report.sources:
        for note in each.notes:
            say(f"{each.source}: {note}.")
    if not report.broken and report.says_anything:
        say("No limit is broken.")


def _scores(each: SourceDrift) -> Sequence[str]:
    found = each.comparison
    if found is None:
        return (each.source, f"{each.compared:,}", f"{each.compared_before:,}", *[UNKNOWN] * 6)
    return (
        each.source,
        f"{each.compared:,}",
        f"{each.compared_before:,}",
        f"{found.psi.value:.3f}",
        f"{found.ks.value:.3f}",
        _chance(found.ks),
        f"{100 * found.flagged.value:.1f} %",
        f"{100 * found.flagged_before.value:.1f} %",
        f"{100 * found.flagged_change.value:+.1f}",
    )


def _people(each: SourceDrift) -> Sequence[str]:
    from moderation.domain.verdict import Decision

    people, error = each.overturned, each.error
    wrong = f"{100 * error.value:.1f} % [{100 * error.low:.1f}, {100 * error.high:.1f}]" if error else UNKNOWN
    by = [_of(people.by_decision.get(decision)) for decision in (Decision.ALLOW, Decision.REVIEW, Decision.BLOCK)]
    share = people.all
    rate = f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]" if share else UNKNOWN
    return (each.source, rate, *by, wrong)


def _of(share: Share | None) -> str:
    return f"{share.count} of {share.of}" if share else UNKNOWN


def _chance(shift: Shift) -> str:
    return "<.001" if shift.p_value < 0.001 else f"{shift.p_value:.3f}"
