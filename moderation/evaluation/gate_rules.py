"""The gate's rules, over lines that are measured: what a verdict is, and what refuses a candidate. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from moderation.evaluation.figure import Figure
from moderation.evaluation.gate_result import BEYOND, GENERATOR, WHOLE, GateLine, GateVerdict

FEWEST = 20  # independent pictures: of each class in a part, of all in a slice; fewer prove nothing. A convention
FEWEST_OF_CLASS = 5  # with fewer of a class a slice is judged by the other class's accuracy alone. A convention
ALPHA = 0.05  # of McNemar's test at today's thresholds


def judged_class(name: str, n_real: int, n_fake: int) -> bool | None:
    """None: both classes can be ranked. Else whether the fakes or the real pictures of the slice `name` speak alone."""
    if min(n_real, n_fake) >= FEWEST_OF_CLASS:
        return None
    return name.startswith(f"{GENERATOR}=") or n_fake > n_real


def verdict_of(line: GateLine, margin: float) -> GateVerdict:
    """What a measured line says; its own `verdict` is not read."""
    figure = line.auc_difference or line.accuracy_difference
    if _is_too_small(line) or figure is None or figure.low is None or figure.high is None:
        return GateVerdict.TOO_FEW
    if line.slice == WHOLE:
        tolerated = margin
        is_worse = _is_worse_at_thresholds(line) or (figure.low < -margin and figure.high < 0)
    else:
        tolerated = BEYOND
        is_worse = bool(_worse_figures(line))
    if is_worse:
        return GateVerdict.WORSE
    if figure.low > 0:
        return GateVerdict.BETTER
    return GateVerdict.NO_WORSE if figure.low >= -tolerated else GateVerdict.TOO_FEW


def refusals(lines: Sequence[GateLine], margin: float) -> list[str]:
    """Why the candidate is refused, a sentence each; empty where it passes."""
    found = []
    for line in lines:
        if line.slice == WHOLE:
            found += _refusals_of_part(line, margin)
        elif line.verdict is GateVerdict.WORSE:
            losses = " and ".join(f"{name} {_told(figure)}" for name, figure in _worse_figures(line))
            found.append(f"{line.part}, {line.slice}: worse by more than {BEYOND:g} beyond its interval: {losses}.")
    return found


def passing(lines: Sequence[GateLine]) -> list[str]:
    """What a candidate that is not refused rests on, a sentence for each part."""
    return [
        f"{line.part}: {line.verdict} on {line.n:,} images, AUC {_told(line.auc_difference)}; at today's thresholds "
        f"{line.only_after} newly right, {line.only_before} newly wrong."
        for line in lines
        if line.slice == WHOLE and line.auc_difference is not None
    ]


def _refusals_of_part(line: GateLine, margin: float) -> list[str]:
    if not line.n:
        return [f"{line.part}: there is no image that the active prompt scored, so nothing can be proven."]
    if _is_too_small(line):
        return [
            f"{line.part}: {line.groups_real} real and {line.groups_fake} fake images that are no near-duplicates; "
            f"with fewer than {FEWEST} of a class nothing can be proven."
        ]
    found = []
    figure = line.auc_difference
    if figure is None or figure.low is None or figure.high is None:
        found.append(f"{line.part}: the AUC has no interval, so nothing can be proven.")
    elif figure.low < -margin and figure.high < 0:
        found.append(f"{line.part}: AUC {_told(figure)}; the margin is {margin:g}.")
    elif figure.low < -margin:
        found.append(f"{line.part}: AUC {_told(figure)}: too few images to rule out a loss of more than {margin:g}.")
    if _is_worse_at_thresholds(line):
        found.append(
            f"{line.part}: worse at today's thresholds: {line.only_before} newly wrong, {line.only_after} newly right "
            f"(McNemar p = {line.p_value:.2g})."
        )
    return found


def _is_too_small(line: GateLine) -> bool:
    if line.slice == WHOLE:
        return min(line.groups_real, line.groups_fake) < FEWEST
    alone = judged_class(line.slice, line.groups_real, line.groups_fake)
    if alone is None and not line.is_of_generator:
        return line.groups_real + line.groups_fake < FEWEST
    return (line.groups_real if alone is False else line.groups_fake) < FEWEST


def _is_worse_at_thresholds(line: GateLine) -> bool:
    return line.p_value < ALPHA and line.only_before > line.only_after


def _worse_figures(line: GateLine) -> list[tuple[str, Figure]]:
    both = (("AUC", line.auc_difference), ("accuracy at today's thresholds", line.accuracy_difference))
    return [(name, one) for name, one in both if one is not None and one.high is not None and one.high < -BEYOND]


def _told(figure: Figure | None) -> str:
    if figure is None or figure.low is None or figure.high is None:
        return "-"
    return f"{figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"
