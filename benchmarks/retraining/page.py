"""Renders the story's figures into docs/retraining.md, between its two marks; it holds no figure of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN = "<!-- figures: begin (written by benchmarks/retraining) -->"
END = "<!-- figures: end -->"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "retraining.md"
Told = Mapping[str, Any]


def write(path: Path, told: Told) -> None:
    """Puts the figures into the page. Raises ValueError where the page has lost its marks."""
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} lacks the line {BEGIN!r} or {END!r}")
    head, _, rest = text.partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n{render(told)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def render(told: Told) -> str:
    """The Markdown between the marks."""
    honest, poisoned = told["honest"], told["poisoned"]
    return f"""
By `{told["command"]}` on {told["machine"]}. In brackets: paired 95 % bootstrap intervals.

**The story.** {told["uploads"]} uploads were scanned and reviewed in {honest["answers"]} answers; `modctl retrain` took
{honest["seconds"]:.0f} s, two workers, Redis and PostgreSQL on the same cores. After the activation the worker that had
been running throughout scored both sets again:

| pictures, none of them reviewed | n | AUC before | after | difference | right before | after |
|---|---|---|---|---|---|---|
{_measured("others of the new family", honest["others"])}
{_measured("the samples that ship", honest["old"])}

{_gate(honest)}

**The converse.** {poisoned["answers"]} answers by one reviewer whose word alone counted, all the wrong way round;
the run took {poisoned["seconds"]:.0f} s.

{_gate(poisoned)}
"""


def _measured(name: str, line: Told) -> str:
    auc = f"{line['auc_before']:.3f} | {line['auc_after']:.3f} | {_figure(line['auc_difference'])}"
    return f"| {name} | {line['n']} | {auc} | {line['accuracy_before']:.3f} | {line['accuracy_after']:.3f} |"


def _gate(tale: Told) -> str:
    gate = tale["run"]["metrics"]["gate"]
    wholes = [line for line in gate["lines"] if line["slice"] == "all"]
    rows = "\n".join(
        f"| {line['part']} | {line['n']} | {line['auc_before']:.3f} | {line['auc_after']:.3f} "
        f"| {_figure(line['auc_difference'])} | {line['only_before']} / {line['only_after']} | {line['p_value']:.2g} "
        f"| {line['verdict']} |"
        for line in wholes
    )
    reasons = "\n".join(f"- {reason}" for reason in gate["reasons"])
    return f"""The gate: **{"PASSED" if gate["passed"] else "REFUSED"}**.

| part | n | AUC before | after | difference | lost / won | McNemar's p | |
|---|---|---|---|---|---|---|---|
{rows}

{reasons}"""


def _figure(figure: Told | None) -> str:
    if figure is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['value']:+.3f}"
    return f"{figure['value']:+.3f} [{figure['low']:+.3f}, {figure['high']:+.3f}]"
