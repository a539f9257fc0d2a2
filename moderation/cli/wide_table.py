"""A table with more columns than the screen is wide: printed in pieces, the first columns repeated in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click

from moderation.cli.shared import GAP, console, print_table


def print_wide_table(repeated: Mapping[str, Sequence[str]], columns: Mapping[str, Sequence[str]]) -> None:
    """Cells by column, all columns equally long. `repeated` stand in each piece; numbers are aligned to the right."""
    room = console().width - sum(_width(name, cells) for name, cells in repeated.items())
    for number, piece in enumerate(_pieces(columns, room)):
        if number:
            click.echo()
        shown = {**repeated, **{name: columns[name] for name in piece}}
        print_table(list(shown), list(zip(*shown.values(), strict=True)), right=list(shown)[1:])


def _pieces(columns: Mapping[str, Sequence[str]], room: int) -> Iterator[list[str]]:
    """The columns' names in parts that fit into `room`, at least one in each."""
    piece: list[str] = []
    left = room
    for name, cells in columns.items():
        width = _width(name, cells)
        if piece and width > left:
            yield piece
            piece, left = [], room
        piece.append(name)
        left -= width
    if piece:
        yield piece


def _width(name: str, cells: Sequence[str]) -> int:
    return max(map(len, (name, *cells))) + GAP
