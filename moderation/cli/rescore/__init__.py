"""modctl rescore: stored images scored again with the active prompt, and what that would change."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from click.core import ParameterSource

from moderation.cli.rescore.status import cancel, status
from moderation.cli.shared import Since, actor_option, json_option, reason_option, yes_option
from moderation.domain.verdict import Decision


@click.group(invoke_without_command=True)
@click.option("--source", help="Only images of this source.")
@click.option("--decision", type=click.Choice(list(Decision), case_sensitive=False), help="Only images decided so.")
@click.option("--since", metavar="TIME", help="Only images scored since: a span back (90m, 24h, 7d) or an ISO time.")
@click.option("--again", is_flag=True, help="Also what the active prompt has scored: its scores are in doubt.")
@click.option("--rate", type=click.FloatRange(0, 100_000, min_open=True),
              help="Images a second (MODERATION_RESCORE_RATE).")  # fmt: skip
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True,
              help="Name so many of the images that would change.")  # fmt: skip
@click.option("--apply", "to_apply", is_flag=True, help="Make the new scores the verdicts, after showing what changes.")
@click.option("--local", is_flag=True, help="Score in this process, without broker and worker.")
@click.option("--watch/--no-watch", default=True, show_default=True, help="Follow the run, or leave it to the workers.")
@yes_option
@reason_option
@actor_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    source: str | None,
    decision: Decision | None,
    since: str | None,
    again: bool,
    rate: float | None,
    limit: int,
    to_apply: bool,
    local: bool,
    watch: bool,
    yes: bool,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Score stored images again with the active prompt, and show what that would change.

    Only images whose verdict is another prompt's, unless --again. A worker that listens to the queue `backfill` does it
    (modctl worker --queues backfill), slowly. Ctrl-C leaves the run to it; the same command picks it up again. No
    decision changes before --apply.
    """
    from moderation.cli.rescore.start import Wishes, rescore
    from moderation.domain.rescore import RescoreScope

    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    if not watch and (to_apply or local):
        raise click.UsageError("--no-watch leaves the run to the workers; it goes with neither --apply nor --local")
    scope = RescoreScope(
        source=source,
        decision=Decision(decision) if decision else None,
        since=Since().convert(since, None, context) if since else None,
        words=since or "",
        again_until=datetime.now(UTC) if again else None,
    )
    wishes = Wishes(scope, rate, limit, to_apply, local, watch, yes, reason, actor, as_json)
    raise SystemExit(rescore(wishes))


def _refuse_options(context: click.Context) -> None:
    for name in context.params:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"options go after {context.invoked_subcommand}, not before it")


for _each in (cancel, status):
    command.add_command(_each)
