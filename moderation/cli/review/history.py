"""How all that is known about an image is shown."""

from __future__ import annotations

from typing import Any

import click

from moderation.cli.review.facts import label_shown, told
from moderation.cli.shared import counted, local_time, print_table


def show(found: dict[str, Any]) -> None:
    """One line a thing that happened, the oldest first, and the label that it adds up to."""
    verdicts, tasks, reviews = found["verdicts"], found["tasks"], found["reviews"]
    answers = {review.review_id: review for review in reviews}
    rows = [
        (v.created_at, "verdict", f"{v.decision} {v.probability:.3f} by {v.backbone}, prompt {v.prompt_id}")
        for v in verdicts
    ]
    rows += [(t.created_at, "task", _task(t)) for t in tasks]
    rows += [(r.created_at, f"{r.act} {r.review_id}", _review(r, answers)) for r in reviews]
    rows += [
        (e.created_at, "event", f"{e.kind} by {e.actor}" + (f": {e.reason}" if e.reason else ""))
        for e in found["events"]
    ]
    rows.sort(key=lambda row: row[0])
    print_table(("when", "what", "details"), [(local_time(when), *rest) for when, *rest in rows], fold=("details",))
    label = found["label"]
    click.echo(f"label  {label_shown(label)} ({counted(label.votes, 'vote')})")


def _task(task: Any) -> str:
    parts = [task.reason, task.state, f"drawn with {task.inclusion_probability:g}"]
    parts += ["for seniors"] if task.is_senior else []
    parts += [f"held by {task.claimed_by}"] if task.claimed_by else []
    parts += [f"because: {task.detail}"] if task.detail else []
    return ", ".join(parts)


def _review(review: Any, answers: dict[int, Any]) -> str:
    taken_back = answers.get(review.undoes)
    if taken_back is not None:
        return f"{review.reviewer}: takes back answer {taken_back.review_id}, {taken_back.answer}"
    return told(review)
