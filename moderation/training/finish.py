"""From tuned numbers to what is kept: validated, calibrated, with its figures and where it came from.

Nothing that differs between two equal runs (times, folders) goes into the artefact: equal runs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moderation.datasets.labelled import LabelledImage
from moderation.detector.backbone import Backbone
from moderation.detector.calibration import Calibration
from moderation.detector.crops import Crops
from moderation.detector.expert import ExpertWeights
from moderation.detector.preprocess import Normalisation
from moderation.detector.prompt import SoftPrompt
from moderation.evaluation.metrics import auc
from moderation.training.calibrate import CannotCalibrate, Fitted, fit
from moderation.training.state import RunFacts
from moderation.training.tune import Outcome
from moderation.training.validation import Validated

THRESHOLD = 0.5  # of P(fake); what an evaluation uses unless told otherwise
_NONE = Calibration()


@dataclass(frozen=True)
class Measured:
    """What the tuned numbers do on the validation pictures `images`; arrays in their order."""

    images: Sequence[LabelledImage]
    is_fake: NDArray[np.bool_]
    margins: NDArray[np.float64]  # of an ensemble, the mean
    loss: float | None  # None where the score is no longer the tuned word's alone
    calibration: Calibration
    fitted: Fitted | None  # None where no calibration could be fitted; `notes` says why
    notes: Sequence[str]

    def probabilities(self, calibration: Calibration) -> NDArray[np.float64]:
        """P(fake) of each picture."""
        pairs = zip(self.margins.tolist(), self.images, strict=True)
        return np.array([calibration.probability(margin, image.source) for margin, image in pairs])

    def metrics(self) -> dict[str, float | int]:
        """n_real, n_fake, loss if it is known, auc, and accuracies at THRESHOLD, calibrated on the same pictures."""
        called = self.probabilities(self.calibration) >= THRESHOLD
        real, fake = float((~called[~self.is_fake]).mean()), float(called[self.is_fake].mean())
        return {
            "n_real": int((~self.is_fake).sum()),
            "n_fake": int(self.is_fake.sum()),
            **({} if self.loss is None else {"loss": round(self.loss, 6)}),
            "auc": round(auc(self.is_fake.tolist(), self.margins.tolist()), 6),
            "accuracy_real": round(real, 6),
            "accuracy_fake": round(fake, 6),
            "balanced_accuracy": round((real + fake) / 2, 6),
        }


def measure(found: Sequence[Validated], images: Sequence[LabelledImage], seed: int) -> Measured:
    """The members' validations as one. images: what their rows count."""
    first = found[0]
    return calibrated(
        [images[row] for row in first.rows],
        first.is_fake,
        np.mean([member.margins for member in found], axis=0),
        float(np.mean([member.loss for member in found])),
        seed,
    )


def calibrated(
    images: Sequence[LabelledImage],
    is_fake: NDArray[np.bool_],
    margins: NDArray[np.float64],
    loss: float | None,
    seed: int,
    otherwise: Calibration = _NONE,
) -> Measured:
    """With the calibration that these margins bear, or with `otherwise` where they bear none."""
    sources, groups = [image.source for image in images], [image.group for image in images]
    try:
        fitted = fit(margins, is_fake, sources, groups, seed=seed)
    except CannotCalibrate as error:
        return Measured(images, is_fake, margins, loss, otherwise, None, (f"not calibrated: {error}",))
    return Measured(images, is_fake, margins, loss, fitted.calibration, fitted, fitted.notes)


def metadata_of(
    facts: RunFacts, measured: Measured, outcomes: Sequence[Outcome], counts: Mapping[str, int]
) -> dict[str, Any]:
    """What a prompt or an adapter says of how it came about."""
    ended = [outcome for outcome in outcomes if outcome.numbers is not None]
    return {
        "tuned_on": facts.manifest_sha256,
        "training": dict(counts),
        "validation": measured.metrics(),
        "calibration": measured.fitted.to_json() if measured.fitted else None,
        "best_epochs": [outcome.state.best_epoch for outcome in ended],
        "ended": [outcome.why for outcome in ended],
        "plan": facts.plan.to_json(),
        "started_from": facts.parent,
        "versions": dict(facts.versions),
    }


def prompt_of(
    backbone: Backbone,
    facts: RunFacts,
    outcomes: Sequence[Outcome],
    measured: Measured,
    metadata: Mapping[str, Any],
    expert: ExpertWeights | None,
) -> SoftPrompt:
    """The prompt: one word, or an ensemble of those members that have a best."""
    numbers = [outcome.numbers for outcome in outcomes if outcome.numbers is not None]
    sides: dict[str, torch.Tensor] = {
        side: numbers[0][side] if len(numbers) == 1 else torch.stack([member[side] for member in numbers])
        for side in numbers[0]
    }
    plan = facts.plan
    return SoftPrompt(
        backbone=backbone.name,
        qformer=sides.get("qformer"),
        llm=sides.get("llm"),
        revision=backbone.revision,
        position=plan.position,
        question=plan.question,
        normalisation=Normalisation(facts.mean, facts.std),
        calibration=measured.calibration,
        metadata=metadata,
        crops=Crops(plan.crops, plan.crop_pool) if plan.crops else None,
        expert=expert,
    )
