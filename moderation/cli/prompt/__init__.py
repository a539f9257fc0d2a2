"""modctl prompt: the registry of tuned pseudo-words."""

from __future__ import annotations

import click

from moderation.cli.prompt.calibrate import calibrate
from moderation.cli.prompt.compare import compare
from moderation.cli.prompt.diff import diff
from moderation.cli.prompt.list import list_
from moderation.cli.prompt.show import show
from moderation.cli.prompt.state import activate, rollback, shadow, unshadow
from moderation.cli.prompt.transfer import export, import_
from moderation.cli.prompt.verify import verify


@click.group()
def command() -> None:
    """The tuned pseudo-words: which there are, which one decides, which one scores beside it."""


for _each in (
    activate, calibrate, compare, diff, export, import_, list_, rollback, shadow, show, unshadow, verify,
):  # fmt: skip
    command.add_command(_each)
