"""modctl prompt compare: two prompts on what both have scored."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from moderation.cli.figures import aligned
from moderation.cli.shared import Since, counted, json_option, parts, print_json, print_table, say
from moderation.domain.prompt import PromptState
from moderation.domain.verdict import Decision

if TYPE_CHECKING:
    from moderation.domain.agreement import Share
    from moderation.domain.prompt import PromptRecord
    from moderation.domain.side_by_side import Weighed
    from moderation.flows.registry.compare import Compared

_LABEL = {None: "", True: "fake", False: "real"}
_ENDS = {0.0: "lowest", 0.5: "median", 1.0: "highest"}


@click.command()
@click.argument("first", metavar="[ACTIVE", required=False)
@click.argument("second", metavar="SHADOW]", required=False)
@click.option("--since", type=Since(), help="Only images that both scored since: a span back (7d) or an ISO time.")
@click.option("--source", help="Only images of this source.")
@click.option("--include-weak", is_flag=True, help="Count labels that rest on one person's word, too.")
@click.option("--limit", type=click.IntRange(0), default=10, show_default=True, help="Show so many differing images.")
@json_option
def compare(
    first: str | None,
    second: str | None,
    since: datetime | None,
    source: str | None,
    include_weak: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Two prompts on the images that both have scored, and who was right about those that people have labelled.

    Without ids, the active prompt and its shadow. Whether scores decided or were a shadow's makes no difference;
    decisions are what today's thresholds make of them. Differences are second minus first.
    """
    from moderation.domain.evidence import rule_of
    from moderation.flows.registry.compare import Asked, Comparer, named
    from moderation.storage.drawn import Drawn
    from moderation.storage.policies import for_sources
    from moderation.storage.side_by_side import SideBySide

    with parts() as wiring:
        one, other = named(wiring.prompts, first, second)
        policies = wiring.policies.current()
        for_sources(policies, ["*"])
        comparer = Comparer(SideBySide(wiring.database), Drawn(wiring.database), wiring.reviews, wiring.reviewers)
        found = comparer.compare(
            one.prompt_id, other.prompt_id, rule_of(policies), Asked(source, since, include_weak, limit)
        )
    if as_json:
        print_json(found)
    elif found.images:
        _show(found, one, other)
    else:
        click.echo("No image was scored by both" + (" that fits." if source or since else " yet."))
        if PromptState.SHADOW in (one.state, other.state):
            say("The shadow scores from the next batch on; workers of an older version know no shadow.")
        else:
            say(f"Let one score beside the other: modctl prompt shadow {other.prompt_id}")


def _show(found: Compared, one: PromptRecord, other: PromptRecord) -> None:
    click.echo(f"{counted(found.images, 'image')} scored by both; decisions by today's thresholds")
    click.echo(f"first:  {_named(one)}\nsecond: {_named(other)}\n")
    rows = [["first \\ second", *Decision]]
    rows += [[first, *(f"{found.decisions[first][second]:,}" for second in Decision)] for first in Decision]
    click.echo("\n".join(aligned(rows)))
    click.echo(f"\nsame decision  {_share(found.alike)}\n\nP(fake), second minus first")
    quantiles = [[_ENDS.get(at, f"{100 * at:g} %") for at in found.differences]]
    click.echo("\n".join(aligned([*quantiles, [f"{gap:+.3f}" for gap in found.differences.values()]])))
    if found.differing:
        click.echo("\nMost differing")
        print_table(
            ("image", "source", "first", "second", "decisions", "label"),
            [(each.image_id, each.source, f"{each.first:.3f}", f"{each.second:.3f}",
              f"{each.first_decision} -> {each.second_decision}", _LABEL[each.is_fake]) for each in found.differing],
            right=("first", "second"),
            fold=("image", "source"),
            spare=("source",),
        )  # fmt: skip
    _show_reviewed(found)


def _show_reviewed(found: Compared) -> None:
    judged = found.reviewed
    left = f"; {counted(found.weak_left_out, 'weak label')} left out (--include-weak)" if found.weak_left_out else ""
    if not judged.images:
        click.echo(f"\nNone of these images has a trusted label{left}: who was right is not known.")
        return
    weak = f", {found.weak} by one person's word" if found.weak else ""
    click.echo(f"\n{counted(judged.images, 'image')} with a label ({judged.fakes} fake{weak}){left}")
    rows = [["", "first", "second"]]
    rows.append(["right at the review threshold", _share(judged.first), _share(judged.second)])
    if found.of_all is not None:
        rows.append(["the same, of all images", *map(_share, found.of_all)])
    if found.first_auc is not None and found.second_auc is not None:
        rows.append(["AUC", f"{found.first_auc:.4f}", f"{found.second_auc:.4f}"])
    rows.append(["right alone", f"{judged.only_first:,}", f"{judged.only_second:,}"])
    click.echo("\n".join(aligned(rows)))
    click.echo(f"right more often: {judged.better} (exact McNemar p = {judged.p_value:.2g})")
    say("People look most at what the deciding prompt was unsure of, where it has to look bad. The row 'of all images'")
    say("allows for that: a labelled image stands for those like it that nobody was asked about.")


def _named(record: PromptRecord) -> str:
    return f"{record.prompt_id} ({record.state}, {record.name})"


def _share(found: Share | Weighed) -> str:
    return f"{100 * (found.value or 0):.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"
