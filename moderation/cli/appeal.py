"""modctl appeal: other eyes for an image."""

from __future__ import annotations

import click

from moderation.cli.review.options import image_id
from moderation.cli.shared import actor_option, by_whom, json_option, parts, print_json
from moderation.errors import ModerationError, NotYetScored


@click.command()
@click.argument("image", metavar="IMAGE_ID")
@click.option("--reason", required=True, help="Why; shown to the reviewer and kept in the audit trail.")
@actor_option
@json_option
def command(image: str, reason: str, actor: str, as_json: bool) -> None:
    """Put an image before a reviewer who has not judged it, with its history."""
    from moderation.flows.reviewing.appeal import appeal

    known = image_id(image)
    with parts() as wiring:
        try:
            opened = appeal(
                known,
                by=by_whom(wiring, actor, reason),
                submissions=wiring.submissions,
                verdicts=wiring.verdicts,
                tasks=wiring.review_tasks,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        except NotYetScored:
            problem = (
                f"{image}: there is no verdict yet that could be appealed; where it stands: modctl verdicts {image}"
            )
            raise ModerationError(problem) from None
    if as_json:
        print_json({"image_id": known, "opened": opened})
    else:
        click.echo("The appeal is open." if opened else "An appeal is open already; nothing was changed.")
