"""What `set` and `preview` share: the thresholds proposed on the command line, and what they would change, as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from moderation.cli.figures import aligned, missing, number
from moderation.domain.evidence import Scope
from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.verdict import Decision

if TYPE_CHECKING:
    from moderation.domain.policy import Policy
    from moderation.flows.reviewing.threshold import Outcome, Preview

F = TypeVar("F", bound=Callable[..., Any])

NAMES = ("review_at", "block_at", "audit_rate", "block_check_rate")
_OPTIONS = (
    click.option("--review-at", type=float, help="From this P(fake) on a person looks (0..1)."),
    click.option("--block-at", type=float, help="From this P(fake) on the picture is blocked (0..1)."),
    click.option("--audit-rate", type=float, help="Share of allowed pictures to be checked (0..1)."),
    click.option("--block-check-rate", type=float, help="Share of blocked pictures to be checked (0..1)."),
    click.option("--source", default=ANY_SOURCE, show_default=True, help="For this source only."),
)


def threshold_options(command: F) -> F:
    """The options that propose thresholds."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def proposed(before: Thresholds, given: Mapping[str, float | None]) -> Thresholds:
    """`before` with what was given. Raises click.UsageError where nothing was, or where it can't be."""
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to set: give --review-at, --block-at, --audit-rate or --block-check-rate")
    try:
        return replace(before, **changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def check_source(source: str) -> None:
    """Raises click.UsageError for what can be no source."""
    from moderation.flows.scanning.submit import MAX_SOURCE_CHARS

    if not source or len(source) > MAX_SOURCE_CHARS or not source.isprintable():
        raise click.UsageError(f"--source has 1 to {MAX_SOURCE_CHARS} printable characters: {source[:60]!r}")


def affected(source: str, since: datetime | None, policies: Mapping[str, Policy]) -> Scope:
    """The images for which thresholds of `source` would hold."""
    if source != ANY_SOURCE:
        return Scope(source=source, since=since)
    return Scope(except_sources=tuple(sorted(set(policies) - {ANY_SOURCE})), since=since)


def described(preview: Preview) -> list[str]:
    """The preview as lines of text."""
    if not preview.images:
        return ["No stored score is concerned: nothing would move."]
    old, new = preview.before, preview.after
    rows = [["", "now", "proposed"]]
    rows += [[name, f"{getattr(old.thresholds, name):g}", f"{getattr(new.thresholds, name):g}"] for name in NAMES]
    rows += [[str(each), f"{old.decisions[each]:,}", f"{new.decisions[each]:,}"] for each in Decision]
    rows += [["reviews a day", _load(old), _load(new)]]
    for name in ("real_blocked", "real_to_review", "fakes_allowed"):
        rows.append([name.replace("_", " "), number(getattr(old, name)), number(getattr(new, name))])
    head = f"{preview.images:,} images scored in {preview.days:.1f} days by prompt {preview.prompt_id}"
    return [head, "", *aligned(rows), "", *_moves(preview), *missing(preview.kinds)]


def _load(outcome: Outcome) -> str:
    return f"{outcome.load_per_day.total:,.1f}"


def _moves(preview: Preview) -> list[str]:
    count = {(move.before, move.after): f"{move.images:,}" for move in preview.moves}
    rows = [["", *(f"to {new}" for new in Decision)]]
    rows += [[f"from {old}", *(count[old, new] for new in Decision)] for old in Decision]
    samples = [
        f"{move.before} -> {move.after}, e.g.: {', '.join(move.sample)}" for move in preview.moves if move.sample
    ]
    return [*aligned(rows), *samples]
