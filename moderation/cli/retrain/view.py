"""A training run as it is shown: its facts, the gate's table, and what to do next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from moderation.cli.retrain.follow import STAGES
from moderation.cli.shared import counted, local_time, print_facts, print_json, print_table, say

if TYPE_CHECKING:
    from moderation.domain.training_run import TrainingRun
    from moderation.wiring import Wiring

_REFUSED = 4


def print_outcome(wiring: Wiring, run: TrainingRun, *, as_json: bool) -> int:
    """What came of a run that has ended; returns the exit code."""
    from moderation.domain.training_run import RunState

    if as_json:
        print_json(run)
    if run.prompt_id is None:
        if not as_json:
            say(f"Run {run.run_id} {run.state}" + (f": {run.error}" if run.error else ""))
        return 1
    if not as_json:
        _print_gate(run)
    say(f"Report: modctl retrain report {run.run_id} --out FILE")
    if run.state is RunState.REFUSED:
        say(f"The candidate {run.prompt_id} is kept. To activate it all the same: "
            f"modctl prompt activate {run.prompt_id} --force --reason WHY")  # fmt: skip
        return _REFUSED
    state = wiring.prompts.find(run.prompt_id).state
    if state == "active":
        say(f"Prompt {run.prompt_id} is active.")
    elif run.config.activate:
        say(f"Prompt {run.prompt_id} was not activated, for another was meanwhile: look at both, then "
            f"modctl prompt activate {run.prompt_id} --reason WHY")  # fmt: skip
        return _REFUSED
    else:
        say(f"Try it beside the active one: modctl prompt shadow {run.prompt_id}; "
            f"or: modctl prompt activate {run.prompt_id} --reason WHY")  # fmt: skip
    return 0


def standing(run: TrainingRun) -> str:
    """'running, tuning 120 of 500', or why it ended."""
    progress = run.progress
    stage = f", {STAGES.get(progress['stage'], '')} {progress['done']:,}" if run.is_open and progress else ""
    of = f" of {progress['total']:,}" if stage and progress["total"] else ""
    return f"{run.state}{stage}{of}" + (f": {run.error}" if run.error else "")


def print_run(run: TrainingRun) -> None:
    """All that is known of a run, on standard output."""
    counts = run.metrics.get("counts", {})
    facts = {
        "run": run.run_id,
        "state": standing(run),
        "backbone": run.backbone,
        "from": run.parent,
        "candidate": f"{run.prompt_id} ({run.config.name})" if run.prompt_id else "",
        "learns from": f"{counts['images']:,} reviewed images" if "images" in counts else "",
        "lessons": run.manifest_sha256,
        "seed": run.config.seed,
        "attempts": run.attempts,
        "begun": f"{local_time(run.created_at)} by {run.actor}" + (f": {run.reason}" if run.reason else ""),
        "ended": local_time(run.finished_at) or "not yet",
    }
    print_facts({name: value for name, value in facts.items() if value != ""})
    if run.prompt_id is not None:
        click.echo("")
        _print_gate(run)


def print_runs(runs: list[TrainingRun]) -> None:
    """A line each."""
    rows = [
        (run.run_id, run.state, run.backbone, run.parent, run.prompt_id or "", _images(run), run.actor,
         local_time(run.created_at))
        for run in runs
    ]  # fmt: skip
    columns = ("run", "state", "backbone", "from", "candidate", "images", "by", "begun")
    print_table(columns, rows, right=("run", "images"), fold=("backbone", "by"), spare=("by", "backbone", "begun"))


def _images(run: TrainingRun) -> str:
    images = run.metrics.get("counts", {}).get("images")
    return "" if images is None else f"{images:,}"


def _print_gate(run: TrainingRun) -> None:
    from moderation.evaluation.gate_result import (
        GATE_COLUMNS,
        GATE_FOLD,
        GATE_RIGHT,
        GATE_SPARE,
        WHOLE,
        GateResult,
        gate_rows_text,
    )
    from moderation.evaluation.gate_rules import FEWEST

    gate = GateResult.from_json(run.metrics["gate"])
    shown = [line for line in gate.lines if line.slice == WHOLE or line.n_own >= FEWEST]
    rows = gate_rows_text(replace(gate, lines=tuple(shown)))
    print_table(GATE_COLUMNS, rows, right=GATE_RIGHT, fold=GATE_FOLD, spare=GATE_SPARE)
    click.echo("difference of AUC, or (right) of accuracy; lost, won: newly wrong, newly right")
    if small := len(gate.lines) - len(shown):
        click.echo(
            f"not shown: {counted(small, 'slice')} of fewer than {FEWEST} images, too few to say; the report has them"
        )
    click.echo(f"\n{gate.word}: {run.prompt_id} ({run.config.name}) against {run.parent}")
    if lost := run.metrics.get("left_out"):
        click.echo("  not to be had: " + ", ".join(f"{count:,} {why}" for why, count in lost.items()))
    for reason in gate.reasons:
        click.echo(click.wrap_text(reason, 79, "  ", "    "))
