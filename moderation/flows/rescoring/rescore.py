"""Rescore: stored images get scores of the active prompt; somebody looks at what would change and applies it or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from moderation.domain.evidence import Rule, rule_of
from moderation.domain.prompt import PromptId
from moderation.domain.rescore import RescoreRun, RescoreScope, RescoreState
from moderation.domain.rescore_diff import (
    DiffGroup,
    Pin,
    Rescored,
    RescoreDiff,
    WhoIsRight,
    moved_by_thresholds,
    moves_of,
    who_is_right,
)
from moderation.domain.review import Answer, Label, Trust, derive_label
from moderation.domain.verdict import Decision
from moderation.errors import ConfigurationError, ServiceDown
from moderation.queue.bell import Bell
from moderation.storage.events import By
from moderation.storage.policies import Policies
from moderation.storage.registry.prompts import Prompts
from moderation.storage.rescoring.apply import Applying
from moderation.storage.rescoring.difference import Rescoring
from moderation.storage.rescoring.runs import Rescores
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying did: images with a new verdict, those of them with another decision, and tasks drawn for people."""

    images: int
    changed: int
    tasks: int


@dataclass(frozen=True)
class Comparer:
    """Where the new scores, the verdicts and what people said of them lie."""

    rescoring: Rescoring
    policies: Policies
    reviews: Reviews
    reviewers: Reviewers

    def diff(self, run: RescoreRun, *, limit: int) -> RescoreDiff:
        """What applying the run would change now, with at most `limit` of the images by name."""
        policies = self.policies.current()
        rule, asked = rule_of(policies), (run.scope, run.prompt_id)
        pin = Pin(self.rescoring.last_verdict(), {source: policy.policy_id for source, policy in policies.items()})
        until = pin.last_verdict
        groups = self.rescoring.groups(*asked, rule, until=until)
        moves = moves_of(groups)
        return RescoreDiff(
            run_id=run.run_id,
            prompt_id=run.prompt_id,
            pin=pin,
            images=sum(moves.values()),
            unscored=self.rescoring.unscored(*asked),
            moves=moves,
            by_source=_by_source(groups),
            by_thresholds=moved_by_thresholds(groups),
            to_review=sum(each.images for each in groups if each.after is Decision.REVIEW and not each.is_seen),
            reviewed=self._who_is_right(run, rule, until),
            moving=self._labelled(self.rescoring.moving(*asked, rule, until=until, limit=limit)),
        )

    def _who_is_right(self, run: RescoreRun, rule: Rule, until: int) -> WhoIsRight:
        return who_is_right(self._labelled(self.rescoring.reviewed(run.scope, run.prompt_id, rule, until=until)))

    def _labelled(self, images: Sequence[Rescored]) -> list[Rescored]:
        """The images with their trusted labels."""
        reviews = self.reviews.of_images([image.image_id for image in images])
        trusted = self.reviewers.trusted()
        labels = {image_id: derive_label(found, trusted) for image_id, found in reviews.items()}
        return [replace(image, is_fake=_is_fake(labels.get(image.image_id))) for image in images]


def only_active(prompts: Prompts, backbone: str) -> PromptId:
    """The prompt that scores now. Raises ConfigurationError where none is active."""
    record = prompts.active(backbone)
    if record is None:
        raise ConfigurationError(
            "prompt", f"no prompt is active for the backbone {backbone}", hint="see: modctl prompt list"
        )
    return record.prompt_id


def find_run(rescores: Rescores, prompt_id: PromptId, scope: RescoreScope, *, to_apply: bool) -> RescoreRun | None:
    """The newest run of this prompt that was asked for in the same words and is of use; None: a new one is to begin.

    Of use is one under way; and one that is done, if nothing more lacks a score or it is to be applied as it is. Raises
    ConfigurationError where one of another scope is under way.
    """
    runs = rescores.list(prompt_id=prompt_id, limit=None)
    for run in runs:
        if run.is_open and not run.scope.is_asked_by(scope):
            raise ConfigurationError(
                "rescore",
                f"run {run.run_id} ({run.scope.described()}) is under way, and there is one at a time",
                hint=f"pick it up: modctl rescore status {run.run_id} --watch; "
                f"or end it: modctl rescore cancel {run.run_id}",
            )
    for run in runs:
        if run.scope.is_asked_by(scope):
            if run.is_open or (run.state is RescoreState.DONE and to_apply):
                return run
            # To score again is asked for anew each time: nothing ever lacks a score then.
            is_of_use = run.state in (RescoreState.DONE, RescoreState.APPLIED) and not scope.is_again
            return run if is_of_use and not rescores.lacking(run.scope, prompt_id) else None
    return None


def begin(
    rescores: Rescores, bell: Bell | None, prompt_id: PromptId, scope: RescoreScope, *, rate: float, by: By
) -> tuple[RescoreRun, bool]:
    """Begins a run and rings for it; False: the broker does not answer, and a worker's sweep will ring.

    bell: None: the caller does the work itself.
    """
    run = rescores.begin(prompt_id, scope, rate=rate, by=by)
    if bell is None or not run.is_open:
        return run, True
    try:
        bell.ring_backfill(run.run_id)
    except ServiceDown:
        return run, False
    return run, True


def apply(applying: Applying, diff: RescoreDiff, *, by: By, told: Callable[[int], None] = lambda _: None) -> Applied:
    """Gives the images of the diff their new verdicts, a chunk at a time; `told` is called with each chunk's images.

    What was applied stays if it is interrupted, and is not applied again. Raises ConfigurationError where thresholds or
    the active prompt changed since the diff was taken.
    """
    images = changed = tasks = 0
    after: str | None = ""
    while after is not None:
        part = applying.apply_some(diff.run_id, diff.pin, after=after, by=by)
        images, changed, tasks, after = images + part.images, changed + part.changed, tasks + part.tasks, part.last
        told(part.images)
    return Applied(images, changed, tasks)


def _by_source(groups: Sequence[DiffGroup]) -> dict[str, dict[tuple[Decision, Decision], int]]:
    found: dict[str, list[DiffGroup]] = defaultdict(list)
    for group in groups:
        found[group.source].append(group)
    return {source: moves_of(found[source]) for source in sorted(found)}


def _is_fake(label: Label | None) -> bool | None:
    if label is None or label.answer is None or label.trust is not Trust.TRUSTED:
        return None
    return label.answer is Answer.FAKE
