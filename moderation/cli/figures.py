"""Estimates as text: a value with its 95 % interval, aligned columns, and what is missing for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moderation.domain.verdict import Decision

if TYPE_CHECKING:
    from moderation.domain.evidence import Kind
    from moderation.evaluation.estimate import Estimated
    from moderation.flows.reviewing.evidence import Coverage

UNKNOWN = "?"
_RATE = {Decision.ALLOW: "audit_rate", Decision.BLOCK: "block_check_rate"}


def number(estimated: Estimated | None) -> str:
    """'12 [3, 40]'."""
    if estimated is None:
        return UNKNOWN
    return f"{estimated.value:,.0f} [{estimated.low:,.0f}, {estimated.high:,.0f}]"


def percent(estimated: Estimated | None) -> str:
    """'1.20 % [0.30, 4.90]'."""
    if estimated is None:
        return UNKNOWN
    return f"{share(estimated.value)} [{100 * estimated.low:.2f}, {100 * estimated.high:.2f}]"


def share(value: float | None) -> str:
    """'1.20 %'."""
    return UNKNOWN if value is None else f"{100 * value:.2f} %"


def kind_name(kind: Kind) -> str:
    """'ALLOW, 1 % drawn'."""
    return f"{kind.decision}, {100 * kind.rate:g} % drawn"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def missing(kinds: Sequence[Coverage]) -> list[str]:
    """A line for each kind of image that nobody has labelled, with the way out."""
    lines = []
    for each in kinds:
        if each.labelled:
            continue
        images = f"{each.images:,} {each.kind.decision} image" + ("s" if each.images > 1 else "")
        head = f"No label among {images}, so figures that need them are {UNKNOWN}: "
        if not each.kind.rate:
            lines.append(f"{head}none are drawn while {_RATE[each.kind.decision]} is 0, so raise it.")
        elif each.drawn == 0:
            lines.append(f"{head}{100 * each.kind.rate:g} % are drawn, none of these was.")
        elif each.drawn is None:
            lines.append(f"{head}{100 * each.kind.rate:g} % are drawn, review those.")
        else:
            lines.append(f"{head}{each.drawn:,} drawn, not reviewed yet.")
    return lines
