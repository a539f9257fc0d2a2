"""How a rescoring run and what it would change are shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.figures import aligned, share
from moderation.cli.shared import counted, print_table, say
from moderation.domain.verdict import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moderation.domain.agreement import Share
    from moderation.domain.rescore import RescoreRun
    from moderation.domain.rescore_diff import RescoreDiff, WhoIsRight

    Moves = Mapping[tuple[Decision, Decision], int]

_SHOWN_FAILURES = 5
_LABELS = {True: "fake", False: "real", None: ""}


def run_line(run: RescoreRun) -> str:
    """'run 3 (all images, prompt 0123): running, 120 of 1,000 scored, 2 failed'."""
    return f"Run {run.run_id} ({run.scope.described()}, prompt {run.prompt_id}): {standing(run)}"


def standing(run: RescoreRun) -> str:
    """'running, 120 of 1,000 scored, 2 failed', and why, where it waits or failed."""
    failed = f", {run.failed:,} failed" if run.failed else ""
    why = f": {run.error}" if run.error else ""
    return f"{run.state}, {run.scored:,} of {run.images:,} scored{failed}{why}"


def say_failures(run: RescoreRun) -> None:
    """The first images that could not be scored."""
    for line in run.failures[:_SHOWN_FAILURES]:
        say(f"  {line}")
    if run.failed > _SHOWN_FAILURES:
        say(f"  and {run.failed - _SHOWN_FAILURES:,} more: modctl rescore status {run.run_id} --json")


def print_diff(diff: RescoreDiff) -> None:
    """The difference, on standard output."""
    if not diff.images:
        if diff.unscored:
            click.echo(f"Nothing to compare: {counted(diff.unscored, 'image')} in its scope, none with a new score.")
        else:
            click.echo("Nothing to do: no image in its scope has a verdict by another prompt than the active one.")
        return
    rows = [["", *(f"to {new}" for new in Decision)]]
    rows += [[f"from {old}", *(f"{diff.moves[old, new]:,}" for new in Decision)] for old in Decision]
    lines = [*aligned(rows), "", _changes(diff)]
    if diff.unscored:
        lines.append(f"{counted(diff.unscored, 'image')} of the scope without a new score: nothing changes for them.")
    if diff.to_review:
        lines.append(f"People would be asked about {counted(diff.to_review, 'image')} that nobody has looked at yet;")
        lines.append("the shares of the others that the policy has checked come on top.")
    click.echo("\n".join([*lines, *_right(diff.reviewed)]))
    if len(diff.by_source) > 1:
        _print_sources(diff)
    if diff.moving:
        _print_images(diff)


def diff_json(diff: RescoreDiff) -> dict[str, Any]:
    """The difference as plain JSON: moves as {old: {new: images}}."""
    plain = asdict(diff)
    plain["changed"] = diff.changed
    plain["moves"] = _nested(diff.moves)
    plain["by_source"] = {source: _nested(moves) for source, moves in diff.by_source.items()}
    return plain


def _changes(diff: RescoreDiff) -> str:
    line = f"{diff.changed:,} of {counted(diff.images, 'image')} would get another decision"
    line += f" ({share(diff.changed / diff.images)})"
    if diff.by_thresholds:
        line += f"; {diff.by_thresholds:,} of them by today's thresholds alone, with the old score too"
    return line + "."


def _right(found: WhoIsRight) -> list[str]:
    if not found.images:
        return ["No image among them has a trusted label, so nobody can say who is right."]
    return [
        f"Of {counted(found.images, 'image')} with a trusted label ({found.fakes:,} fake), right (fakes flagged, real "
        "ones allowed):",
        f"  old verdicts  {_share(found.before)}",
        f"  new scores    {_share(found.after)}",
        f"  only the old ones {found.only_before:,}, only the new ones {found.only_after:,}; p = {found.p_value:.3g}",
        "Reviewed images are no fair sample: those that the old prompt was unsure of are most of them.",
    ]


def _share(found: Share) -> str:
    return f"{found.right:,} ({share(found.value)} [{100 * found.low:.2f}, {100 * found.high:.2f}])"


def _print_sources(diff: RescoreDiff) -> None:
    columns = ("source", "images", "change", "more severe", "less severe")
    rows = []
    order = list(Decision)
    for source, moves in diff.by_source.items():
        up = sum(images for (old, new), images in moves.items() if order.index(new) > order.index(old))
        down = sum(images for (old, new), images in moves.items() if order.index(new) < order.index(old))
        rows.append((source, f"{sum(moves.values()):,}", f"{up + down:,}", f"{up:,}", f"{down:,}"))
    click.echo("")
    print_table(columns, rows, right=columns[1:], fold=("source",))


def _print_images(diff: RescoreDiff) -> None:
    rows = [
        (each.image_id, each.source, each.before, each.after, f"{each.p_before:.3f}", f"{each.p_after:.3f}",
         _LABELS[each.is_fake])
        for each in diff.moving
    ]  # fmt: skip
    columns = ("image", "source", "was", "would be", "P before", "P after", "label")
    click.echo("")
    print_table(columns, rows, right=("P before", "P after"), fold=("image", "source"), spare=("source",))
    if diff.changed > len(rows):
        say(f"{diff.changed - len(rows):,} more; name them: --limit {diff.changed}")


def _nested(moves: Moves) -> dict[str, dict[str, int]]:
    return {old: {new: moves[old, new] for new in Decision} for old in Decision}
