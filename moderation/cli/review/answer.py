"""modctl review label, skip, escalate, undo: what a reviewer does with a task, by script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moderation.cli.review.options import desk_of, image_id, reviewer_options
from moderation.cli.shared import json_option, local_time, parts, print_json
from moderation.domain.review import Answer, Evidence, Reason, ReviewId, ReviewTask, Said
from moderation.errors import NoTask

if TYPE_CHECKING:
    from moderation.domain.submission import ImageId
    from moderation.flows.reviewing.review import Desk
    from moderation.wiring import Wiring

image_argument = click.argument("image", metavar="IMAGE_ID")


@click.command()
@image_argument
@click.argument("answer", type=click.Choice([each.value for each in Answer], case_sensitive=False))
@click.option(
    "--evidence",
    multiple=True,
    type=click.Choice([each.value for each in Evidence], case_sensitive=False),
    help="What the answer rests on; several times, if it is several things.",
)
@click.option("--note", default="", help="Words that go with the answer.")
@reviewer_options
@json_option
def label(
    image: str, answer: str, evidence: tuple[str, ...], note: str, reviewer: str, senior: bool, as_json: bool
) -> None:
    """Answer the open task of IMAGE_ID, and show what the machine said."""
    from moderation.cli.review.facts import outcome

    try:
        said = Said(Answer(answer), tuple(each for each in Evidence if each in evidence), note)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with parts() as wiring:
        desk = desk_of(wiring, reviewer, senior=senior)
        done = desk.answer(take(wiring, desk, image), said)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{outcome(done)} (answer {done.review.review_id})")


@click.command()
@image_argument
@reviewer_options
@json_option
def skip(image: str, reviewer: str, senior: bool, as_json: bool) -> None:
    """Leave the open task of IMAGE_ID to others; it is not offered to this reviewer again."""
    with parts() as wiring:
        desk = desk_of(wiring, reviewer, senior=senior)
        task = take(wiring, desk, image)
        desk.skip(task)
    _report(task, "skipped", desk.reviewer, as_json)


@click.command()
@image_argument
@click.option("--reason", required=True, help="Why; the senior sees it.")
@reviewer_options
@json_option
def escalate(image: str, reason: str, reviewer: str, senior: bool, as_json: bool) -> None:
    """Hand the open task of IMAGE_ID to a senior."""
    if not reason.strip():
        raise click.UsageError("--reason is empty; say in a few words why")
    with parts() as wiring:
        desk = desk_of(wiring, reviewer, senior=senior)
        task = take(wiring, desk, image)
        desk.escalate(task, reason)
    _report(task, "escalated", desk.reviewer, as_json)


@click.command()
@click.option("--id", "number", type=click.IntRange(1), help="The answer's number; else this reviewer's newest.")
@click.option("--reason", default="", help="Why; kept in the audit trail.")
@reviewer_options
@json_option
def undo(number: int | None, reason: str, reviewer: str, senior: bool, as_json: bool) -> None:
    """Take an answer back: a new row, nothing is erased. The task is this reviewer's again for a while."""
    with parts() as wiring:
        desk = desk_of(wiring, reviewer, senior=senior)
        task = desk.undo(review_id=ReviewId(number) if number else None, reason=reason)
    if as_json:
        print_json({"undone": True, "image_id": task.image_id if task else None})
    elif task is None:
        click.echo("Taken back; a newer task for the image is open.")
    else:
        click.echo(f"Taken back. {task.image_id} waits for another answer, yours until {local_time(task.lease_until)}.")


def take(wiring: Wiring, desk: Desk, raw: str) -> ReviewTask:
    """The open task of this image, leased. Raises UsageError for what is no id, NoTask with the reason for none."""
    image = image_id(raw)
    task = desk.take(image)
    if task is None:
        raise NoTask(image, _why_none(wiring, desk, image))
    return task


def _why_none(wiring: Wiring, desk: Desk, image: ImageId) -> str:
    waiting = [task for task in wiring.review_tasks.list(image_id=image) if task.reason is not Reason.GOLD]
    if not waiting:
        return "no task is open for it; a new look is had by: modctl appeal IMAGE_ID --reason ..."
    if all(task.is_senior for task in waiting) and not desk.is_senior:
        return "it was escalated, and is for seniors: --senior"
    held = [task for task in waiting if task.claimed_by not in (None, desk.reviewer)]
    if held:
        return f"{held[0].claimed_by} is at it until {local_time(held[0].lease_until)}; take another, or try later"
    return f"{desk.reviewer} answered, skipped or escalated it before; it waits for another reviewer"


def _report(task: ReviewTask, what: str, reviewer: str, as_json: bool) -> None:
    if as_json:
        print_json({"image_id": task.image_id, "task_id": task.task_id, "reviewer": reviewer, "done": what})
    else:
        click.echo(f"{task.image_id}: {what}.")
