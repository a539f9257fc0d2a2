"""modctl retrain: learn from what people said, and prove it before anything changes."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from moderation.cli.retrain.manage import cancel, report, resume
from moderation.cli.retrain.status import status
from moderation.cli.shared import actor_option, json_option, reason_option, yes_option

_COUNT = click.IntRange(1)


_NO_NAME = set("/\\\0\n")  # what `modctl tune --name` refuses, too


@click.group(invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Show what it would learn from, and stop.")
@click.option("--include-weak", is_flag=True, help="Learn from labels that one person gave, too.")
@click.option("--min-labels", type=_COUNT, help="Labels of each class, at least (MODERATION_RETRAIN_MIN_LABELS).")
@click.option("--per-source", type=_COUNT, help="Images of a class from one source (MODERATION_RETRAIN_PER_SOURCE).")
@click.option("--per-uploader", type=_COUNT, help="... from one uploader (MODERATION_RETRAIN_PER_UPLOADER).")
@click.option("--source", help="Learn from images of this source alone; those held out of all judge.")
@click.option("--no-replay", is_flag=True, help="Rehearse nothing of what the active prompt was tuned on.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=42, show_default=True,
              help="The same seed, labels and active prompt give the same candidate.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1, 10_000), help="Epochs of the word, at most. [by the number of images]")
@click.option("--name", help="What the candidate is called. [retrained-... after what it learned from]")
@click.option("--local", is_flag=True, help="Work in this process, without broker and worker.")
@click.option("--activate", is_flag=True, help="Activate the candidate if the gate passes it; takes --reason.")
@click.option("--watch/--no-watch", default=True, show_default=True, help="Follow the run, or leave it to the worker.")
@yes_option
@reason_option
@actor_option
@json_option
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Retrain the active prompt on reviewed images, and judge the candidate.

    A worker that listens to the queue `training` does it (modctl worker --queues training). Ctrl-C leaves the run to
    it. The gate compares the candidate with the active prompt on images that never train; exit code 4 where it refuses,
    or where there are too few labels. Nothing is activated unless asked for.
    """
    from moderation.cli.retrain.start import Wishes, retrain

    if context.invoked_subcommand is not None:
        for name in context.params:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"options go after {context.invoked_subcommand}, not before it")
        return
    wishes = Wishes(**options)
    if wishes.name is not None and (
        wishes.name != wishes.name.strip() or not wishes.name or set(wishes.name) & _NO_NAME
    ):
        raise click.UsageError(f"--name {wishes.name!r} can't be a name: some characters, no slash, no line break")
    if wishes.activate and not wishes.reason.strip():
        raise click.UsageError("--activate changes what decides: add --reason, in a few words")
    if wishes.local and not wishes.watch:
        raise click.UsageError("--no-watch leaves the run to a worker; it does not go with --local")
    raise SystemExit(retrain(wishes))


for _each in (cancel, report, resume, status):
    command.add_command(_each)
