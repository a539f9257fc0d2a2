"""The tables that `modctl eval` prints: a line a set, candidates side by side, the paper's beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import click

from moderation.cli.paper_view import PRESET, papers_title, print_papers_table
from moderation.cli.shared import print_table
from moderation.cli.wide_table import print_wide_table
from moderation.evaluation.compare import Comparison
from moderation.evaluation.figures import Figure, SetMetrics
from moderation.evaluation.result import CandidateResult, Evaluation
from moderation.evaluation.robustness import RobustnessRow
from moderation.evaluation.shortcuts import Shortcut

WORST = " (worst)"
OVERALL = "all pictures"
MEAN = "mean of sets"
_LEAST_NEEDED = ("Brier", "NLL", "fail", "ECE", "TPR@5%", "AP")  # what a narrow terminal goes without, in this order


def print_evaluation(evaluation: Evaluation) -> None:
    """Everything for people, to standard output."""
    blocks = list(_blocks(evaluation))
    for number, (title, show) in enumerate(blocks):
        click.echo(("\n" if number else "") + title)
        show()


def _blocks(evaluation: Evaluation) -> Iterator[tuple[str, Callable[[], None]]]:
    candidates = evaluation.candidates
    if len(candidates) == 1:
        only = candidates[0]
        yield (
            f"{only.name}, fake from P(fake) {only.threshold:g} on; 95 % intervals over source pictures",
            lambda: _one(only),
        )
    else:
        at = ", ".join(f"{each.name} {each.threshold:g}" for each in candidates)
        yield f"balanced accuracy and AUC with 95 % intervals; fake from P(fake): {at}", lambda: _several(candidates)
        yield f"against {candidates[0].name}, on the same pictures", lambda: _comparisons(evaluation.comparisons)
    if evaluation.data.get("preset") == PRESET:
        yield papers_title(), lambda: print_papers_table(candidates)
    if evaluation.missing_sets:
        yield f"not there: {', '.join(evaluation.missing_sets)}", lambda: None
    if evaluation.robustness:
        yield "robustness: accuracy and share of verdicts that flip", lambda: _robustness(evaluation.robustness)
    if evaluation.shortcuts:
        yield "shortcuts: what trivial features tell alone", lambda: _shortcuts(evaluation.shortcuts)


def _one(candidate: CandidateResult) -> None:
    columns = ("set", "real", "fake", "fail", "real right", "fake right", "balanced", "AUC", "AP", "TPR@1%", "TPR@5%",
               "ECE", "NLL", "Brier")  # fmt: skip
    lines = [(name + _mark(name, candidate), metrics) for name, metrics in candidate.sets.items()]
    rows = [_figures(name, metrics) for name, metrics in [*lines, (OVERALL, candidate.overall)]]
    if candidate.mean_accuracy is not None:
        rows.append([MEAN, "", "", "", "", "", f"{candidate.mean_accuracy:.3f}", *[""] * 7])
    print_table(columns, rows, right=columns[1:], spare=_LEAST_NEEDED)


def _figures(name: str, m: SetMetrics) -> list[str]:
    alone = (m.ap, m.tpr_at_1, m.tpr_at_5, m.ece, m.nll, m.brier)
    return [
        name,
        str(m.n_real),
        str(m.n_fake),
        str(m.n_failed),
        _value(m.accuracy_real),
        _value(m.accuracy_fake),
        _with_interval(m.balanced_accuracy),
        _with_interval(m.auc),
        *map(_value, alone),
    ]


def _several(candidates: Sequence[CandidateResult]) -> None:
    first = candidates[0]
    lines = [first.overall if name == OVERALL else first.sets[name] for name in (*first.sets, OVERALL)]
    repeated = {
        "set": [*first.sets, OVERALL, MEAN],
        "real": [*(str(metrics.n_real) for metrics in lines), ""],
        "fake": [*(str(metrics.n_fake) for metrics in lines), ""],
    }
    columns = {}
    for one in candidates:
        mean = "-" if one.mean_accuracy is None else f"{one.mean_accuracy:.3f}"
        found = [_with_interval(metrics.accuracy) + _mark(name, one) for name, metrics in one.sets.items()]
        columns[one.name] = [*found, _with_interval(one.overall.accuracy), mean]
        ranked = [_with_interval(metrics.auc) for metrics in (*one.sets.values(), one.overall)]
        columns[f"{one.name}: AUC"] = [*ranked, ""]
    print_wide_table(repeated, columns)


def _comparisons(comparisons: Sequence[Comparison]) -> None:
    columns = ("candidate", "pictures", "AUC", "balanced", "right alone", "wrong alone", "McNemar p")
    rows = []
    for each in comparisons:
        differences = (_difference(each.auc), _difference(each.balanced_accuracy))
        rows.append((each.second, each.n, *differences, each.only_second, each.only_first, f"{each.p_value:.2g}"))
    print_table(columns, rows, right=columns[1:])


def _robustness(rows: Sequence[RobustnessRow]) -> None:
    columns = ("candidate", "condition", "pictures", "real right", "fake right", "balanced", "AUC", "flipped")
    lines = [
        (row.candidate, row.condition or "as it is", row.n, _number(row.accuracy_real), _number(row.accuracy_fake),
         _number(row.balanced_accuracy), _number(row.auc), _number(row.flip_rate))
        for row in rows
    ]  # fmt: skip
    print_table(columns, lines, right=columns[2:])


def _shortcuts(shortcuts: Sequence[Shortcut]) -> None:
    columns = ("set", "feature", "AUC", "95 %", "", "what it is")
    lines = [
        (each.set or OVERALL, each.feature, _number(each.auc), _range(each.low, each.high),
         "tells too much" if each.is_flagged else "", each.meaning)
        for each in shortcuts
    ]  # fmt: skip
    print_table(columns, lines, right=("AUC", "95 %"), spare=("what it is",))


def _mark(name: str, candidate: CandidateResult) -> str:
    return WORST if name == candidate.worst and len(candidate.sets) > 1 else ""


def _value(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:.3f}"


def _with_interval(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    return f"{figure.value:.3f} {_range(figure.low, figure.high)}".rstrip()


def _difference(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    if figure.low is None or figure.high is None:
        return f"{figure.value:+.3f}"
    return f"{figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"({low:.3f}-{high:.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
