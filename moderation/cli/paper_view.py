"""The paper's whole results table beside this run's accuracies, in per cent as the paper gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from moderation.cli.shared import GAP, console, print_table
from moderation.datasets.published import MEAN, published_table
from moderation.evaluation.result import CandidateResult

PRESET = "antifakeprompt"


def papers_title() -> str:
    """What the table is, and whose."""
    return (
        f"accuracy in per cent; the first columns are this run's, the others the paper's ({published_table().source})"
    )


def print_papers_table(candidates: Sequence[CandidateResult]) -> None:
    """The whole published table beside this run's columns, in as many pieces as the screen is narrow."""
    paper = published_table()
    names = [*paper.rows, MEAN]
    ours = {candidate.name: [_percent(candidate, name) for name in names] for candidate in candidates}
    theirs = {f"paper {name}": [f"{paper.value(row, name):.2f}" for row in names] for name in paper.columns}
    fixed = {"set": names, **ours}
    room = console().width - sum(_width(name, cells) + GAP for name, cells in fixed.items())
    for number, piece in enumerate(_pieces(theirs, room)):
        if number:
            click.echo()
        columns = {**fixed, **{name: theirs[name] for name in piece}}
        print_table(list(columns), list(zip(*columns.values(), strict=True)), right=list(columns)[1:])


def _percent(candidate: CandidateResult, name: str) -> str:
    """As the paper gives it; '-' where the set is not there. A mean over other sets than the paper's is none."""
    if name != MEAN:
        found = candidate.sets.get(name)
        return f"{100 * found.accuracy.value:.2f}" if found and found.accuracy else "-"
    values = [found.accuracy.value for row in published_table().rows
              if (found := candidate.sets.get(row)) and found.accuracy]  # fmt: skip
    return f"{100 * sum(values) / len(values):.2f}" if len(values) == len(published_table().rows) else "-"


def _pieces(columns: dict[str, list[str]], room: int) -> Iterator[list[str]]:
    piece: list[str] = []
    left = room
    for name, cells in columns.items():
        width = _width(name, cells) + GAP
        if piece and width > left:
            yield piece
            piece, left = [], room
        piece.append(name)
        left -= width
    if piece:
        yield piece


def _width(name: str, cells: Sequence[str]) -> int:
    return max(map(len, (name, *cells)))
