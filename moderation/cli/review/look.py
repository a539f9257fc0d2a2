"""modctl review list, next, stats, history: what waits and what was said, without answering."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.review.answer import image_argument
from moderation.cli.review.options import desk_of, image_id, reviewer_options
from moderation.cli.shared import json_option, local_time, parts, print_facts, print_json, print_table
from moderation.domain.review import Act, Reason, ReviewTask, shown_reason

if TYPE_CHECKING:
    from moderation.wiring import Wiring

_REASONS = [each.value for each in Reason if each is not Reason.GOLD]
_SCORE = ("probability", "verdict_id")  # not before the answer, to nobody; modctl verdicts has it
_DAY = timedelta(days=1)


@click.command("list")
@click.option("--reason", type=click.Choice(_REASONS, case_sensitive=False), help="Only these.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="So many at most.")
@json_option
def list_(reason: str | None, limit: int, as_json: bool) -> None:
    """The open tasks, in the order in which they go out."""
    with parts() as wiring:
        found = wiring.review_tasks.list(reason=Reason(reason) if reason else None, limit=None)
    found = [task for task in found if task.reason is not Reason.GOLD][:limit]
    if as_json:
        for task in found:
            print_json({name: value for name, value in asdict(task).items() if name not in _SCORE})
    elif found:
        rows = [
            (t.image_id, t.source, t.reason, t.priority, local_time(t.created_at), "yes" if t.is_senior else "",
             t.claimed_by, t.detail)
            for t in found
        ]  # fmt: skip
        columns = ("image", "source", "reason", "priority", "since", "senior", "held by", "because")
        spare = ("because", "priority", "source", "since")
        print_table(columns, rows, right=("priority",), fold=("image", "because", "source"), spare=spare)
    else:
        click.echo("Nothing waits for review.")


@click.command("next")
@reviewer_options
@json_option
def next_(reviewer: str, senior: bool, as_json: bool) -> None:
    """Take the next task, held for MODERATION_REVIEW_LEASE_S; answer it with: modctl review label."""
    with parts() as wiring:
        desk = desk_of(wiring, reviewer, senior=senior)
        task = desk.next()
    if as_json:
        print_json({"task": _as_told(task) if task else None})
    elif task is None:
        click.echo(f"Nothing is left for {desk.reviewer}.")
    else:
        print_facts(
            {name.replace("_", " "): value for name, value in _as_told(task).items() if value not in (None, "")}
        )


@click.command()
@json_option
def stats(as_json: bool) -> None:
    """What waits, since when, and what was answered in the last 24 hours."""
    now = datetime.now(UTC)
    with parts() as wiring:
        waiting = wiring.review_tasks.open_counts()
        oldest = wiring.review_tasks.oldest_open()
        reviews = wiring.reviews.list(since=now - _DAY)
    taken_back = {review.undoes for review in reviews}
    answers = [review for review in reviews if review.act is Act.ANSWER and review.review_id not in taken_back]
    seconds = [review.seconds for review in answers if review.seconds is not None]
    found = {
        "open": sum(waiting.values()),
        "reasons": {str(reason): count for reason, count in sorted(waiting.items())},
        "oldest_waits_s": (now - oldest).total_seconds() if oldest else None,
        "answers_24h": len(answers),
        "said_24h": dict(sorted(Counter(str(review.answer) for review in answers).items())),
        "reviewers_24h": len({review.reviewer for review in answers}),
        "median_seconds_24h": median(seconds) if seconds else None,
    }
    if as_json:
        print_json(found)
    else:
        _show_stats(found)


@click.command()
@image_argument
@json_option
def history(image: str, as_json: bool) -> None:
    """All that is known about IMAGE_ID: verdicts, tasks, what people did, the label, the audit trail."""
    known = image_id(image)
    with parts() as wiring:
        found = _history(wiring, known)
    if as_json:
        print_json(found)
        return
    if not any(found[name] for name in ("verdicts", "tasks", "reviews", "events")):
        click.echo(f"Nothing is known about {image}.")
        return
    from moderation.cli.review.history import show

    show(found)


def _history(wiring: Wiring, image: Any) -> dict[str, Any]:
    from moderation.domain.review import TaskState, derive_label

    reviews = wiring.reviews.of_image(image)
    tasks = wiring.review_tasks.list(image_id=image, state=None, limit=None)
    return {
        "image_id": image,
        "verdicts": wiring.verdicts.list(image_id=image, limit=None),
        # Gold that somebody is at must not be known by its reason.
        "tasks": [task for task in tasks if task.reason is not Reason.GOLD or task.state is TaskState.DONE],
        "reviews": reviews,
        "label": derive_label(reviews, wiring.reviewers.trusted()),
        "events": wiring.events.list(image_id=image, limit=None)[::-1],
    }


def _as_told(task: ReviewTask) -> dict[str, Any]:
    """What a reviewer may know before answering: no score, and nothing that would tell gold apart."""
    return {
        "task_id": task.task_id,
        "image_id": task.image_id,
        "source": task.source,
        "reason": shown_reason(task.reason),
        "detail": task.detail,
        "is_senior": task.is_senior,
        "created_at": task.created_at,
        "lease_until": task.lease_until,
    }


def _show_stats(found: dict[str, Any]) -> None:
    from moderation.cli.review.facts import span

    waits_s, seconds = found["oldest_waits_s"], found["median_seconds_24h"]
    said = ", ".join(f"{count} {answer}" for answer, count in found["said_24h"].items())
    by = f" by {found['reviewers_24h']}: {said}" if said else ""
    print_facts(
        {
            "open": f"{found['open']}" + (f", the oldest for {span(waits_s)}" if waits_s is not None else ""),
            **{f"  {reason}": count for reason, count in found["reasons"].items()},
            "answers in 24 h": f"{found['answers_24h']}{by}",
            "median time": f"{seconds:.1f} s an answer" if seconds is not None else "unknown",
        }
    )
