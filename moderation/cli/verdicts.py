"""modctl verdicts: what the machine said."""

from __future__ import annotations

from datetime import datetime

import click

from moderation.cli.shared import Since, json_option, local_time, parts, print_json, print_table, say


@click.command()
@click.argument("image_id", required=False)
@click.option("--source", help="Only this source's.")
@click.option("--decision", type=click.Choice(["ALLOW", "REVIEW", "BLOCK"], case_sensitive=False), help="Only these.")
@click.option("--since", type=Since(), help="Only newer ones: a span back (90m, 24h, 7d) or an ISO time.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="So many at most, newest first.")
@click.option("--all", "everything", is_flag=True, help="No limit.")
@json_option
def command(
    image_id: str | None,
    source: str | None,
    decision: str | None,
    since: datetime | None,
    limit: int,
    everything: bool,
    as_json: bool,
) -> None:
    """The verdicts so far, the newest first; all of one image's with IMAGE_ID."""
    from moderation.domain.submission import check_image_id
    from moderation.domain.verdict import Decision
    from moderation.errors import ImageFailed, UnknownImage

    with parts() as wiring:
        known = submission = None
        if image_id is not None:
            try:
                known = check_image_id(image_id)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
            submission = wiring.submissions.get(known)
            if submission is None:
                raise UnknownImage(image_id)
        found = wiring.verdicts.list(
            image_id=known,
            source=source,
            decision=Decision(decision) if decision else None,
            since=since,
            limit=None if everything else limit,
        )
    if known is not None and submission is not None and submission.reason:
        failure = ImageFailed(known, submission.reason, submission.detail)
        if not found:
            raise failure
        say(f"The newest round failed: {failure}")
    if as_json:
        for verdict in found:
            print_json(verdict)
    elif found:
        rows = [
            (v.image_id, v.source, v.decision, f"{v.probability:.3f}", f"{v.margin:+.2f}", v.backbone, v.prompt_id,
             local_time(v.created_at))
            for v in found
        ]  # fmt: skip
        columns = ("image", "source", "decision", "P(fake)", "margin", "backbone", "prompt", "when")
        print_table(
            columns,
            rows,
            right=("P(fake)", "margin"),
            fold=("image", "source"),
            spare=("margin", "prompt", "source", "when"),
        )
    else:
        click.echo("No verdict yet." if image_id else "No verdict fits.")
