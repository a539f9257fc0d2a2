"""Enrol: from what a retraining would learn from to a queued run, and the bell for it. Needs no torch."""

from __future__ import annotations

from moderation.domain.lesson import pack
from moderation.domain.prompt import PromptRecord
from moderation.domain.training_run import RunConfig, RunId, TrainingRun
from moderation.errors import ConfigurationError, NotEnoughLabels
from moderation.flows.registry.prompt import contents
from moderation.flows.retraining.lessons import Curriculum, counts
from moderation.queue.app import TRAINING_QUEUE
from moderation.queue.bell import Bell
from moderation.storage.events import By
from moderation.storage.registry.prompts import Prompts
from moderation.storage.training.claims import TrainingClaims
from moderation.storage.training.runs import TrainingRuns

_TUNE = "tune one: modctl tune, then: modctl prompt activate ID"


def parent_of(prompts: Prompts, backbone: str) -> PromptRecord:
    """The prompt that a retraining starts from: the active one. Raises ConfigurationError where there is none."""
    record = prompts.active(backbone)
    if record is None:
        raise ConfigurationError("prompt", f"no prompt is active for the backbone {backbone}", hint=_TUNE)
    if not contents(prompts.blob(record.prompt_id)).tokens:
        problem = f"the active one, {record.prompt_id}, asks the plain question: it has no pseudo-word to go on from"
        raise ConfigurationError("prompt", problem, hint=_TUNE)
    return record


def name_for(curriculum: Curriculum) -> str:
    """What a candidate is called unless told otherwise: after its lessons, so that equal runs give equal names."""
    return f"retrained-{curriculum.sha256[:8]}"


def begin(runs: TrainingRuns, parent: PromptRecord, curriculum: Curriculum, config: RunConfig, by: By) -> TrainingRun:
    """A queued run on these lessons, and the sides that were drawn for it, in one transaction.

    Raises NotEnoughLabels where something is missing, ConfigurationError for a name that is none and where another run
    of the backbone is open.
    """
    if curriculum.missing:
        raise NotEnoughLabels(curriculum.missing)
    if not config.name or config.name != config.name.strip() or set(config.name) & set("/\\\0\n"):
        raise ConfigurationError("--name", f"{config.name!r} can't be a candidate's: it becomes a folder's, too")
    return runs.begin(
        backbone=parent.backbone,
        parent=parent.prompt_id,
        config=config,
        manifest=pack(curriculum.lessons),
        manifest_sha256=curriculum.sha256,
        sides=curriculum.sides,
        counts=counts(curriculum),
        by=by,
    )


def ring(run_id: RunId, bell: Bell, claims: TrainingClaims) -> None:
    """Tells the workers that listen to `training`. Raises ServiceDown; then the sweep rings later."""
    bell.ring_training(run_id)
    claims.rung(run_id)


def ring_for_waiting_runs(claims: TrainingClaims, bell: Bell, *, ring_again_s: float) -> list[RunId]:
    """Rings for runs that nobody has, unless a bell hangs already: while no worker listens, one is enough.

    Raises ServiceDown.
    """
    if bell.depths([TRAINING_QUEUE])[TRAINING_QUEUE]:
        return []
    waiting = claims.owed(ring_again_s=ring_again_s)
    for run_id in waiting:
        bell.ring_training(run_id)
    return waiting
