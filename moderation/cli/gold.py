"""modctl gold: images whose truth is known."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import (
    actor_option,
    by_whom,
    confirm,
    counted,
    json_option,
    parts,
    print_json,
    print_table,
    yes_option,
)
from moderation.domain.review import Answer

if TYPE_CHECKING:
    from moderation.domain.submission import ImageId

_TRUTHS = {"real": Answer.REAL, "fake": Answer.FAKE}
reason_option = click.option("--reason", default="", help="Why; kept in the audit trail.")


@click.group()
def command() -> None:
    """Images whose truth is known, mixed in unseen to measure reviewers."""


@command.command()
@click.argument("pairs", nargs=-1, metavar="[IMAGE_ID real|fake]...")
@click.option("--csv", "csv_file", type=click.File(encoding="utf-8-sig"), help="Read them from a CSV with a header.")
@click.option("--column", default="image_id", show_default=True, help="The CSV's column that holds the ids.")
@click.option("--truth-column", default="truth", show_default=True, help="Its column that says real or fake.")
@click.option("--note", default="", help="Where the truth is known from; kept with each.")
@reason_option
@actor_option
@json_option
def add(
    pairs: tuple[str, ...],
    csv_file: Iterable[str] | None,
    column: str,
    truth_column: str,
    note: str,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Add images with their truth, or correct it: IMAGE_ID real|fake, several times, or --csv FILE.

    FILE may be - for standard input. The ids are those of MODERATION_IMAGES; they need not have been submitted.
    """
    if bool(pairs) == (csv_file is not None):
        raise click.UsageError("give IMAGE_ID real|fake, or --csv FILE")
    try:
        truths = _truths(_from_csv(csv_file, column, truth_column) if csv_file is not None else _from_pairs(pairs))
    except (ValueError, csv.Error) as error:
        shown = "the CSV must be UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise click.UsageError(f"{shown}; nothing was added") from None
    with parts() as wiring:
        new = wiring.gold.add(truths, note=note, by=by_whom(wiring, actor, reason))
    if as_json:
        print_json({"images": len(truths), "new": new})
    else:
        click.echo(f"{counted(len(truths), 'image')}, {new} of them new.")


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All gold with its truth. Not for reviewers' eyes."""
    with parts() as wiring:
        found = sorted(wiring.gold.truths().items())
    if as_json:
        for image_id, truth in found:
            print_json({"image_id": image_id, "truth": truth})
    elif found:
        print_table(("image", "truth"), found, fold=("image",))
    else:
        click.echo("There is no gold. Add some: modctl gold add IMAGE_ID real|fake")


@command.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE_ID...")
@reason_option
@actor_option
@yes_option
@json_option
def remove(images: tuple[str, ...], reason: str, actor: str, yes: bool, as_json: bool) -> None:
    """Take images off the gold. What reviewers said of them stays."""
    from moderation.cli.review.options import image_id

    known = [image_id(each) for each in dict.fromkeys(images)]
    with parts() as wiring:
        confirm(f"Take {counted(len(known), 'image')} off the gold?", yes=yes)
        removed = wiring.gold.remove(known, by=by_whom(wiring, actor, reason))
    if as_json:
        print_json({"removed": removed, "unknown": len(known) - removed})
    else:
        click.echo(
            f"{counted(removed, 'image')} taken off"
            + ("." if removed == len(known) else ", the others were not on it.")
        )


def _truths(rows: Iterable[tuple[str, str, str]]) -> dict[ImageId, Answer]:
    from moderation.domain.submission import check_image_id

    truths: dict[ImageId, Answer] = {}
    for where, raw_id, raw_truth in rows:
        try:
            image_id = check_image_id(raw_id)
        except ValueError as error:
            raise ValueError(f"{where}{error}") from None
        truth = _TRUTHS.get(raw_truth.strip().lower())
        if truth is None:
            raise ValueError(f"{where}the truth of {raw_id} is {raw_truth!r}, must be real or fake")
        if truths.setdefault(image_id, truth) is not truth:
            raise ValueError(f"{where}{raw_id} is given as real and as fake")
    if not truths:
        raise ValueError("there are no images in it")
    return truths


def _from_pairs(words: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    if len(words) % 2:
        raise ValueError(f"after each IMAGE_ID comes real or fake; {words[-1]} stands alone")
    for at in range(0, len(words), 2):
        yield "", words[at], words[at + 1]


def _from_csv(file: Iterable[str], column: str, truth_column: str) -> Iterator[tuple[str, str, str]]:
    reader = csv.DictReader(file)
    names = list(reader.fieldnames or [])
    for option, wanted in (("--column", column), ("--truth-column", truth_column)):
        if wanted not in names:
            hint = f"it has {', '.join(names)}; name one: {option}" if names else "it is empty"
            raise ValueError(f"the CSV has no column {wanted!r}: {hint}")
    for row in reader:
        yield f"line {reader.line_num}: ", row[column] or "", row[truth_column] or ""
