"""Evaluate: score the pictures that are not scored yet, measure the candidates, and write what was found to a folder.

Thresholds come with the candidates and are never tuned on what is measured here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moderation.datasets.labelled import LabelledImage
from moderation.evaluation.bootstrap import RESAMPLES
from moderation.evaluation.result import Evaluation, Subject, assess, comparisons, unreadable
from moderation.evaluation.robustness import BASELINE, CONDITIONS, RobustnessRow, robustness_table
from moderation.evaluation.sample import sampled
from moderation.evaluation.scorefile import ScoreFile
from moderation.evaluation.scores import ScoreTable
from moderation.evaluation.seen import seen_in
from moderation.evaluation.shortcuts import Shortcut, audit
from moderation.evaluation.trivia import features
from moderation.files import write_whole
from moderation.flows.measuring.look import Look, key_of
from moderation.flows.measuring.score import Candidate, score_pictures

RESULT_FILE = "evaluation.json"


@dataclass(frozen=True)
class LabelledSet:
    """The pictures to measure on. facts: where they are from, `path` and `sha256` among them, for the record.

    hashes: of the data sets that these pictures are, or are part of, as whoever tunes or calibrates on them records it.
    """

    name: str
    images: list[LabelledImage]
    facts: Mapping[str, Any]
    missing_sets: tuple[str, ...] = ()
    hashes: frozenset[str] = frozenset()

    @property
    def sets(self) -> list[str]:
        """The names of its sets, in the order of the pictures."""
        return list(dict.fromkeys(image.set for image in self.images))


@dataclass(frozen=True)
class Plan:
    """What to measure. robustness_sample: pictures of each set that are degraded; 0: no robustness."""

    robustness_sample: int = 0
    shortcuts: bool = False
    resamples: int = RESAMPLES
    seed: int = 0
    batch_size: int = 64
    fresh: bool = False
    formats: tuple[str, ...] = ("parquet",)
    report: bool = True

    def applied_to(self, look: Look, data: LabelledSet) -> Look:
        """The look that this plan needs."""
        if self.robustness_sample:
            degraded = sampled(data.images, self.robustness_sample, self.seed)
            look = replace(look, conditions=CONDITIONS, degraded={key_of(image) for image in degraded})
        return replace(look, features=features) if self.shortcuts else look


def configuration(
    data: LabelledSet, candidates: list[Candidate], plan: Plan, made_by: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that scores depend on. Thresholds are not among it: they decide, and never change a score.

    made_by: backbone, its revision and how pictures are prepared.
    """
    robustness = {"conditions": list(CONDITIONS), "sample": plan.robustness_sample, "seed": plan.seed}
    return {
        **made_by,
        "candidates": {candidate.subject.name: candidate.subject.identity for candidate in candidates},
        "data": data.facts["path"],
        "data_sha256": data.facts["sha256"],
        "robustness": robustness if plan.robustness_sample else None,
        "shortcuts": plan.shortcuts,
    }


def folder_for(name: str, made_with: Mapping[str, Any]) -> Path:
    """A folder that another configuration would not get."""
    digest = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()
    return Path(f"eval-{name}-{digest[:8]}")


def evaluate(
    data: LabelledSet,
    candidates: list[Candidate],
    plan: Plan,
    *,
    look: Look,
    made_with: Mapping[str, Any],
    out: Path,
    readers: Executor,
    provenance: Mapping[str, Any],
    advance: Callable[[int], None],
) -> Evaluation:
    """The figures, written below `out`: scores, evaluation.json and report.html. Goes on where a run was stopped.

    Raises ConfigurationError where `out` holds scores that were made otherwise.
    """
    with ScoreFile(out / "parts", made_with, fresh=plan.fresh) as file:
        score_pictures(
            data.images,
            candidates=candidates,
            look=plan.applied_to(look, data),
            file=file,
            readers=readers,
            batch_size=plan.batch_size,
            advance=advance,
        )
        for form in plan.formats:
            file.export(out / f"scores.{form}")
        table = file.table()
        shortcuts = _shortcuts(file, plan)
    subjects = [replace(one.subject, seen=seen_in(one.metadata, data.hashes)) for one in candidates]
    evaluation = _conclude(table, data, subjects, plan, shortcuts, provenance)
    _write_json(evaluation, out / RESULT_FILE)
    if plan.report:
        from moderation.evaluation.report import render

        render(evaluation, table, out)
    return evaluation


def _conclude(
    table: ScoreTable,
    data: LabelledSet,
    subjects: list[Subject],
    plan: Plan,
    shortcuts: tuple[Shortcut, ...],
    provenance: Mapping[str, Any],
) -> Evaluation:
    drawn = {"resamples": plan.resamples, "seed": plan.seed}
    return Evaluation(
        data={**data.facts, "pictures": len(data.images), "sets": data.sets},
        candidates=tuple(assess(table, subject, data.sets, **drawn) for subject in subjects),
        comparisons=comparisons(table, subjects, **drawn),
        unreadable=unreadable(table),
        robustness=_robustness(table, subjects),
        shortcuts=shortcuts,
        missing_sets=data.missing_sets,
        provenance=provenance,
        **drawn,
    )


def _robustness(table: ScoreTable, subjects: list[Subject]) -> tuple[RobustnessRow, ...]:
    """Over the pictures that were degraded, also for how they fare as they are."""
    picture = table.picture
    degraded = picture[table.condition != BASELINE]
    if not len(degraded):
        return ()
    rows = table.select(np.isin(picture, degraded))
    return tuple(robustness_table(rows, {subject.name: subject.threshold for subject in subjects}))


def _shortcuts(file: ScoreFile, plan: Plan) -> tuple[Shortcut, ...]:
    columns = file.features() if plan.shortcuts else {}
    if not columns:
        return ()
    is_fake, sets, groups = (columns.pop(f"_{name}") for name in ("is_fake", "set", "group"))
    return tuple(audit(columns, is_fake.astype(np.bool_), sets, groups, seed=plan.seed))


def _write_json(evaluation: Evaluation, file: Path) -> None:
    write_whole(file, (json.dumps(evaluation.to_json(), indent=1) + "\n").encode())
