"""The story and its converse: honest reviewers who err now and then, and one who always says the opposite."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from benchmarks.retraining import steps
from benchmarks.retraining.installation import Installation
from benchmarks.retraining.pictures import Pictures
from benchmarks.retraining.steps import Reviewer
from moderation.domain.review import Role
from moderation.storage.events import By
from moderation.wiring import Wiring

HONEST = (Reviewer("ada", 0.05), Reviewer("ben", 0.05))
POISONER = Reviewer("mallory", 1.0)
EXIT_REFUSED = 4


def honest(at: Installation, made: Pictures) -> dict[str, Any]:
    """Reviewed by two who err, retrained, activated: better on other pictures, not worse on the old ones."""
    wiring = at.wiring
    steps.score(wiring, list(made.uploads), source=steps.UPLOADS)
    before = _measured(wiring, made)
    answers = steps.review(wiring, HONEST, made.truth)
    run, seconds = at.retrain("a new kind of fake")
    at.modctl(
        "prompt", "activate", run["prompt_id"], "--reason", "passed the gate", "--yes", "--json"
    )  # fmt: skip
    after = _measured(wiring, made, force=True)
    prompts = {verdict.prompt_id for verdict in after.values()}
    return {
        "answers": answers, "run": run, "seconds": seconds, "prompts_after": sorted(prompts),
        "others": steps.compared(before, after, made.others, wiring),
        "old": steps.compared(before, after, made.old, wiring),
    }  # fmt: skip


def poisoned(at: Installation, made: Pictures) -> dict[str, Any]:
    """Reviewed by one whose word alone counts, and who always says the opposite."""
    wiring = at.wiring
    token = hashlib.sha256(POISONER.name.encode()).hexdigest()
    by = By("story", "a mistake")
    wiring.reviewers.save(POISONER.name, Role.REVIEWER, is_trusted=True, token_sha256=token, by=by)
    steps.score(wiring, list(made.uploads), source=steps.UPLOADS)
    answers = steps.review(wiring, [POISONER], made.truth)
    run, seconds = at.retrain("what mallory says", expected=EXIT_REFUSED)
    return {"answers": answers, "run": run, "seconds": seconds}


def _measured(wiring: Wiring, made: Pictures, *, force: bool = False) -> dict[str, Any]:
    ids: Sequence[str] = [*made.others, *made.old]
    return dict(steps.score(wiring, ids, source=steps.MEASURED, force=force))
