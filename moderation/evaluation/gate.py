"""The gate: may a retrained prompt replace the active one? Paired, on pictures that neither learned from.

It refuses what it can't prove. A candidate passes where, in each part ('holdout': reviewed images that never train;
'replay': pictures that the base prompt was made with, held out), the paired 95 % interval of the AUC difference stays
above minus the margin, and McNemar does not find it worse at today's thresholds; and where no slice is worse by more
than BEYOND past its interval, in AUC, or in accuracy at the thresholds. Near-duplicates are one observation everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from moderation.evaluation.bootstrap import RESAMPLES
from moderation.evaluation.gate_result import (
    BEYOND,
    GATE_COLUMNS,
    GATE_FOLD,
    GATE_RIGHT,
    GATE_SPARE,
    GENERATOR,
    WHOLE,
    GateLine,
    GateResult,
    GateVerdict,
    gate_rows_text,
)
from moderation.evaluation.gate_rules import FEWEST, judged_class, passing, refusals, verdict_of
from moderation.evaluation.gate_slices import independent, slices
from moderation.evaluation.paired import differences, is_usable, scored, sided

__all__ = [
    "BEYOND",
    "FEWEST",
    "GATE_COLUMNS",
    "GATE_FOLD",
    "GATE_RIGHT",
    "GATE_SPARE",
    "HOLDOUT",
    "REPLAY",
    "GateLine",
    "GateResult",
    "GateVerdict",
    "Judged",
    "gate_rows_text",
    "judge",
]

HOLDOUT, REPLAY = "holdout", "replay"


@dataclass(frozen=True, eq=False)
class Judged:
    """Pictures that both prompts scored, all arrays [N]. A score that is missing is NaN.

    before_*: of the active prompt; after_*: of the candidate. p: P(fake). threshold: P(fake) from which a picture of
    its source is flagged today. group: near-duplicates share it, '' is a picture of its own. source, generator, band:
    '' where unknown; a generator matters on fakes alone. part: HOLDOUT or REPLAY.
    """

    is_fake: NDArray[np.bool_]
    before_p: NDArray[np.float64]
    before_margin: NDArray[np.float64]
    after_p: NDArray[np.float64]
    after_margin: NDArray[np.float64]
    threshold: NDArray[np.float64]
    group: NDArray[Any]
    source: NDArray[Any]
    generator: NDArray[Any]
    band: NDArray[Any]
    part: NDArray[Any]

    def __post_init__(self) -> None:
        """Raises ValueError for columns of unequal length, an unknown part, or a threshold that is no number."""
        if len({len(getattr(self, field.name)) for field in fields(self)}) > 1:
            raise ValueError("the columns have unequal lengths")
        if unknown := sorted(set(map(str, self.part)) - {HOLDOUT, REPLAY}):
            raise ValueError(f"no such part: {unknown[0]!r}")
        if np.isnan(self.threshold).any():
            raise ValueError("a threshold is no number")

    def __len__(self) -> int:
        return len(self.is_fake)

    @property
    def was_scored(self) -> NDArray[np.bool_]:
        """Which pictures the active prompt has a score for."""
        return is_usable(self.before_p, self.before_margin)

    @property
    def is_scored(self) -> NDArray[np.bool_]:
        """Which pictures the candidate has a score for."""
        return is_usable(self.after_p, self.after_margin)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """The rows of a mask, or with these numbers in this order."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def judge(
    rows: Judged, *, margin: float, seed: int, with_replay: bool = True, resamples: int = RESAMPLES
) -> GateResult:
    """Compares the two on every part and slice. The same rows and seed give the same result.

    margin: AUC that a candidate may lose, from 0 to 1. with_replay False: the operator wants no replay part; else a
    missing one refuses. Raises ValueError for a margin that is no share.
    """
    if not (math.isfinite(margin) and 0 <= margin <= 1):
        raise ValueError(f"the margin is {margin}, must lie between 0 and 1")
    parts = [part for part in (HOLDOUT, REPLAY) if part == HOLDOUT or with_replay or (rows.part == REPLAY).any()]
    lines = [
        replace(line, verdict=verdict_of(line, margin))
        for part in parts
        for line in _lines(rows.select(np.asarray(rows.part == part)), part, resamples, seed)
    ]
    refused = refusals(lines, margin)
    return GateResult(
        passed=not refused,
        reasons=tuple(refused or passing(lines)),
        lines=tuple(lines),
        margin=margin,
        seed=seed,
        resamples=resamples,
    )


def _lines(all_rows: Judged, part: str, resamples: int, seed: int) -> list[GateLine]:
    rows = all_rows.select(all_rows.was_scored)
    whole = _line(rows, part, WHOLE, resamples, seed)
    found = [replace(whole, left_out=len(all_rows) - len(rows))]
    for name, mask in slices(rows.source, rows.generator, rows.band, rows.is_fake, rows.group):
        found.append(_line(rows.select(mask), part, name, resamples, seed))
    return found


def _line(rows: Judged, part: str, name: str, resamples: int, seed: int) -> GateLine:
    n_real, n_fake = independent(rows.is_fake, rows.group)
    alone = judged_class(name, n_real, n_fake) if name != WHOLE else None
    figures = _figures(rows if alone is None else rows.select(rows.is_fake == alone), resamples, seed)
    if alone is None and name.startswith(f"{GENERATOR}="):  # real pictures are not its own: the part judges them, once
        of_fakes = _figures(rows.select(rows.is_fake), resamples, seed)
        figures |= {key: value for key, value in of_fakes.items() if not key.startswith("auc")}
    return GateLine(
        part=part,
        slice=name,
        n=len(rows),
        n_fake=int(rows.is_fake.sum()),
        groups_real=n_real,
        groups_fake=n_fake,
        failed=int((~rows.is_scored).sum()),
        left_out=0,
        **figures,
    )


def _figures(rows: Judged, resamples: int, seed: int) -> dict[str, Any]:
    before = scored(rows.is_fake, rows.before_p, rows.before_margin, rows.threshold)
    after = scored(rows.is_fake, rows.after_p, rows.after_margin, rows.threshold)
    found: dict[str, Any] = dict(differences(rows.is_fake, before, after, rows.group, resamples, seed))
    for name in ("auc_before", "auc_after", "accuracy_before", "accuracy_after"):
        found[name] = None if found[name] is None else found[name].value
    only_before, only_after, p_value = sided(before.is_right, after.is_right, rows.group)
    return {**found, "only_before": only_before, "only_after": only_after, "p_value": p_value}
