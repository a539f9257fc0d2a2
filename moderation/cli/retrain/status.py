"""modctl retrain status: how training runs stand."""

from __future__ import annotations

import click

from moderation.cli.retrain.follow import follow, say_if_nobody_listens
from moderation.cli.retrain.view import print_outcome, print_run, print_runs
from moderation.cli.shared import json_option, parts, print_json, say
from moderation.errors import ServiceDown


@click.command()
@click.argument("number", type=int, required=False, metavar="[RUN]")
@click.option("--watch", is_flag=True, help="Follow the run until it has ended; without RUN, the open one.")
@json_option
def status(number: int | None, watch: bool, as_json: bool) -> None:
    """How training runs stand; of RUN, all that is known and the gate's table.

    With --watch the exit code is that of the run: 4 where the gate refused the candidate.
    """
    from moderation.domain.training_run import RunId

    with parts() as wiring:
        runs = [wiring.training_runs.get(RunId(number))] if number is not None else wiring.training_runs.list()
        if not runs:
            say("Nothing was retrained yet. See what it would learn from: modctl retrain --dry-run")
        elif watch:
            run = next((each for each in runs if each.is_open), runs[0])
            if run.state == "queued":
                try:
                    say_if_nobody_listens(wiring)
                except ServiceDown as error:
                    say(f"It may wait long: {error}")
            run = follow(wiring, run) if run.is_open else run
            raise SystemExit(print_outcome(wiring, run, as_json=as_json))
        elif number is not None:
            print_json(runs[0]) if as_json else print_run(runs[0])
        elif as_json:
            for run in runs:
                print_json(run)
        else:
            print_runs(runs)
