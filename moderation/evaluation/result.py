"""What an evaluation found: everything that a report shows and that repeating it needs, as plain data.

Nothing is measured here but what a score table says; no threshold is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moderation.evaluation.bootstrap import RESAMPLES, measure
from moderation.evaluation.compare import Comparison, compare
from moderation.evaluation.figures import SetMetrics
from moderation.evaluation.robustness import RobustnessRow
from moderation.evaluation.scores import ScoreTable
from moderation.evaluation.seen import warning


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated. identity: what exactly it is (a sha256, a path). threshold: P(fake) >= it is called fake.

    seen: what of it was made on the pictures that it is measured on; see `evaluation.seen`.
    """

    name: str
    identity: str
    threshold: float
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that has no score, and why."""

    set: str
    path: str
    reason: str


@dataclass(frozen=True)
class CandidateResult:
    """One candidate's figures. sets: by name, in order. overall: all pictures pooled.

    mean_accuracy: of the sets' `accuracy`, each set counting once, as the paper's AVG does (for its one-class sets).
    worst: the set with the lowest `accuracy`; '' where nothing was scored. seen: see Subject.
    """

    name: str
    identity: str
    threshold: float
    sets: Mapping[str, SetMetrics]
    overall: SetMetrics
    mean_accuracy: float | None
    worst: str
    seen: str = ""


@dataclass(frozen=True)
class Evaluation:
    """One run. data: path, preset, sha256, split, number of pictures. provenance: command, machine, versions, time.

    comparisons: each later candidate against the first. robustness, shortcuts: empty where not asked for.
    missing_sets: sets that the preset knows and the data lack.
    """

    data: Mapping[str, Any]
    candidates: tuple[CandidateResult, ...]
    comparisons: tuple[Comparison, ...]
    unreadable: tuple[Unreadable, ...]
    robustness: tuple[RobustnessRow, ...]
    shortcuts: tuple[Any, ...]
    missing_sets: tuple[str, ...]
    seed: int
    resamples: int
    provenance: Mapping[str, Any]

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each candidate that was made on what it is measured on."""
        return tuple(warning(one.name, one.seen) for one in self.candidates if one.seen)

    def to_json(self) -> dict[str, Any]:
        """Plain data with a stable order of keys; what is no finite number is null."""
        plain = asdict(self)
        for candidate, found in zip(plain["candidates"], self.candidates, strict=True):
            candidate["sets"] = {name: asdict(metrics) for name, metrics in found.sets.items()}
        plain["n_unreadable"] = len(self.unreadable)
        plain["warnings"] = list(self.warnings)
        cleaned: dict[str, Any] = json.loads(json.dumps(_finite(plain)))
        return cleaned


def assess(
    table: ScoreTable, subject: Subject, sets: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> CandidateResult:
    """The figures of one candidate on pictures as they are; `sets` gives their order."""
    mine = table.where(candidate=subject.name, condition="")

    def measured(rows: ScoreTable) -> SetMetrics:
        return measure(
            rows.is_fake,
            rows.probability,
            rows.margin,
            subject.threshold,
            rows.group,
            resamples=resamples,
            seed=seed,
        )

    found = {name: measured(mine.where(set=name)) for name in sets}
    accuracies = {name: metrics.accuracy.value for name, metrics in found.items() if metrics.accuracy is not None}
    return CandidateResult(
        name=subject.name,
        identity=subject.identity,
        threshold=subject.threshold,
        sets=found,
        overall=measured(mine) if len(found) != 1 else next(iter(found.values())),
        mean_accuracy=float(np.mean(list(accuracies.values()))) if accuracies else None,
        worst=min(accuracies, key=lambda name: accuracies[name], default=""),
        seen=subject.seen,
    )


def comparisons(
    table: ScoreTable, subjects: Sequence[Subject], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Comparison, ...]:
    """Each later candidate against the first, on pictures as they are."""
    rows = [table.where(candidate=subject.name, condition="") for subject in subjects]
    return tuple(
        compare(rows[0], other, (subjects[0].threshold, subject.threshold), resamples=resamples, seed=seed)
        for subject, other in zip(subjects[1:], rows[1:], strict=True)
    )


def unreadable(table: ScoreTable) -> tuple[Unreadable, ...]:
    """The pictures that have no score as they are, each with each reason once."""
    failed = table.where(condition="")
    failed = failed.select(failed.error != "")
    found = dict.fromkeys(zip(failed.set, failed.path, failed.error, strict=True))
    return tuple(Unreadable(*each) for each in found)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, str | int | bool | None):
        return value
    return str(value)
