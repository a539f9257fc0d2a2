"""modctl eval: how good one prompt or several are on labelled pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli.provenance import machine, score_versions, typed_command
from moderation.cli.shared import console, counted, json_option, parts, print_json, say

if TYPE_CHECKING:
    from moderation.evaluation.result import Evaluation
    from moderation.flows.measuring.evaluate import LabelledSet, Plan
    from moderation.flows.measuring.look import Look
    from moderation.flows.measuring.score import Candidate
    from moderation.wiring import Wiring

PRESETS = ("antifakeprompt", "genimage", "universalfakedetect", "aigibench")  # a test holds them to datasets.PRESETS
THRESHOLD = 0.5  # where a calibrated P(fake) calls either class equally likely; the paper's argmax, too
ROBUSTNESS_SAMPLE = 200  # pictures a set: a rate of one half is then known to about +-.07
SHOWN = 10  # pictures that could not be scored, on the screen
_EXIF = (
    "Warning: pictures are turned as their EXIF says, which the original code ignores; to compare with the paper's "
    "figures set MODERATION_EXIF_ORIENTATION=false"
)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), metavar="ROOT",
              help="Pictures in ROOT/<set>/real and ROOT/<set>/fake, or one of the two.")  # fmt: skip
@click.option("--manifest", type=click.Path(path_type=Path), metavar="FILE",
              help="Instead, a table, CSV or Parquet: path, label, generator, source, split, set, group.")  # fmt: skip
@click.option("--preset", type=click.Choice(PRESETS), help="ROOT is laid out as this published data set is.")
@click.option("--split", type=click.Choice(("train", "val", "test", "all")),
              help="Only pictures of this split; test if not given, where the data name splits.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N pictures of each set.")
@click.option("--prompt", "prompts", multiple=True, metavar="ID|FILE|RUN|zero-shot|lora:RUN",
              help="What to evaluate; several stand side by side. RUN: a folder of modctl tune. The active prompt if "
              "not given.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 1), default=THRESHOLD, show_default=True, metavar="P",
              help="P(fake) from which a picture is called fake.")  # fmt: skip
@click.option("--robustness", is_flag=True, help="Also under JPEG, resizing, blur and the rest.")
@click.option("--robustness-sample", type=click.IntRange(min=1), default=ROBUSTNESS_SAMPLE, show_default=True,
              metavar="N", help="For that, N pictures of each set.")  # fmt: skip
@click.option("--shortcuts", is_flag=True, help="Also what file size, format, sharpness and such tell alone.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where results go. The same DIR again goes on where a run was stopped.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Drop the scores that are in DIR.")
@click.option("--resamples", type=click.IntRange(min=0), default=1000, show_default=True, metavar="N",
              help="For the intervals; 0: none.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For samples and intervals.")
@click.option("--batch-size", type=click.IntRange(1, 1024), help="Pictures scored at once; MODERATION_BATCH_SIZE.")
@click.option("--format", "form", type=click.Choice(("parquet", "csv", "both")), default="parquet", show_default=True,
              help="Of the scores picture by picture.")  # fmt: skip
@click.option("--no-report", is_flag=True, help="No HTML report.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    data: Path | None,
    manifest: Path | None,
    preset: str | None,
    split: str | None,
    limit: int | None,
    prompts: tuple[str, ...],
    threshold: float,
    robustness: bool,
    robustness_sample: int,
    shortcuts: bool,
    out: Path | None,
    fresh: bool,
    resamples: int,
    seed: int,
    batch_size: int | None,
    form: str,
    no_report: bool,
    as_json: bool,
) -> None:
    """How good prompts are on labelled pictures: figures per set with intervals, robustness, report.

    Files that can't be read are listed, and no error. Exit code 1 if nothing could be scored.
    """
    from moderation.cli.candidates import candidates
    from moderation.cli.eval_data import read_data
    from moderation.cli.eval_view import print_evaluation
    from moderation.flows.measuring.evaluate import Plan

    if (data is None) == (manifest is None):
        raise click.UsageError("name the pictures: either --data ROOT or --manifest FILE")
    if manifest is not None and preset is not None:
        raise click.UsageError("--preset is for --data: a manifest names its sets itself")
    found = read_data(data, manifest, preset=preset, split=split, limit=limit, seed=seed)
    with parts() as wiring:
        plan = Plan(
            robustness_sample=robustness_sample if robustness else 0,
            shortcuts=shortcuts,
            resamples=resamples,
            seed=seed,
            batch_size=batch_size or wiring.settings.batch_size,
            fresh=fresh,
            formats=("parquet", "csv") if form == "both" else (form,),
            report=not no_report,
        )
        evaluation = _evaluate(wiring, found, candidates(wiring, prompts, threshold), plan, out, typed_command(context))
    if as_json:
        print_json(evaluation.to_json())
    else:
        print_evaluation(evaluation)
    if not any(candidate.overall.n_real + candidate.overall.n_fake for candidate in evaluation.candidates):
        raise SystemExit(1)


def _evaluate(
    wiring: Wiring, data: LabelledSet, asked: list[Candidate], plan: Plan, out: Path | None, typed: str
) -> Evaluation:
    from moderation.flows.measuring.evaluate import RESULT_FILE, configuration, evaluate, folder_for

    if data.facts["preset"] == PRESETS[0] and wiring.settings.exif_orientation:
        say(_EXIF)
    look, made_by = _look(wiring, asked), score_versions(wiring)
    made_with = configuration(data, asked, plan, made_by)
    folder = out or folder_for(data.name, made_with)
    names = ", ".join(candidate.subject.name for candidate in asked)
    say(f"backbone {wiring.backbone.name}, {counted(len(data.images), 'picture')}: {names}")
    readers = ThreadPoolExecutor(wiring.settings.fetch_threads, thread_name_prefix="read")
    with readers, _bar(len(data.images)) as advance:
        evaluation = evaluate(
            data,
            asked,
            plan,
            look=look,
            made_with=made_with,
            out=folder,
            readers=readers,
            provenance={"command": typed, **made_by, **machine(wiring)},
            advance=advance,
        )
    if evaluation.unreadable:
        say(_unreadable(evaluation, folder / RESULT_FILE))
    for warning in evaluation.warnings:
        say(f"Warning: {warning}")
    say(f"results: {folder / ('report.html' if plan.report else RESULT_FILE)}")
    return evaluation


def _look(wiring: Wiring, asked: list[Candidate]) -> Look:
    from moderation.flows.measuring.look import Look
    from moderation.images import decode

    settings = wiring.settings
    return Look(
        decode=lambda data: decode(
            data, max_pixels=settings.max_image_pixels, exif_orientation=settings.exif_orientation
        ),
        size=wiring.backbone.image_size,
        crops=max(candidate.scorer.native_crops for candidate in asked),
        max_bytes=settings.max_image_bytes,
    )


def _unreadable(evaluation: Evaluation, file: Path) -> str:
    found = evaluation.unreadable
    lines = [f"{counted(len(found), 'picture')} could not be scored (all of them: {file}):"]
    return "\n".join([*lines, *(f"  {item.path}: {item.reason}" for item in found[:SHOWN])])


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A bar with the time left, on standard error; none without a terminal. Gives what moves it on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = console(stderr=True)
    hidden = not screen.is_terminal
    with Progress(
        *columns, console=screen, transient=True, disable=hidden, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task("scoring", total=total)
        yield lambda pictures: bar.advance(task, pictures)
