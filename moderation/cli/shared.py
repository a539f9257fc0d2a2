"""What the commands share: parts from the settings, tables, JSON."""

from __future__ import annotations

import getpass
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from moderation.detector import SoftPrompt
    from moderation.storage.events import By
    from moderation.wiring import Wiring

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or one a line for lists.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
reason_option = click.option("--reason", default="", help="Why, for the record.")
actor_option = click.option("--actor", default="", help="Who acts, for the record; else MODERATION_ACTOR or the login.")

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
GAP = 2  # between the columns of a table
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@contextmanager
def parts(**overrides: Any) -> Iterator[Wiring]:
    """The parts that the settings make, closed at the end."""
    from moderation.settings import load_settings
    from moderation.wiring import Wiring

    wiring = Wiring(load_settings(**overrides))
    try:
        yield wiring
    finally:
        wiring.close()


def say(text: str) -> None:
    """Talk: to standard error, so that data can be piped."""
    click.echo(text, err=True)


def print_json(item: Any) -> None:
    """One JSON object on one line of standard output."""
    click.echo(as_json_line(item))


def as_json_line(item: Any) -> str:
    """Dataclasses and plain values, one in the other, as JSON on one line; times in ISO 8601."""
    return json.dumps(item, default=_plain)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def console(*, stderr: bool = False) -> Console:
    """A rich console that neither cuts nor colours what goes into a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 200)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    fold: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """A table on standard output; columns named in `right` are aligned to the right.

    Where the terminal is too narrow, the `spare` columns are left out one after the other, and then those in `fold`
    are broken into lines.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    screen = console()
    cells = {name: ["" if row[at] is None else str(row[at]) for row in rows] for at, name in enumerate(columns)}
    widths = {name: max(map(cell_len, [name, *column])) for name, column in cells.items()}
    for name in spare:
        if sum(widths.values()) + GAP * (len(widths) - 1) > screen.width:
            del widths[name]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for name in widths:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name not in fold)
    for row in zip(*(cells[name] for name in widths), strict=True):
        table.add_row(*map(Text, row))
    screen.print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Names and values, one a line, aligned."""
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {value}")


def confirm(question: str, *, yes: bool) -> None:
    """Asks, unless `yes`; without a terminal to ask on it refuses and names the option."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this changes data and there is no terminal to ask on; add --yes")
    click.confirm(question, abort=True, err=True)


def actor(configured: str) -> str:
    """Who acts, for the record: the setting, else the login name."""
    return configured or getpass.getuser()


def by_whom(wiring: Wiring, given: str, reason: str) -> By:
    """Who acts and why, for the audit trail: --actor, else the setting, else the login name."""
    from moderation.storage.events import By

    return By(actor(given.strip() or wiring.settings.actor), reason)


def local_time(moment: datetime | None) -> str:
    """A moment for people: local time, to the minute."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment else ""


class Since(click.ParamType[datetime]):
    """A point in time: '7d', '90m' back from now, or an ISO date or time."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if match := re.fullmatch(r"(\d+)([smhdw])", value):
            try:
                return datetime.now(UTC) - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
            except OverflowError:
                self.fail(f"{value!r} lies before the first year")
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a span such as 90m, 24h, 7d nor an ISO time such as 2026-01-31T12:00")
        return moment if moment.tzinfo else moment.astimezone()


def load_prompt(file: Path) -> SoftPrompt:
    """The prompt in `file`. Raises ConfigurationError, which names the file."""
    from moderation.detector import SoftPrompt

    try:
        return SoftPrompt.load(file)
    except ConfigurationError as error:
        raise ConfigurationError(str(file), error.problem, hint=error.hint) from None


def pictures_below(folder: Path) -> list[Path]:
    """The picture files in a folder and in those inside it, by their names."""
    return [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in PICTURES and file.is_file()]


def counted(number: int, noun: str) -> str:
    """'1 image', '2 images'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
