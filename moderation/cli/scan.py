"""modctl scan: pictures scored in this process, for trying it out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import (
    PICTURES,
    as_json_line,
    console,
    counted,
    json_option,
    load_prompt,
    parts,
    pictures_below,
    say,
)

if TYPE_CHECKING:
    from rich.progress import Progress

    from moderation.detector import SoftPrompt
    from moderation.flows.scanning.local import Scanned
    from moderation.wiring import Wiring


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.option("--prompt", "prompt_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A prompt file; the miniature's shipped one if not given.")  # fmt: skip
@click.option("--review-at", type=click.FloatRange(0, 1), help="P(fake) from which the decision is REVIEW.")
@click.option("--block-at", type=click.FloatRange(0, 1), help="P(fake) from which the decision is BLOCK.")
@json_option
def command(
    paths: tuple[Path, ...], prompt_file: Path | None, review_at: float | None, block_at: float | None, as_json: bool
) -> None:
    """Score pictures here and now, without queue or database. A folder stands for all pictures in it.

    Exit code 1 if a picture could not be scored.
    """
    from moderation.detector import Detector
    from moderation.domain.policy import DEFAULT_THRESHOLDS, Thresholds
    from moderation.flows.scanning.local import scan_paths

    default = DEFAULT_THRESHOLDS
    try:
        thresholds = Thresholds(
            default.review_at if review_at is None else review_at, default.block_at if block_at is None else block_at
        )
    except ValueError as error:
        unless = f"(unless given: --review-at {default.review_at}, --block-at {default.block_at})"
        raise click.UsageError(f"{error} {unless}") from None
    files = [file for path in paths for file in (pictures_below(path) if path.is_dir() else [path])]
    if not files:
        raise click.UsageError(f"no picture in {', '.join(map(str, paths))} ({' '.join(sorted(PICTURES))})")
    with parts() as wiring, ThreadPoolExecutor(wiring.settings.fetch_threads) as readers:
        detector = Detector(wiring.backbone, _prompt(wiring, prompt_file))
        looks = "" if detector.prompt.looks == "whole" else f" ({detector.prompt.looks})"
        prompt = f"prompt {detector.prompt.sha256[:12]}{looks}"
        say(f"backbone {wiring.backbone.name}, {prompt}, {counted(len(files), 'file')}")
        results = scan_paths(
            files,
            detector=detector,
            prepare=wiring.prepare,
            thresholds=thresholds,
            readers=readers,
            batch_size=wiring.settings.batch_size,
        )
        failed = 0
        with _bar(len(files)) as bar:
            for result in results:
                failed += result.decision is None
                _print(result, bar, as_json=as_json)
                bar.advance(bar.task_ids[0])
    if failed:
        say(f"{failed} of {len(files)} could not be scored")
        raise SystemExit(1)


def _prompt(wiring: Wiring, file: Path | None) -> SoftPrompt:
    from moderation.detector import SoftPrompt
    from moderation.flows.scanning.active import no_active_prompt
    from moderation.miniature import PROMPT_FILE

    if file is not None:
        return load_prompt(file)
    if wiring.settings.backbone != "miniature":
        raise no_active_prompt(wiring.settings.backbone, hint="name a file: --prompt FILE")
    return SoftPrompt.load(PROMPT_FILE)


def _print(result: Scanned, bar: Progress, *, as_json: bool) -> None:
    """One line a picture on standard output; on a terminal above the bar."""
    if as_json:
        line = as_json_line(result)
    elif result.decision is None:
        line = f"   -    -      {result.path}: {result.reason} ({result.detail})"
    else:
        line = f"{result.probability:6.3f}  {result.decision:<6} {result.path}"
    if bar.console.file is sys.stdout:
        bar.console.print(line, markup=False, emoji=False, soft_wrap=True)
    else:
        click.echo(line)


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    """A bar, on the terminal that the results go to or else on standard error; none without a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = console(stderr=not sys.stdout.isatty())
    with Progress(
        *columns,
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        bar.add_task("scoring", total=total)
        yield bar
