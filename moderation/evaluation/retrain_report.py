"""The report of a retraining: what it learned from, how it went, what the gate found, which images changed sides.

One page that needs nothing else. Nothing is measured here but what a plot needs, and nothing is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.evaluation import plots
from moderation.evaluation.gate import BEYOND, FEWEST, HOLDOUT, REPLAY, GateResult, Judged
from moderation.evaluation.page import Plot, environment, plot_of
from moderation.evaluation.paired import scored
from moderation.evaluation.thumbnails import MOST, thumbnail_of
from moderation.evaluation.tuning_report import EpochRow

_ROWS = 12  # of one kind; more names are told in one row
PARTS = {HOLDOUT: "Reviewed images, held out", REPLAY: "Replay: what the base prompt knew, held out"}


@dataclass(frozen=True)
class RetrainTold:
    """A run as its report shows it.

    facts: run, command, seed, versions, manifest hash and the like. counts: the manifest in numbers, nested by what
    they are of; lists stand as they are. rows, result: what the gate judged and found. names: of each row, an image id
    or a file. picture: the bytes of the row with this number, None where they can't be had; asked for those shown
    alone. before, after: the two prompts' names.
    """

    name: str
    facts: Mapping[str, str]
    counts: Mapping[str, Any]
    history: Sequence[EpochRow]
    rows: Judged
    result: GateResult
    names: Sequence[str]
    picture: Callable[[int], bytes | None]
    best_epoch: int | None = None
    before: str = "active"
    after: str = "candidate"
    warning: str = ""  # the miniature's, where it was tuned on it


@dataclass(frozen=True, slots=True)
class Changed:
    """An image that is on the other side of its threshold now. Probabilities: None where there is no score."""

    name: str
    is_fake: bool
    before: float | None
    after: float | None
    threshold: float
    part: str
    about: str
    thumbnail: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Images of one kind: how many, and the first of them as they are shown."""

    title: str
    count: int
    shown: Sequence[Changed] = field(default_factory=tuple)


def render_retrain(told: RetrainTold) -> str:
    """The page as HTML text. The same run gives the same text. Raises ValueError unless each row has a name."""
    if len(told.names) != len(told.rows):
        raise ValueError(f"{len(told.rows)} rows have {len(told.names)} names")
    page = environment("").get_template("retrain.html.j2")
    return page.render(
        told=told,
        result=told.result,
        parts=[(part, PARTS[part], _of_part(told.result, part)) for part in PARTS if _of_part(told.result, part)],
        counts=_counted(told.counts),
        training=_training(told),
        curves=_curves(told),
        changes=_changes(told),
        beyond=BEYOND,
        fewest=FEWEST,
        most=MOST,
    )


def _of_part(result: GateResult, part: str) -> list[Any]:
    return [line for line in result.lines if line.part == part]


def _training(told: RetrainTold) -> list[Plot]:
    if not told.history:
        return []
    return [plot_of("Loss and validation AUC", plots.training_plot(told.history, told.best_epoch))]


def _curves(told: RetrainTold) -> list[Plot]:
    found = []
    for part in PARTS:
        rows = told.rows.select(np.asarray(told.rows.part == part) & told.rows.was_scored & told.rows.is_scored)
        if rows.is_fake.all() or not rows.is_fake.any():
            continue
        names = {f"before: {told.before}": (rows.before_p, rows.before_margin)}
        names[f"after: {told.after}"] = (rows.after_p, rows.after_margin)
        curves = {name: (rows.is_fake, p, margin) for name, (p, margin) in names.items()}
        found.append(plot_of(f"ROC before and after, {part}", plots.roc_plot(curves)))
        panels = {name: (rows.is_fake, p) for name, (p, _) in names.items()}
        found.append(plot_of(f"Reliability before and after, {part}", plots.reliability_plot(panels)))
    return found


def _changes(told: RetrainTold) -> list[Changes]:
    """Newly wrong, then newly right; the farthest moved first."""
    rows = told.rows
    right = [
        scored(rows.is_fake, p, margin, rows.threshold).is_right
        for p, margin in ((rows.before_p, rows.before_margin), (rows.after_p, rows.after_margin))
    ]
    kinds = {
        "Newly wrong": rows.was_scored & right[0] & ~right[1],
        "Newly right": rows.was_scored & ~right[0] & right[1],
    }
    moved = np.nan_to_num(np.abs(rows.after_p - rows.before_p), nan=2.0)
    return [_kind(told, title, np.flatnonzero(mask), moved) for title, mask in kinds.items()]


def _kind(told: RetrainTold, title: str, found: NDArray[np.intp], moved: NDArray[np.float64]) -> Changes:
    farthest = found[np.argsort(-moved[found], kind="stable")][:MOST]
    return Changes(title, len(found), tuple(_changed(told, int(row)) for row in farthest))


def _changed(told: RetrainTold, row: int) -> Changed:
    rows = told.rows
    data = told.picture(row)
    known = (str(rows.source[row]), str(rows.generator[row]) if rows.is_fake[row] else "", str(rows.band[row]))
    return Changed(
        name=told.names[row],
        is_fake=bool(rows.is_fake[row]),
        before=float(rows.before_p[row]) if rows.was_scored[row] else None,
        after=float(rows.after_p[row]) if rows.is_scored[row] else None,
        threshold=float(rows.threshold[row]),
        part=str(rows.part[row]),
        about=", ".join(filter(None, known)),
        thumbnail=thumbnail_of(data) if data is not None else "",
    )


def _counted(counts: Mapping[str, Any], within: str = "") -> list[tuple[str, list[tuple[str, str]]]]:
    """(heading, rows): the plain values, then each mapping; a mapping of mappings of plain values is a row for each."""
    plain = {name: value for name, value in counts.items() if not isinstance(value, Mapping)}
    rows = [(_spoken(name), _said(value)) for name, value in plain.items() if value not in (None, "", [], ())]
    found = [(within or "reviewed images", rows)] if rows else []
    for name, value in counts.items():
        heading = f"{within}, {_spoken(name)}" if within else _spoken(name)
        if isinstance(value, Mapping) and value and all(isinstance(each, Mapping) for each in value.values()):
            found.append((heading, [(_spoken(row), _said(each)) for row, each in value.items()]))
        elif isinstance(value, Mapping) and len(value) > _ROWS:
            found.append((heading, [("of each", _said(value))]))
        elif isinstance(value, Mapping):
            found += _counted(value, heading)
    return found


def _spoken(name: str) -> str:
    return str(name).replace("_", " ") or "(unknown)"


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_said(each)} {_spoken(name)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
