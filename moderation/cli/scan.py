"""modctl scan: pictures scored in this process, for trying it out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import console, json_option, parts, print_json, say

if TYPE_CHECKING:
    from moderation.detector import SoftPrompt
    from moderation.flows.local import Scanned
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
    from moderation.flows.local import scan_paths

    default = DEFAULT_THRESHOLDS
    try:
        thresholds = Thresholds(
            default.review_at if review_at is None else review_at, default.block_at if block_at is None else block_at
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    files = list(_files(paths))
    if not files:
        raise click.UsageError("no picture found there")
    with parts() as wiring, ThreadPoolExecutor(wiring.settings.fetch_threads) as readers:
        detector = Detector(wiring.backbone, _prompt(wiring, prompt_file))
        say(f"backbone {wiring.backbone.name}, prompt {detector.prompt.sha256[:12]}, {len(files)} files")
        results = scan_paths(
            files,
            detector=detector,
            prepare=wiring.prepare,
            thresholds=thresholds,
            readers=readers,
            batch_size=wiring.settings.batch_size,
        )
        failed = 0
        for result in _progress(results, len(files)):
            failed += result.decision is None
            if as_json:
                print_json(result)
            elif result.decision is None:
                click.echo(f"   -     -     {result.path}: {result.reason} ({result.detail})")
            else:
                click.echo(f"{result.probability:6.3f}  {result.decision:<6} {result.path}")
    if failed:
        say(f"{failed} of {len(files)} could not be scored")
        raise SystemExit(1)


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    from moderation.cli.submit import PICTURES

    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.suffix.lower() in PICTURES and file.is_file())
        else:
            yield path


def _prompt(wiring: Wiring, file: Path | None) -> SoftPrompt:
    from moderation.detector import SoftPrompt
    from moderation.flows.active import no_active_prompt
    from moderation.miniature import PROMPT_FILE

    if file is not None:
        return SoftPrompt.load(file)
    if wiring.settings.backbone != "miniature":
        raise no_active_prompt(wiring.settings.backbone, hint="name a file: --prompt FILE")
    return SoftPrompt.load(PROMPT_FILE)


def _progress(results: Iterator[Scanned], total: int) -> Iterator[Scanned]:
    """Shows a bar on the terminal's standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        yield from bar.track(results, total=total)
