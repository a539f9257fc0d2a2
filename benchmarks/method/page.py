"""Renders the study's figures into docs/method.md, between its two marks; it holds no figure of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.method.study import COMPARISONS, Comparison

BEGIN = "<!-- figures: begin (written by benchmarks/method) -->"
END = "<!-- figures: end -->"
Results = Mapping[str, Any]
_FIGURES = ("accuracy_real", "accuracy_fake", "auc", "tpr_at_5", "ece")


def write(path: Path, results: Results) -> None:
    """Puts the figures into the page. Raises ValueError where the page has lost its marks."""
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} lacks the line {BEGIN!r} or {END!r}")
    head, _, rest = text.partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n{render(results)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def kept(evaluation: Results) -> dict[str, Any]:
    """What the results file keeps of an evaluation: figures, without paths and single pictures."""
    return {name: evaluation[name] for name in ("candidates", "comparisons", "robustness", "shortcuts", "n_unreadable")}


def render(results: Results) -> str:
    """The Markdown between the marks."""
    sections = [_section(each, results) for each in COMPARISONS if each.name in results["comparisons"]]
    parts = [_head(results), _bars(results), *sections, _calibration(results), _shortcuts(results), _commands(results)]
    return "\n".join(parts)


def _head(results: Results) -> str:
    seconds = results["seconds"]
    stages = ", ".join(f"{name} {value} s" for name, value in seconds.items())
    minutes = sum(seconds.values()) / 60
    return f"""
## Measured on the miniature

By `{results["command"]}` (`make method`) on {results["machine"]},
in {minutes:.0f} minutes ({stages}). Seed 42 unless named; `data/` and `prompts/` lie below `build/method`, and the
pictures are made by `python -m moderation.miniature.datasets`.

Tuned on photographs and decoder families of the `train` split, chosen and calibrated on those of `val`, measured on
those of `test`: none of the three shares a photograph or a family with another
([data card](../moderation/miniature/DATA_CARD.md)). Columns: share of real and of fake pictures right at P(fake) = 0.5,
AUC over all test pictures, mean and worst AUC of the test families, share of fakes found at 5 % false positives,
calibration error; in brackets 95 % bootstrap intervals over source crops. The test photographs are three: intervals say
how a figure moves among their crops, not among all pictures."""


def _section(comparison: Comparison, results: Results) -> str:
    found = results["comparisons"][comparison.name]
    table = _robustness(found) if comparison.is_robustness else _table(found, results)
    notes = [comparison.note] if comparison.note else []
    if comparison.paper:
        notes.append(f"*The paper's own, at full size, mean accuracy in per cent:* {comparison.paper}.")
    return "\n\n".join([f"\n### {comparison.title}", table, *notes, f"`{found['command']}`"])


def _table(found: Results, results: Results) -> str:
    lines = [
        "| run | real | fake | AUC | mean family | worst family | TPR at 5 % | ECE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for candidate in found["candidates"]:
        overall = candidate["overall"]
        real, fake, auc, tpr, ece = (_interval(overall[name]) for name in _FIGURES)
        mean, worst, name = _families(candidate)
        lines.append(
            f"| {candidate['name']} | {real} | {fake} | {auc} | {mean:.3f} "
            f"| {_interval(worst)} {name} | {tpr} | {ece} |"
        )
    return "\n".join(lines)


def _families(candidate: Results) -> tuple[float, Results, str]:
    """Mean AUC of the test families, the worst one's AUC, and its name."""
    aucs = {name: metrics["auc"] for name, metrics in candidate["sets"].items() if metrics["auc"]}
    worst = min(aucs, key=lambda name: aucs[name]["value"])
    return fmean(auc["value"] for auc in aucs.values()), aucs[worst], worst


def _bars(results: Results) -> str:
    """The promises for word and expert together, kept or missed."""
    candidates = {each["name"]: each for each in results["comparisons"]["baselines"]["candidates"]}
    if "expert" not in candidates:
        return ""
    mean, worst, _ = _families(candidates["expert"])
    error = results["calibration"]["expert"]["after"]["ece"]["value"]
    rows = (
        ("word and expert, mean AUC of the test families", ">= .95", mean, mean >= 0.95),
        ("word and expert, worst test family's AUC", ">= .90", worst["value"], worst["value"] >= 0.90),
        ("word and expert, calibration error on the test set", "<= .05", error, error <= 0.05),
    )
    lines = ["", "| bar | wanted | found | |", "|---|---|---|---|"]
    lines += [f"| {bar} | {wanted} | {found:.3f} | {'met' if met else 'missed'} |" for bar, wanted, found, met in rows]
    return "\n".join(lines)


def _calibration(results: Results) -> str:
    lines = [
        "\n### Calibration: the model's own belief, then calibrated on the validation pictures\n",
        "| run | | calibration error | NLL | Brier |",
        "|---|---|---|---|---|",
    ]
    for name, sides in results["calibration"].items():
        for side, metrics in sides.items():
            figures = " | ".join(_interval(metrics[figure]) for figure in ("ece", "nll", "brier"))
            lines.append(f"| {name} | {side} | {figures} |")
    return "\n".join(lines)


def _robustness(found: Results) -> str:
    names = list(dict.fromkeys(row["candidate"] for row in found["robustness"]))
    cells = {(row["candidate"], row["condition"]): row for row in found["robustness"]}
    conditions = list(dict.fromkeys(row["condition"] for row in found["robustness"]))
    lines = [
        "| condition | " + " | ".join(f"{name}: AUC / balanced accuracy / flips" for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for condition in conditions:
        row = " | ".join(_robust_cell(cells[name, condition]) for name in names)
        lines.append(f"| {condition or 'as it is'} | {row} |")
    return "\n".join(lines)


def _robust_cell(row: Results) -> str:
    flips = "" if row["flip_rate"] is None else f" / {row['flip_rate']:.3f}"
    return f"{row['auc']:.3f} / {row['balanced_accuracy']:.3f}{flips}"


def _shortcuts(results: Results) -> str:
    found: list[Results] = next(
        (each["shortcuts"] for each in results["comparisons"].values() if each["shortcuts"]), []
    )
    lines = ["\n### What trivial features tell on the test set\n", "| feature | AUC [95 %] | |", "|---|---|---|"]
    for row in found:
        if row["set"] == "" and row["auc"] is not None:
            flag = "above 0.6" if row["auc"] > 0.6 else ""
            lines.append(f"| {row['meaning']} | {row['auc']:.3f} [{row['low']:.2f}, {row['high']:.2f}] | {flag} |")
    return "\n".join(lines)


def _commands(results: Results) -> str:
    lines = ["\n### The commands\n", "| run | command | seconds | validation AUC |", "|---|---|---|---|"]
    for name, done in results["runs"].items():
        lines.append(f"| {name} | `{done['command']}` | {done['seconds']} | {done['validation']['auc']:.3f} |")
    return "\n".join(lines)


def _value(figure: Results | None) -> str:
    return "" if figure is None else f"{figure['value']:.3f}"


def _interval(figure: Results | None) -> str:
    if figure is None:
        return ""
    if figure["low"] is None:
        return _value(figure)
    return f"{figure['value']:.3f} [{figure['low']:.2f}, {figure['high']:.2f}]"
