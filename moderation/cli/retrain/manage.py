"""modctl retrain cancel, resume, report: what can be done with a run."""

from __future__ import annotations

import gzip
from pathlib import Path

import click

from moderation.cli.retrain.follow import work_here
from moderation.cli.retrain.view import print_outcome
from moderation.cli.shared import (
    actor_option,
    by_whom,
    confirm,
    json_option,
    parts,
    print_json,
    reason_option,
    say,
    yes_option,
)

_number = click.argument("number", type=int, metavar="RUN")


@click.command()
@_number
@yes_option
@reason_option
@actor_option
@json_option
def cancel(number: int, yes: bool, reason: str, actor: str, as_json: bool) -> None:
    """End RUN without a candidate. One under way stops after the step it is at."""
    from moderation.domain.training_run import RunId

    with parts() as wiring:
        say(f"Run {number} is {wiring.training_runs.get(RunId(number)).state}.")
        confirm("End it?", yes=yes)
        run = wiring.training_runs.cancel(RunId(number), by_whom(wiring, actor, reason))
    if as_json:
        print_json(run)
    else:
        click.echo(f"Run {run.run_id} is asked to stop." if run.is_open else f"Run {run.run_id} is cancelled.")


@click.command()
@_number
@json_option
def resume(number: int, as_json: bool) -> None:
    """Go on with RUN in this process, from its last epoch, if no worker has it."""
    from moderation.cli.extras import check_training
    from moderation.domain.training_run import RunId

    check_training()
    with parts() as wiring:
        run = wiring.training_runs.get(RunId(number))
        if run.is_open:
            _ = wiring.backbone  # before the run is taken
            run = work_here(wiring, run)
        raise SystemExit(print_outcome(wiring, run, as_json=as_json))


@click.command()
@_number
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE",
              help="Where the HTML page goes.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite the file.")
def report(number: int, out: Path, force: bool) -> None:
    """Write RUN's report: one HTML page that needs nothing else."""
    from moderation.domain.training_run import RunId
    from moderation.errors import ConfigurationError
    from moderation.flows.registry.prompt import write_file

    with parts() as wiring:
        packed = wiring.training_runs.report(RunId(number))
        if packed is None:
            state = wiring.training_runs.get(RunId(number)).state
            raise ConfigurationError(
                f"run {number}", f"has no report: it is {state}", hint="see: modctl retrain status"
            )
    write_file(out, gzip.decompress(packed), force=force)
    click.echo(f"Written: {out}")
