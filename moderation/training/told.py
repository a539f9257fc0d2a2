"""What the report of a tuning run is told: figures, what was trained on, what the prompt holds, where it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from moderation.detector.calibration import Calibration
from moderation.detector.expert import ExpertWeights
from moderation.evaluation.tuning_report import EpochRow, TuningReport
from moderation.training.finish import Measured
from moderation.training.state import RunFacts
from moderation.training.tune import Outcome

Counts = Mapping[str, Mapping[str, int]]
"""{what the training pictures are counted by: {value: pictures}}."""


def report_of(
    facts: RunFacts,
    measured: Measured,
    outcomes: Sequence[Outcome],
    training: Counts,
    expert: ExpertWeights | None,
    warning: str,
) -> TuningReport:
    """What the run's report shows."""
    return TuningReport(
        name=facts.plan.name,
        config={name: value for name, value in facts.plan.to_json().items() if value is not None},
        history=_history(outcomes),
        is_fake=measured.is_fake,
        margins=measured.margins,
        probability_before=measured.probabilities(Calibration()),
        probability_after=measured.probabilities(measured.calibration),
        best_epoch=outcomes[0].state.best_epoch or None,
        metrics={**measured.metrics(), **_calibration_figures(measured)},
        calibrated_on="; ".join(measured.notes),
        facts={
            "command": facts.command,
            "backbone": f"{facts.backbone} at {facts.revision}",
            "data": facts.manifest_sha256,
            **{f"training pictures by {what}": _listed(found) for what, found in training.items()},
            "normalisation": f"mean {_spaced(facts.mean)}, deviation {_spaced(facts.std)}",
            "calibration": measured.calibration.described,
            **({"source biases": _biases(measured.calibration)} if measured.calibration.source_bias else {}),
            "native crops": f"{facts.plan.crops}, {facts.plan.crop_pool} with the whole"
            if facts.plan.crops
            else "none",
            "pixel expert": f"weight {expert.weight:.4g}, on {expert.crops} native crops" if expert else "none",
            "device": f"{facts.device}, {facts.dtype}",
            **{f"version of {name}": version for name, version in facts.versions.items()},
        },
        warning=warning,
    )


def _calibration_figures(measured: Measured) -> dict[str, float | str]:
    """The ECE that can be believed: judged by fits that did not see the picture; and the one of chance beside it."""
    fitted = measured.fitted
    if fitted is None:
        return {"ECE after calibration": "not calibrated"}
    name = "ECE after calibration, held out" if fitted.held_out else "ECE after calibration, on what fitted it"
    return {"ECE before calibration": fitted.before.ece, name: fitted.after.ece, "ECE by chance": fitted.ece_by_chance}


def _listed(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items()))


def _spaced(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _biases(calibration: Calibration) -> str:
    return ", ".join(f"{name} {bias:+.2f}" for name, bias in sorted(calibration.source_bias.items()))


def _history(outcomes: Sequence[Outcome]) -> list[EpochRow]:
    """By epoch, the mean over the members that got there."""
    rows = [row for outcome in outcomes for row in outcome.state.history]
    history = []
    for epoch in sorted({row.epoch for row in rows}):
        same = [row for row in rows if row.epoch == epoch]
        mean = {
            name: float(np.mean([getattr(row, name) for row in same]))
            for name in ("loss", "validation_loss", "validation_auc", "learning_rate", "seconds")
        }
        history.append(EpochRow(epoch, **mean))
    return history
