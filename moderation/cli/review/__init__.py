"""modctl review: people look at pictures, at the screen or by script."""

from __future__ import annotations

import click

from moderation.cli.review.answer import escalate, label, skip, undo
from moderation.cli.review.look import history, list_, next_, stats
from moderation.cli.review.options import reviewer_options
from moderation.cli.review.sit import sit


@click.group(invoke_without_command=True)
@reviewer_options
@click.option("--no-images", is_flag=True, help="Draw no picture; z still opens it in a viewer.")
@click.pass_context
def command(context: click.Context, reviewer: str, senior: bool, no_images: bool) -> None:
    """Look at pictures and say what they are: one after the other, by single keys.

    The score is shown once the answer is in. q and Ctrl-C give the picture back to the others; ? lists the keys.
    For scripts there are the commands below.
    """
    if context.invoked_subcommand is None:
        sit(reviewer, senior=senior, images=not no_images)


for each in (list_, next_, label, skip, escalate, undo, stats, history):
    command.add_command(each)
