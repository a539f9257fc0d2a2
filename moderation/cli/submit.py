"""modctl submit: image ids onto the queue, from arguments, standard input or a CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import counted, json_option, parts, pictures_below, print_json, say

if TYPE_CHECKING:
    from moderation.domain.submission import Receipt
    from moderation.wiring import Wiring

# One transaction each; a huge list is taken in this many ids at a time.
PART = 10_000


@click.command()
@click.argument("ids", nargs=-1, metavar="[PATH|ID]...")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read ids from standard input, one a line.")
@click.option("--csv", "csv_file", type=click.File(encoding="utf-8-sig"), help="Read ids from a CSV with a header.")
@click.option("--column", default="image_id", show_default=True, help="The CSV's column that holds the ids.")
@click.option("--source", default="default", show_default=True, help="Where the images come from: groups policies.")
@click.option("--uploader", default="", metavar="NAME", help="Who uploaded them, as your platform names them.")
@click.option("--uploader-column", metavar="COLUMN", help="The CSV's column that says who uploaded each.")
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0, show_default=True, help="Above 0 overtakes.")
@click.option("--force", is_flag=True, help="Score known images again.")
@json_option
def command(
    ids: tuple[str, ...],
    from_stdin: bool,
    csv_file: Iterable[str] | None,
    column: str,
    source: str,
    uploader: str,
    uploader_column: str | None,
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
    if uploader_column is not None and (csv_file is None or uploader):
        raise click.UsageError("--uploader-column goes with --csv, and instead of --uploader")
    with parts() as wiring:
        wanted: Iterator[tuple[str, str]]
        if from_stdin:
            wanted = ((image_id, uploader) for image_id in _from_lines(sys.stdin))
        elif csv_file is not None:
            wanted = _from_csv(csv_file, column, uploader_column, uploader)
        else:
            wanted = ((image_id, uploader) for image_id in _from_arguments(ids, wiring.settings.images))
        receipt = _submit_all(wiring, wanted, source, priority, force)
    if as_json:
        print_json(receipt)
    else:
        click.echo(f"{receipt.new} submitted, {receipt.known} known already.")
    if not receipt.queued:
        say("The broker that MODERATION_BROKER_URL names does not answer. The images are stored, and a worker's sweep")
        say("will find them once it is back.")


def _submit_all(wiring: Wiring, wanted: Iterator[tuple[str, str]], source: str, priority: int, force: bool) -> Receipt:
    """wanted: ids, each with who uploaded it."""
    from moderation.domain.submission import Receipt
    from moderation.flows.scanning.submit import submit

    total = Receipt(0, 0, True)
    try:
        while part := list(islice(wanted, PART)):
            receipt = submit(
                [image_id for image_id, _ in part],
                submissions=wiring.submissions,
                bell=wiring.bell,
                batch_size=wiring.settings.batch_size,
                source=source,
                priority=priority,
                force=force,
                uploader=dict(part),
            )
            total = Receipt(total.new + receipt.new, total.known + receipt.known, total.queued and receipt.queued)
    except (ValueError, csv.Error) as error:  # a wrong id, source or encoding
        taken = total.new + total.known
        done = f"the first {taken} ids were taken" if taken else "nothing was submitted"
        raise click.UsageError(f"{_explained(error)}; {done}") from None
    return total


def _explained(error: Exception) -> str:
    return "the ids must be UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


def _from_lines(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _checked(line.rstrip("\r\n"), number)


def _from_csv(
    file: Iterable[str], column: str, uploader_column: str | None, uploader: str
) -> Iterator[tuple[str, str]]:
    reader = csv.DictReader(file)
    names = list(reader.fieldnames or [])
    for option, name in (("--column", column), ("--uploader-column", uploader_column)):
        if name is not None and name not in names:
            hint = f"it has {', '.join(names)}; name one: {option}" if names else "it is empty"
            raise click.UsageError(f"the CSV has no column {name!r}: {hint}")
    blank: list[int] = []
    for row in reader:
        if (row[column] or "").strip():
            yield _checked(row[column], reader.line_num), (row[uploader_column] or "") if uploader_column else uploader
        else:
            blank.append(reader.line_num)
    if blank:
        say(f"note: {counted(len(blank), 'row')} without {column} passed over, the first in line {blank[0]}")


def _checked(raw: str, line: int) -> str:
    from moderation.domain.submission import check_image_id

    try:
        return check_image_id(raw)
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None


def _from_arguments(arguments: Iterable[str], images: str) -> Iterator[str]:
    folder = Path(images.removeprefix("file://")).resolve()
    if not folder.is_dir():  # ids of another kind of source
        if "://" not in images:
            say(f"note: there is no folder {folder} (MODERATION_IMAGES) on this machine")
        yield from arguments
        return
    for argument in arguments:
        if not argument:
            raise ValueError("an image id has at least one character")
        path = Path(argument).resolve()
        if not path.exists() or (folder / argument).exists():
            path = (folder / argument).resolve()
        if not path.exists():
            say(f"note: there is no {argument} below {folder} (MODERATION_IMAGES) yet")
            yield argument
        elif not path.is_relative_to(folder):
            raise ValueError(f"{argument} lies outside the image folder {folder} (MODERATION_IMAGES)")
        elif path.is_dir():
            pictures = pictures_below(path)
            if not pictures:
                say(f"note: there is no picture in {argument}")
            yield from (file.relative_to(folder).as_posix() for file in pictures)
        else:
            yield path.relative_to(folder).as_posix()
