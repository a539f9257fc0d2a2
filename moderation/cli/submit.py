"""modctl submit: image ids onto the queue, from arguments, standard input or a CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import json_option, parts, print_json, say

if TYPE_CHECKING:
    from moderation.domain.submission import Receipt
    from moderation.wiring import Wiring

# One transaction each; a huge list is taken in this many ids at a time.
PART = 10_000
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})


@click.command()
@click.argument("ids", nargs=-1, metavar="[PATH|ID]...")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read ids from standard input, one a line.")
@click.option("--csv", "csv_file", type=click.File(encoding="utf-8-sig"), help="Read ids from a CSV with a header.")
@click.option("--column", default="image_id", show_default=True, help="The CSV's column that holds the ids.")
@click.option("--source", default="default", show_default=True, help="Where the images come from: groups policies.")
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0, show_default=True, help="Above 0 overtakes.")
@click.option("--force", is_flag=True, help="Score known images again.")
@json_option
def command(
    ids: tuple[str, ...],
    from_stdin: bool,
    csv_file: Iterable[str] | None,
    column: str,
    source: str,
    priority: int,
    force: bool,
    as_json: bool,
) -> None:
    """Ask for verdicts on images.

    A file or folder below MODERATION_IMAGES is submitted under its path there, a folder with all pictures in it;
    anything else is taken as an id.
    """
    if sum((bool(ids), from_stdin, csv_file is not None)) != 1:
        raise click.UsageError("give ids, or --stdin, or --csv FILE")
    with parts() as wiring:
        if from_stdin:
            wanted: Iterator[str] = (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        elif csv_file is not None:
            wanted = _from_csv(csv_file, column)
        else:
            wanted = _from_arguments(ids, wiring.settings.images)
        receipt = _submit_all(wiring, wanted, source, priority, force)
    if as_json:
        print_json(receipt)
        return
    click.echo(f"{receipt.new} submitted, {receipt.known} known already.")
    if not receipt.queued:
        say("The broker is away: the images are stored, and a worker's sweep will find them once it is back.")


def _submit_all(wiring: Wiring, wanted: Iterator[str], source: str, priority: int, force: bool) -> Receipt:
    from moderation.domain.submission import Receipt
    from moderation.flows.submit import submit

    total = Receipt(0, 0, True)
    while part := list(islice(wanted, PART)):
        try:
            receipt = submit(
                part,
                submissions=wiring.submissions,
                bell=wiring.bell,
                batch_size=wiring.settings.batch_size,
                source=source,
                priority=priority,
                force=force,
            )
        except ValueError as error:
            done = f" ({total.new + total.known} before it were taken)" if total.new + total.known else ""
            raise click.UsageError(f"{error}{done}") from None
        total = Receipt(total.new + receipt.new, total.known + receipt.known, total.queued and receipt.queued)
    return total


def _from_csv(file: Iterable[str], column: str) -> Iterator[str]:
    reader = csv.DictReader(file)
    if column not in (reader.fieldnames or []):
        raise click.UsageError(
            f"the CSV has no column {column!r}; it has {', '.join(reader.fieldnames or ['nothing'])}"
        )
    for row in reader:
        yield row[column]


def _from_arguments(arguments: Iterable[str], images: str) -> Iterator[str]:
    folder = Path(images.removeprefix("file://")).resolve()
    if not folder.is_dir():  # ids of another kind of source
        yield from arguments
        return
    for argument in arguments:
        if not argument:
            raise click.UsageError("an image id has at least one character")
        path = Path(argument).resolve()
        if not path.exists() or (folder / argument).exists():
            path = (folder / argument).resolve()
        if not path.exists():
            say(f"note: there is no {argument} below {folder} (MODERATION_IMAGES) yet")
            yield argument
        elif not path.is_relative_to(folder):
            raise click.UsageError(f"{argument} lies outside the image folder {folder} (MODERATION_IMAGES)")
        elif path.is_dir():
            pictures = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in PICTURES and file.is_file())
            yield from (file.relative_to(folder).as_posix() for file in pictures)
        else:
            yield path.relative_to(folder).as_posix()
