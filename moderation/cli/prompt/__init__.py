"""modctl prompt: the registry of tuned pseudo-words."""

from __future__ import annotations

import click

from moderation.cli.prompt.calibrate import calibrate
from moderation.cli.prompt.compare import compare
from moderation.cli.prompt.registry import list_, show
from moderation.cli.prompt.transfer import export, import_


@click.group()
def command() -> None:
    """The tuned pseudo-words: list, show, calibrate, import, export."""


for _each in (calibrate, compare, export, import_, list_, show):
    command.add_command(_each)
