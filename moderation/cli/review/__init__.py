"""modctl review: people look at pictures, at the terminal, in a browser or by script."""

from __future__ import annotations

import click

from moderation.cli.review.answer import escalate, label, skip, undo
from moderation.cli.review.look import history, list_, next_, stats
from moderation.cli.review.options import reviewer_options
from moderation.cli.review.sit import sit, sit_in_browser


@click.group(invoke_without_command=True)
@reviewer_options
@click.option("--no-images", is_flag=True, help="Draw no picture; z still opens it in a viewer.")
@click.option("--web", is_flag=True, help="In a browser, on a page that this machine alone can reach.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The page's port; else a free one.")
@click.option("--no-browser", is_flag=True, help="Print the page's address and open nothing.")
@click.pass_context
def command(
    context: click.Context, reviewer: str, senior: bool, no_images: bool, web: bool, port: int, no_browser: bool
) -> None:
    """Look at pictures and say what they are: one after the other, by single keys.

    The score is shown once the answer is in. q and Ctrl-C give the picture back to the others; ? lists the keys.
    For scripts there are the commands below.
    """
    if context.invoked_subcommand is not None:
        return
    if web:
        sit_in_browser(reviewer, senior=senior, port=port, open_browser=not no_browser)
    else:
        sit(reviewer, senior=senior, images=not no_images)


for each in (list_, next_, label, skip, escalate, undo, stats, history):
    command.add_command(each)
