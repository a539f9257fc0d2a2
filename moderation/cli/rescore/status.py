"""modctl rescore status, cancel: how runs stand, and how to end one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moderation.cli.rescore.view import diff_json, print_diff, run_line, say_failures
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
    reason_option,
    say,
    yes_option,
)

if TYPE_CHECKING:
    from moderation.domain.rescore import RescoreRun


@click.command()
@click.argument("number", type=int, required=False, metavar="[RUN]")
@click.option("--watch", is_flag=True, help="Follow the run until it has ended; without RUN, the newest.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True,
              help="Name so many of the images that would change.")  # fmt: skip
@json_option
def status(number: int | None, watch: bool, limit: int, as_json: bool) -> None:
    """How rescoring runs stand; of RUN, all that is known and what it would change."""
    from moderation.cli.rescore.follow import follow, say_if_nobody_listens
    from moderation.domain.rescore import RescoreId, RescoreState

    with parts() as wiring:
        runs = [wiring.rescores.get(RescoreId(number))] if number is not None else wiring.rescores.list()
        if not runs:
            say("Nothing was ever scored again. Begin: modctl rescore")
            return
        if number is None and not watch:
            _print_list(runs, as_json)
            return
        run = runs[0]
        if watch and run.is_open:
            say_if_nobody_listens(wiring)
            run = follow(wiring, run)
        diff = wiring.comparer.diff(run, limit=limit) if run.state is RescoreState.DONE else None
        if as_json:
            print_json({"run": run, "diff": diff_json(diff) if diff else None})
            return
        _print_run(run)
        if diff is not None:
            click.echo("")
            print_diff(diff)


@click.command()
@click.argument("number", type=int, metavar="RUN")
@yes_option
@reason_option
@actor_option
@json_option
def cancel(number: int, yes: bool, reason: str, actor: str, as_json: bool) -> None:
    """End RUN. Scores that were made stay, and a later run need not make them again."""
    from moderation.domain.rescore import RescoreId

    with parts() as wiring:
        say(run_line(wiring.rescores.get(RescoreId(number))))
        confirm("End it?", yes=yes)
        run = wiring.rescores.cancel(RescoreId(number), by_whom(wiring, actor, reason))
    if as_json:
        print_json(run)
    else:
        click.echo(f"Run {run.run_id} is cancelled; {run.scored:,} of {run.images:,} images have a new score.")


def _print_list(runs: list[RescoreRun], as_json: bool) -> None:
    if as_json:
        for run in runs:
            print_json(run)
        return
    rows = [
        (run.run_id, run.state, run.scope.described(), run.prompt_id, f"{run.images:,}", f"{run.scored:,}",
         f"{run.failed:,}", f"{run.applied:,}", local_time(run.created_at))
        for run in runs
    ]  # fmt: skip
    numbers = ("images", "scored", "failed", "applied")
    print_table(
        ("run", "state", "which", "prompt", *numbers, "begun"),
        rows,
        right=("run", *numbers),
        fold=("which",),
        spare=("prompt", "begun"),
    )


def _print_run(run: RescoreRun) -> None:
    print_facts(
        {
            "run": run.run_id,
            "state": f"{run.state}: {run.error}" if run.error else run.state,
            "which": run.scope.described(),
            "prompt": run.prompt_id,
            "rate": f"at most {run.rate:g} images a second",
            "scored": f"{run.scored:,} of {run.images:,}",
            "failed": f"{run.failed:,}",
            "applied": f"{run.applied:,}",
            "begun": f"{local_time(run.created_at)} by {run.actor}" + (f": {run.reason}" if run.reason else ""),
            "ended": local_time(run.finished_at) or "not yet",
        }
    )
    say_failures(run)
