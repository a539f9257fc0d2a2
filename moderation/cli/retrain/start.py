"""modctl retrain itself: gather, show, ask, begin, follow, and say what came of it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moderation.cli.retrain.follow import follow, say_if_nobody_listens, work_here
from moderation.cli.retrain.manifest import print_manifest, say_manifest
from moderation.cli.retrain.view import print_outcome
from moderation.cli.shared import by_whom, confirm, parts, print_json, say
from moderation.errors import NotEnoughLabels, ServiceDown

if TYPE_CHECKING:
    from moderation.domain.prompt import PromptRecord
    from moderation.domain.training_run import TrainingRun
    from moderation.flows.retraining.lessons import Curriculum
    from moderation.wiring import Wiring


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for on the command line."""

    dry_run: bool
    include_weak: bool
    min_labels: int | None
    per_source: int | None
    per_uploader: int | None
    source: str | None
    no_replay: bool
    seed: int
    epochs: int | None
    name: str | None
    local: bool
    activate: bool
    watch: bool
    yes: bool
    reason: str
    actor: str
    as_json: bool


def retrain(wishes: Wishes) -> int:
    """Does it; returns the exit code. Raises NotEnoughLabels, in a dry run too."""
    from moderation.flows.retraining.enrol import parent_of

    with parts() as wiring:
        if not wishes.dry_run:
            wiring.training_runs.check_vacant(wiring.backbone_name)
        parent = parent_of(wiring.prompts, wiring.backbone_name)
        curriculum = _gathered(wiring, parent, wishes)
        _show(curriculum, parent, wishes)
        if curriculum.missing:
            raise NotEnoughLabels(curriculum.missing)
        if wishes.dry_run:
            return 0
        if wishes.local:
            _load(wiring)  # before a run is begun in vain
        confirm(f"Retrain {parent.name} ({parent.prompt_id})?", yes=wishes.yes)
        run = _begun(wiring, parent, curriculum, wishes)
        if wishes.local:
            run = work_here(wiring, run)
        elif wishes.watch:
            run = follow(wiring, run)
        if run.is_open:
            say(f"Follow it: modctl retrain status {run.run_id} --watch")
            if wishes.as_json:
                print_json(run)
            return 0
        return print_outcome(wiring, run, as_json=wishes.as_json)


def _gathered(wiring: Wiring, parent: PromptRecord, wishes: Wishes) -> Curriculum:
    from moderation.flows.retraining.lessons import Asked, gather

    settings = wiring.settings
    asked = Asked(
        include_weak=wishes.include_weak,
        per_source=wishes.per_source or settings.retrain_per_source,
        per_uploader=wishes.per_uploader or settings.retrain_per_uploader,
        holdout_share=settings.holdout_share,
        min_labels=wishes.min_labels or settings.retrain_min_labels,
        replay=not wishes.no_replay,
        seed=wishes.seed,
        source=wishes.source,
    )
    return gather(wiring.labels, wiring.holdout, wiring.prompts, parent, asked)


def _show(curriculum: Curriculum, parent: PromptRecord, wishes: Wishes) -> None:
    from moderation.flows.retraining.lessons import counts

    found = counts(curriculum)
    if not wishes.dry_run:
        say_manifest(found)
    elif wishes.as_json:
        print_json({"parent": parent.prompt_id, **found})
    else:
        print_manifest(found, f"{parent.prompt_id} ({parent.name})")


def _load(wiring: Wiring) -> None:
    from moderation.cli.extras import check_training

    check_training()
    _ = wiring.backbone


def _begun(wiring: Wiring, parent: PromptRecord, curriculum: Curriculum, wishes: Wishes) -> TrainingRun:
    from moderation.domain.training_run import RunConfig
    from moderation.flows.retraining.enrol import begin, name_for, ring

    config = RunConfig(
        name=wishes.name or name_for(curriculum),
        seed=wishes.seed,
        margin=wiring.settings.gate_margin,
        replay=not wishes.no_replay,
        epochs=wishes.epochs,
        activate=wishes.activate,
        command=shlex.join(["modctl", *sys.argv[1:]]),
    )
    by = by_whom(wiring, wishes.actor, wishes.reason)
    run = begin(wiring.training_runs, parent, curriculum, config, by)
    say(f"Run {run.run_id} of {run.backbone}, from {parent.prompt_id}")
    if wishes.local:
        wiring.training_claims.rung(run.run_id)  # this process has heard
        return run
    try:
        ring(run.run_id, wiring.bell, wiring.training_claims)
        say_if_nobody_listens(wiring)
    except ServiceDown as error:
        say(f"The run is stored, and a worker's sweep finds it later: {error}")
    return run
