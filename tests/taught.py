"""A platform whose reviewed images are the miniature's samples, with a run that learns from a few of them quickly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moderation.domain.claim import Scored, ScoredBy
from moderation.domain.image import ImageFacts
from moderation.domain.lesson import Lesson, Origin, Side, lessons_sha256, pack
from moderation.domain.policy import ANY_SOURCE
from moderation.domain.prompt import PromptId, prompt_id_of
from moderation.domain.review import Answer, Reason, Said
from moderation.domain.sampling import Drawn
from moderation.domain.submission import ImageId
from moderation.domain.training_run import RunConfig, TrainingRun
from moderation.domain.verdict import Decision
from moderation.flows.registry.install import install
from moderation.flows.registry.prompt import register
from moderation.miniature import PROMPT_FILE, SAMPLES_DIR
from moderation.storage.claims import Claims
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.policies import Policies
from moderation.storage.registry.prompts import Prompts
from moderation.storage.registry.states import PromptStates
from moderation.storage.submissions import Submissions
from moderation.storage.training.runs import TrainingRuns
from moderation.storage.verdicts import Verdicts
from tests.moderated import desk
from tests.store import Store

BY = By("eve", "a new camera")
_SIDES = (Side.TRAIN, Side.VAL, Side.HOLDOUT, Side.HOLDOUT)


@dataclass(frozen=True)
class School:
    """A migrated database with an active prompt that runs go on from."""

    database: Database
    parent: PromptId

    @property
    def runs(self) -> TrainingRuns:
        return TrainingRuns(self.database)

    def begin(self, *, lessons: list[Lesson] | None = None, **config: Any) -> TrainingRun:
        """A queued run; two epochs unless told otherwise."""
        learned = samples() if lessons is None else lessons
        asked = {"name": "taught", "seed": 7, "margin": 0.5, "epochs": 2, **config}
        return self.runs.begin(
            backbone="miniature",
            parent=self.parent,
            config=RunConfig(**asked),
            manifest=pack(learned),
            manifest_sha256=lessons_sha256(learned),
            sides={},
            counts={"images": len(learned)},
            by=BY,
        )


def open_school(database: Database, *, expert: bool = False) -> School:
    """Installs the product; the shipped word is active, without its pixel expert, which takes most of a run's time.

    expert: with it.
    """
    from moderation.detector import SoftPrompt

    install(database, PROMPT_FILE)
    prompts = Prompts(database)
    shipped = SoftPrompt.from_bytes(PROMPT_FILE.read_bytes())
    if expert:
        return School(database, prompt_id_of(shipped.sha256))
    parent = register(prompts, replace(shipped, expert=None).to_bytes(), name="plain")
    PromptStates(database).activate(parent.prompt_id)
    return School(database, parent.prompt_id)


def samples(replayed: str = "china") -> list[Lesson]:
    """Lessons on the samples: reviewed images of the folder, and as replay those whose names begin so.

    A photograph's crops and their fakes are a group by their number, and groups take turns on the sides.
    """
    lessons = []
    for path in sorted(SAMPLES_DIR.glob("*.jpg")):
        photograph, number, kind = path.stem.split("-")
        is_file = photograph == replayed
        lessons.append(
            Lesson(
                origin=Origin.FILE if is_file else Origin.REVIEWED,
                name=f"miniature:samples/{path.name}" if is_file else path.name,
                is_fake=kind == "fake",
                side=_SIDES[int(number) % len(_SIDES)],
                generator="decoder" if is_file and kind == "fake" else "",
                source="replay" if is_file else "uploads",
                group=f"{photograph}-{number}",
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                band="" if is_file else "small",
            )
        )
    return lessons


def pictures() -> Path:
    """Where the reviewed images lie: what MODERATION_IMAGES names."""
    return SAMPLES_DIR


def label(database: Database, parent: PromptId) -> int:
    """All samples are submitted, scored as unsure, and looked at by two people who are right; returns how many."""
    policies = Policies(database)
    policy = policies.current()[ANY_SOURCE]
    store = Store(
        database, Submissions(database), Claims(database), Verdicts(database), policies, Prompts(database),
        ScoredBy(parent, "miniature", {}), policy.policy_id,
    )  # fmt: skip
    known = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(SAMPLES_DIR.glob("*.jpg"))}
    store.add(*known, source="uploads")
    claim = store.take(*known, limit=len(known))
    outcomes = []
    for image in claim.images:
        facts = ImageFacts(known[image.image_id], 128, 128, "JPEG", 9)
        drawn = Drawn(Reason.UNSURE, 1.0, 0.0)
        outcomes.append(Scored(image, facts, 0.0, 0.6, Decision.REVIEW, policy.policy_id, 5.0, drawn))
    assert store.claims.settle(claim, outcomes, store.by) == []
    for reviewer, rate in (("ann", 1.0), ("bob", 0.0)):
        at = replace(desk(store, reviewer), second_look_rate=rate)
        for name in known:
            task = at.take(ImageId(name))
            assert task is not None, name
            at.answer(task, Said(Answer.FAKE if "-fake" in name else Answer.REAL))
    return len(known)
