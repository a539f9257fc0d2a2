"""The pixel expert's part of a tuning run: trained, weighed against the margin, and calibrated with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
import torch

from moderation.datasets.labelled import LabelledImage
from moderation.detector import Backbone, Detector, ExpertWeights, SoftPrompt
from moderation.training.arrival import CONDITIONS, arrive
from moderation.training.expert import Examples, expert_logits, file_crops, fuse, train_expert
from moderation.training.finish import Measured, calibrated
from moderation.training.learner import Begun
from moderation.training.plan import TunePlan
from moderation.training.reading import Decode
from moderation.training.run import RunFolder
from moderation.training.state import State

_CROPS = 4  # native crops that the expert reads where --crops says nothing
_RATE, _EPOCHS = 4e-3, 6
_GOING_ON_RATE, _GOING_ON_EPOCHS = 2e-3, 16  # from an expert that knows something already


def begun_in(run: RunFolder, tell: Callable[[int], None]) -> Begun:
    """Where the expert's training stands in the run's folder, and is kept there after every epoch.

    tell: is given the number of its epochs that are kept, now and after each. Raises ConfigurationError where it can't
    be read.
    """
    state, tensors = run.load_expert()

    def keep(state: State, tensors: Mapping[str, torch.Tensor]) -> None:
        run.save_expert(state, tensors)
        tell(state.epochs)

    tell(state.epochs)
    return Begun(state, tensors, keep)


def with_expert(
    prompt: SoftPrompt,
    plan: TunePlan,
    training: Sequence[LabelledImage],
    measured: Measured,
    backbone: Backbone,
    decode: Decode,
    readers: Executor,
    say: Callable[[str], None],
    given: ExpertWeights | None = None,
    begun: Begun | None = None,
) -> tuple[ExpertWeights, Measured]:
    """A pixel expert, trained on the training pictures, and what the margins come to with its share.

    prompt: without expert. given: the expert to go on from; gently, so that it does not forget. begun: where this
    training was left off. Its weight and the calibration are fitted on the validation pictures as they are and as they
    arrive; see `arrival`. Raises ConfigurationError where the expert does not help on them.
    """
    crops, size, device = plan.crops or _CROPS, backbone.image_size, str(backbone.device)
    looks = [
        file_crops([image.path for image in images], size, crops, read=decode) for images in (training, measured.images)
    ]
    truth = np.array([image.is_fake for image in training], dtype=bool)
    weights = np.array([image.weight for image in training])
    tensors = train_expert(
        Examples(looks[0], truth, None if (weights == 1).all() else weights),
        Examples(looks[1], measured.is_fake),
        seed=plan.seed,
        start=given.tensors if given else None,
        lr=_GOING_ON_RATE if given else _RATE,
        epochs=_GOING_ON_EPOCHS if given else _EPOCHS,
        begun=begun,
        device=device,
        readers=readers,
        report=lambda epoch: say(
            f"expert, epoch {epoch.number}: loss {epoch.loss:.4f}, on treated validation pictures "
            f"{epoch.validation_loss:.4f}, AUC {epoch.validation_auc:.3f}"
        ),
    )
    alone = Detector(backbone, replace(prompt, crops=None))
    beside = Detector(backbone, replace(prompt, crops=None, expert=ExpertWeights(tensors, 1.0, crops)))
    found = arrive(measured.images, alone, beside, decode, readers, plan.seed)
    fusion = fuse(found.margins, found.logits, measured.is_fake[found.rows])
    fused = found.margins + fusion.weight * found.logits
    seen = [measured.images[row] for row in found.rows]
    arrived = calibrated(seen, measured.is_fake[found.rows], fused, measured.loss, plan.seed, fusion.calibration)
    logits = expert_logits(tensors, looks[1], len(measured.images), device=device, readers=readers)
    notes = (*arrived.notes, f"fitted on the validation pictures in {len(CONDITIONS)} conditions")
    after = replace(
        measured,
        margins=measured.margins + fusion.weight * logits,
        calibration=arrived.calibration,
        fitted=arrived.fitted,
        notes=notes,
    )
    return ExpertWeights(tensors, fusion.weight, crops), after
