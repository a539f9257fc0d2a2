"""Who reviews: the options that say so, and the desk that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.shared import actor
from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from moderation.domain.submission import ImageId
    from moderation.flows.reviewing.review import Desk
    from moderation.wiring import Wiring


def _or_parents(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """What was given before the name of the command holds as well: modctl review --reviewer ann label ..."""
    above = context.parent.params if context.parent else {}
    return value or above.get(parameter.name or "", value)


def reviewer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--reviewer and --senior, as the arguments `reviewer` and `senior`."""
    for option in (
        click.option("--senior", is_flag=True, callback=_or_parents, help="Also what was escalated; seniors always."),
        click.option(
            "--reviewer", default="", callback=_or_parents, help="Who answers; else MODERATION_ACTOR or the login name."
        ),
    ):
        command = option(command)
    return command


def desk_of(wiring: Wiring, reviewer: str, *, senior: bool) -> Desk:
    """This reviewer's desk. A name that nobody registered may review too: whoever runs this holds the database.

    Raises ConfigurationError for a reviewer who was removed.
    """
    from moderation.domain.review import check_reviewer

    try:
        name = check_reviewer(actor(reviewer or wiring.settings.actor))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    known = wiring.reviewers.get(name)
    if known is not None and not known.is_active:
        hint = f"another name: --reviewer; or take them back: modctl reviewer add {name}"
        raise ConfigurationError("reviewer", f"{name} was removed", hint=hint)
    return wiring.desk(name, is_senior=senior or (known is not None and known.is_senior))


def image_id(raw: str) -> ImageId:
    """`raw` as an image id. Raises UsageError."""
    from moderation.domain.submission import check_image_id

    try:
        return check_image_id(raw)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
