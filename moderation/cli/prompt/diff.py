"""modctl prompt diff: what tells two prompts apart."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.prompt.view import SIDES, described, named_file
from moderation.cli.shared import json_option, parts, print_json, print_table, say
from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from moderation.detector.numbers import Likeness
    from moderation.flows.registry.diff import Difference, Side
    from moderation.wiring import Wiring

_METADATA = "metadata."


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@json_option
def diff(first: str, second: str, as_json: bool) -> None:
    """What two prompts, ids or files, say and hold differently, and where both come from."""
    from moderation.flows.registry.diff import diff as compare

    with parts() as wiring:
        sides = _side(wiring, first), _side(wiring, second)
        found = compare(*sides, wiring.prompts.list())
    if as_json:
        print_json(_told(found))
        return
    one, other = found.prompts
    if one == other:
        say("They are one and the same.")
    rows = _headers(found)
    if rows:
        print_table(("", one, other), rows, fold=("", one, other))
        click.echo()
    else:
        click.echo("Their headers say the same.")
    for line in _numbers(found):
        click.echo(line)
    click.echo()
    odds = [(f"{margin:+g}", f"{ours:.4f}", f"{theirs:.4f}") for margin, ours, theirs in found.probabilities]
    print_table(("P(fake) at margin", one, other), odds, right=("P(fake) at margin", one, other))
    click.echo()
    for line in _lineage(found):
        click.echo(line)


def _side(wiring: Wiring, wanted: str) -> Side:
    from moderation.flows.registry.diff import side_of, side_of_file

    file = named_file(wanted)
    if file is None:
        return side_of(wiring.prompts, wiring.prompts.find(wanted))
    try:
        return side_of_file(wiring.prompts, file.read_bytes())
    except OSError as error:
        raise ConfigurationError(wanted, f"can't be read: {error.strerror or error}") from None
    except ConfigurationError as error:
        raise ConfigurationError(wanted, error.problem, hint=error.hint) from None


def _headers(found: Difference) -> list[tuple[str, str, str]]:
    """What differs, in the words of `prompt show`, then the metadata by name."""
    ours, theirs = (described(holds) for holds in found.holds)
    names = dict.fromkeys((*ours, *theirs))
    words = [(name, ours.get(name, "none"), theirs.get(name, "none")) for name in names]
    metadata = [
        (name.removeprefix(_METADATA), _short(one), _short(other))
        for name, (one, other) in found.fields.items()
        if name.startswith(_METADATA) and name != f"{_METADATA}parent"
    ]
    return [row for row in (*words, *metadata) if row[1] != row[2]]


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _numbers(found: Difference) -> list[str]:
    lines = [f"{SIDES[side]}: {_likeness(each)}" for side, each in found.vectors.items()]
    if any(holds.expert for holds in found.holds):
        lines.append(f"pixel expert: {'the same numbers' if found.expert_equal else 'other numbers'}")
    return lines or ["Neither has vectors: both ask the plain question."]


def _likeness(found: Likeness) -> str:
    if found.equal:
        return f"the same vectors, norm {found.norms[0]:.4g}"
    norms = " and ".join("none" if norm is None else f"{norm:.4g}" for norm in found.norms)
    if found.cosine is None:
        shapes = " and ".join("none" if shape is None else str(list(shape)) for shape in found.shapes)
        return f"not to be compared: {shapes}; norms {norms}"
    return f"cosine {found.cosine:.4f}{' of the means' if found.means else ''}, norms {norms}"


def _lineage(found: Difference) -> list[str]:
    lines = [" <- ".join(line) for line in found.lineages if len(line) > 1]
    one, other = found.prompts
    if one == other:
        return lines
    if found.common is None:
        return [*lines, "No common ancestor is registered."]
    if found.common in found.prompts:
        return [*lines, f"{other if found.common == one else one} was made from {found.common}."]
    return [*lines, f"Both were made from {found.common}."]


def _told(found: Difference) -> dict[str, Any]:
    return {
        "a": found.prompts[0],
        "b": found.prompts[1],
        "fields": {name: list(pair) for name, pair in found.fields.items()},
        "vectors": {side: asdict(each) for side, each in found.vectors.items()},
        "expert_equal": found.expert_equal,
        "probabilities": [{"margin": margin, "a": ours, "b": theirs} for margin, ours, theirs in found.probabilities],
        "lineage": {"a": found.lineages[0], "b": found.lineages[1], "common": found.common},
    }
