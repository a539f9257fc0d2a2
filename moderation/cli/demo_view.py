"""How a demo's outcome is shown: verdicts against the truth, figures, where time went, what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.shared import console, print_facts
from moderation.domain.verdict import Decision, Verdict
from moderation.evaluation.metrics import accuracy, auc

if TYPE_CHECKING:
    from rich.console import RenderableType

    from moderation.cli.demo import DemoRun
    from moderation.miniature import Sample

EVEN_ODDS = 0.5
ROWS = 12
ROWS_WITH_PICTURES = 8
THUMBNAIL_ROWS = 6
PICTURES_FROM_WIDTH = 76
FAMILIES_FROM_WIDTH = 90
STAGES = {
    "queue": ("queued_ms", "waiting to be claimed"),
    "fetch": ("fetch_ms", "reading and decoding"),
    "wait": ("waited_ms", "until the device was free"),
    "device": ("device_ms", "InstructBLIP's forward pass"),
    "write": ("write_ms", "verdicts to SQL, one transaction a batch"),
}


def figures(run: DemoRun) -> dict[str, Any]:
    """What `--json` prints. `auc` and `accuracy` (at P(fake) = 0.5) are over the images that have a verdict."""
    fake, probabilities = _scored(run)
    both = len(set(fake)) > 1
    return {
        "images": len(run.samples),
        "verdicts": len(run.verdicts),
        "failed": len(run.failed),
        "auc": round(auc(fake, probabilities), 4) if both else None,
        "accuracy": round(accuracy(fake, probabilities, EVEN_ODDS), 4) if fake else None,
        "images_per_s": round(len(run.verdicts) / run.seconds, 1),
        "broker": run.broker,
        "database": run.database,
        "backbone": run.backbone,
    }


def show(run: DemoRun) -> None:
    """Prints it all for a person."""
    screen = console()
    screen.print(_table(run, screen.width))
    for item in run.failed:
        click.echo(f"failed: {item.image_id}: {item.reason} ({item.detail})")
    _show_confusion(run)
    found = figures(run)
    print_facts(
        {
            "AUC": _number(found["auc"], ".3f"),
            "accuracy": f"{_number(found['accuracy'], '.1%')} at P(fake) = {EVEN_ODDS}",
            "pace": f"{found['images_per_s']} images/s, {run.seconds:.1f} s from the first submit to the last verdict",
            "backbone": f"{run.backbone}: decoder traces in small pictures; no production detector",
            "database": run.database,
        }
    )
    _show_time(run)
    click.echo(
        "What to try next:\n"
        f"  export MODERATION_DATABASE_URL={run.database}\n"
        f"  export MODERATION_IMAGES={shlex.quote(run.images)}\n"
        "  modctl verdicts --decision REVIEW       what a person should look at\n"
        "  modctl review                           look at them yourself, or with --web in the browser\n"
        "  modctl threshold show                   from which probability on\n"
        "  modctl status                           where the submitted images stand\n"
        "  modctl scan YOUR_PICTURES/              score files here and now"
    )
    if not shutil.which("modctl"):
        click.echo(f"(modctl lies in {Path(sys.executable).parent})")


def _number(value: float | None, form: str) -> str:
    """`value`, or that there is none: nothing was scored, or one class alone."""
    return "none" if value is None else format(value, form)


def _scored(run: DemoRun) -> tuple[list[bool], list[float]]:
    pairs = [(run.samples[name].truth == "fake", verdict.probability) for name, verdict in run.verdicts.items()]
    return [fake for fake, _ in pairs], [probability for _, probability in pairs]


def _table(run: DemoRun, width: int) -> RenderableType:
    from rich import box
    from rich.table import Table

    images = _thumbnails() if width >= PICTURES_FROM_WIDTH else None
    shown = _spread(run, ROWS_WITH_PICTURES if images else ROWS)
    title = f"{len(shown)} of {len(run.verdicts)} verdicts, from the most to the least suspicious"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for name in (*(["picture"] if images else []), "image", "truth", "P(fake)", "decision", ""):
        table.add_column(name, justify="right" if name == "P(fake)" else "left", overflow="fold")
    for name, verdict in shown:
        sample = run.samples[name]
        cells: list[RenderableType] = [images(sample.path, height=THUMBNAIL_ROWS, width="auto")] if images else []
        truth = f"fake ({sample.family})" if sample.truth == "fake" and width >= FAMILIES_FROM_WIDTH else sample.truth
        cells += [name, truth, f"{verdict.probability:.3f}"]
        cells += [_coloured(verdict.decision), _remark(sample, verdict)]
        table.add_row(*cells)
    return table


def _spread(run: DemoRun, rows: int) -> list[tuple[str, Verdict]]:
    """A few verdicts from all over the range of scores."""
    ordered = sorted(run.verdicts.items(), key=lambda item: -item[1].probability)
    if len(ordered) <= rows:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (rows - 1))] for index in range(rows)]


def _thumbnails() -> Any:
    """textual-image's renderable, where there is a terminal to draw on and the package is installed."""
    if not sys.stdout.isatty():
        return None
    try:
        from textual_image.renderable import Image
    except ImportError:
        return None
    return Image


def _coloured(decision: Decision) -> str:
    colour = {Decision.ALLOW: "green", Decision.REVIEW: "yellow", Decision.BLOCK: "red"}[decision]
    return f"[{colour}]{decision}[/]"


def _remark(sample: Sample, verdict: Verdict) -> str:
    if verdict.decision is Decision.REVIEW:  # a person decides
        return ""
    right = (verdict.decision is Decision.BLOCK) == (sample.truth == "fake")
    return "" if right else "wrong"


def _show_confusion(run: DemoRun) -> None:
    cells = Counter((run.samples[name].truth, verdict.decision) for name, verdict in run.verdicts.items())
    click.echo(f"{'truth':<8}" + "".join(f"{decision:>8}" for decision in Decision))
    for truth in ("real", "fake"):
        click.echo(f"{truth:<8}" + "".join(f"{cells[truth, decision]:>8}" for decision in Decision))
    click.echo()


def _show_time(run: DemoRun) -> None:
    images = sum(batch["images"] for batch in run.batches)
    if not images:
        return
    click.echo(f"\nWhere time went, {len(run.batches)} batches of {images / len(run.batches):.0f} images on average:")
    for name, (key, what) in STAGES.items():
        # A batch's images wait together, so the time of a batch is the time each of its images saw.
        mean_ms = sum(batch[key] * batch["images"] for batch in run.batches) / images
        click.echo(f"  {name:<7}{mean_ms:8.0f} ms  {what}")
    click.echo()
