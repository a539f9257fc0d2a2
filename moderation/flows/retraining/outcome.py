"""The outcome of a training run as it is kept: the candidate's columns, the figures, the report."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from moderation.domain.prompt import PromptId, prompt_id_of
from moderation.domain.training_run import TrainingRun
from moderation.evaluation.gate import GateResult
from moderation.evaluation.report import MINIATURE
from moderation.evaluation.retrain_report import RetrainTold, render_retrain
from moderation.evaluation.tuning_report import EpochRow
from moderation.flows.registry.prompt import fields_of
from moderation.flows.retraining.teach import Taught


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


def metrics_of(run: TrainingRun, taught: Taught, gate: GateResult) -> dict[str, Any]:
    """What the run's row keeps beside its lessons in numbers: gate, tuning, versions. Plain JSON without NaN."""
    found = {
        "gate": gate.to_json(),
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


def report_of(run: TrainingRun, taught: Taught, gate: GateResult, active: str) -> bytes:
    """The report, one gzipped HTML page. active: the name of the prompt that the candidate was compared with."""
    verdicts = taught.verdicts
    validated = [row.validation_loss for row in taught.history]
    told = RetrainTold(
        name=taught.name,
        facts=_facts(run, taught),
        counts={**run.metrics.get("counts", {}), "could not be had": dict(taught.left_out)},
        history=[EpochRow(*(getattr(row, each.name) for each in fields(EpochRow))) for row in taught.history],
        rows=taught.rows,
        result=gate,
        names=[verdict.lesson.name for verdict in verdicts],
        picture=lambda row: _bytes(verdicts[row].path),
        best_epoch=1 + validated.index(min(validated)) if validated else None,
        before=active,
        after=taught.name,
        warning=MINIATURE if run.backbone == "miniature" else "",
    )
    return gzip.compress(render_retrain(told).encode(), mtime=0)


def _facts(run: TrainingRun, taught: Taught) -> dict[str, str]:
    facts = {
        "run": str(run.run_id),
        "command": run.config.command,
        "begun by": f"{run.actor}: {run.reason}" if run.reason else run.actor,
        "backbone": run.backbone,
        "tuned from": run.parent,
        "candidate": prompt_id_of(taught.prompt.sha256),
        "seed": str(run.config.seed),
        "lessons": run.manifest_sha256,
        "ended": ", ".join(taught.tuned.ended),
        "validation, all parts together": _validated(taught.tuned.metrics),
        "notes": "; ".join(taught.tuned.notes),
        **{f"version of {name}": version for name, version in taught.versions.items()},
    }
    return {name: value for name, value in facts.items() if value}


def _validated(metrics: Mapping[str, Any]) -> str:
    """What the finished candidate makes of the validation pictures: the epochs are of the pseudo-word alone."""
    return (
        f"AUC {metrics['auc']:.3f}; right of the real {metrics['accuracy_real']:.1%}, of the fakes "
        f"{metrics['accuracy_fake']:.1%}"
    )


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _finite(value: Any) -> Any:
    """SQL's JSON knows no NaN: it becomes null."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
