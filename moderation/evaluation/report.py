"""Reports as one HTML file that needs nothing else: plots and thumbnails are inside, and no address is ever asked.

Nothing is measured here but what a plot or a table needs to be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation.datasets.published import MEAN, PublishedTable, published_table
from moderation.evaluation import charts, plots
from moderation.evaluation.page import Gallery, Plot, environment, write
from moderation.evaluation.result import CandidateResult, Evaluation
from moderation.evaluation.scores import ScoreTable
from moderation.evaluation.shortcuts import CATEGORICAL, FLAG_ABOVE
from moderation.evaluation.thumbnails import MOST, common_folder, mistakes
from moderation.evaluation.tuning_report import TuningReport

REPORT_FILE = "report.html"
MOST_LISTED = 200  # unreadable files; the rest are counted
MINIATURE = (
    "The miniature backbone spoke: 1 million parameters that detect decoder traces in small pictures. It shows that "
    "the method works and is no production detector; its figures say nothing about a full InstructBLIP."
)
METRICS = (
    ("accuracy_real", "Real right", True, "real pictures below the threshold"),
    ("accuracy_fake", "Fake right", True, "fakes at or above the threshold"),
    ("balanced_accuracy", "Balanced", True, "mean of the two"),
    ("auc", "AUC", False, "how often a fake outscores a real picture"),
    ("ap", "AP", False, "average precision"),
    ("tpr_at_1", "TPR at 1 %", True, "fakes found while 1 % of the real pictures are flagged"),
    ("tpr_at_5", "TPR at 5 %", True, "fakes found while 5 % of the real pictures are flagged"),
    ("ece", "ECE", False, "mean gap between probability and share of fakes, lower is better"),
    ("nll", "NLL", False, "negative log-likelihood in nats, lower is better"),
    ("brier", "Brier", False, "mean squared error of the probability, lower is better"),
)
"""Field of SetMetrics, heading, whether it is a share, and what it says."""


def render(evaluation: Evaluation, table: ScoreTable, out: Path) -> Path:
    """Writes `report.html` and `plots/*.png` into the folder `out`; returns the report's path.

    table: the rows that the evaluation was made of; pictures are read again for the thumbnails only.
    """
    drawn = Gallery(out)
    asked = evaluation.candidates
    rows = {one.name: table.where(candidate=one.name, condition="") for one in asked}
    rows = {name: found.select(found.is_scored) for name, found in rows.items()}
    found = {one.name: mistakes(rows[one.name], one.threshold) for one in asked}
    shown = [each.path for kinds in found.values() for kind in kinds for each in kind]
    shown += [each.path for each in evaluation.unreadable[:MOST_LISTED]]
    page = environment(common_folder(shown)).get_template("report.html.j2")
    text = page.render(
        evaluation=evaluation,
        warning=MINIATURE if evaluation.provenance.get("backbone") == "miniature" else "",
        facts=_facts(evaluation),
        metrics=METRICS,
        curves=_curves(drawn, rows),
        histograms=_histograms(drawn, asked, rows),
        heat=_heat(drawn, evaluation),
        flagged=[one for one in evaluation.shortcuts if one.is_flagged],
        flag_above=FLAG_ABOVE,
        categorical=CATEGORICAL,
        published=_published(drawn, evaluation),
        mistakes=found,
        most=MOST,
        most_listed=MOST_LISTED,
    )
    return write(out / REPORT_FILE, text)


def render_tuning(report: TuningReport, out: Path) -> Path:
    """Writes the report of a tuning run, `report.html` and `plots/*.png`, into `out`; returns the report's path."""
    drawn = Gallery(out)
    pictures = []
    if report.history:
        title = "Loss and validation AUC"
        pictures.append(drawn(title, "training", plots.training_plot(report.history, report.best_epoch)))
    if len(report.is_fake):
        curve = {report.name: (report.is_fake, report.probability_after, report.margins)}
        pictures.append(drawn("ROC on validation pictures", "roc", plots.roc_plot(curve)))
        panels = {
            "before calibration": (report.is_fake, report.probability_before),
            "after, on what fitted it": (report.is_fake, report.probability_after),
        }
        title = "Reliability before and after calibration"
        pictures.append(drawn(title, "calibration", plots.reliability_plot(panels)))
    page = environment("").get_template("tuning.html.j2")
    return write(out / REPORT_FILE, page.render(report=report, plots=pictures))


def _curves(drawn: Gallery, rows: Mapping[str, ScoreTable]) -> list[Plot]:
    both = {name: one for name, one in rows.items() if one.is_fake.any() and not one.is_fake.all()}
    there = {name: one for name, one in rows.items() if len(one)}
    found = []
    if both:
        curves = {name: (one.is_fake, one.probability, one.margin) for name, one in both.items()}
        found.append(drawn("ROC", "roc", plots.roc_plot(curves)))
    if there:
        panels = {name: (one.is_fake, one.probability) for name, one in there.items()}
        found.append(drawn("Reliability", "reliability", plots.reliability_plot(panels)))
    return found


def _histograms(drawn: Gallery, asked: tuple[CandidateResult, ...], rows: Mapping[str, ScoreTable]) -> list[Plot]:
    found = []
    for number, candidate in enumerate(asked, start=1):
        mine = rows[candidate.name]
        parts = {name: mine.where(set=name) for name in candidate.sets}
        sets = {name: (part.is_fake, part.probability) for name, part in parts.items() if len(part)}
        if sets:
            png = charts.histogram_plot(sets, candidate.threshold)
            found.append(drawn(f"Scores of each set: {candidate.name}", f"scores-{number}", png))
    return found


def _heat(drawn: Gallery, evaluation: Evaluation) -> Plot | None:
    if not evaluation.robustness:
        return None
    return drawn("Verdicts under each condition", "robustness", charts.heat_plot(evaluation.robustness))


@dataclass(frozen=True)
class _Published:
    """The paper's table and the measured accuracies, in percent by candidate and row. `rows`: the mean is the last."""

    table: PublishedTable
    rows: tuple[str, ...]
    measured: Mapping[str, Mapping[str, float]]
    plot: Plot


def _published(drawn: Gallery, evaluation: Evaluation) -> _Published | None:
    if evaluation.data.get("preset") != "antifakeprompt":
        return None
    table = published_table()
    measured = {one.name: _accuracies(one, table) for one in evaluation.candidates}
    paper = {
        f"the paper: {table.legend(column)}": {name: table.value(name, column) / 100 for name in table.rows}
        for column in ("InstructBLIP_P", "AFP_Orig")
    }
    found = {
        f"measured: {name}": {row: value / 100 for row, value in values.items() if row != MEAN}
        for name, values in measured.items()
    }
    plot = drawn("Published and measured", "published", charts.published_plot(paper, found, "Accuracy on each set"))
    return _Published(table, (*table.rows, MEAN), measured, plot)


def _accuracies(candidate: CandidateResult, table: PublishedTable) -> dict[str, float]:
    """In percent by row; the mean only where no row lacks a value, since it could not be compared."""
    found = {name: candidate.sets[name].accuracy for name in table.rows if name in candidate.sets}
    values = {name: figure.value * 100 for name, figure in found.items() if figure is not None}
    if len(values) == len(table.rows):
        values[MEAN] = sum(values.values()) / len(values)
    return values


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    asked = [(f"candidate {one.name}", f"{one.identity}, threshold {one.threshold:g}") for one in evaluation.candidates]
    drawn = [("seed", str(evaluation.seed)), ("bootstrap resamples", str(evaluation.resamples))]
    named = [*_flat(evaluation.provenance), *((f"data {name}", value) for name, value in _flat(evaluation.data))]
    return [(name.replace("_", " "), value) for name, value in named] + asked + drawn


def _flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values in order; what lies inside another mapping joins it, and what is not known is left out."""
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.append((str(name), ", ".join(f"{inner} {text}" for inner, text in value.items())))
        elif value not in (None, "", (), []):
            found.append((str(name), str(value)))
    return found
