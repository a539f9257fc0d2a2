"""modctl threshold: the policy."""

from __future__ import annotations

import click

from moderation.cli.threshold.change import rollback, set_
from moderation.cli.threshold.preview import preview
from moderation.cli.threshold.show import history, show
from moderation.cli.threshold.suggest import suggest


@click.group()
def command() -> None:
    """From which probability people look, and pictures are blocked."""


for each in (show, history, set_, rollback, preview, suggest):
    command.add_command(each)
