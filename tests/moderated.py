"""A small platform whose truth is known: images are scored, drawn by the policy that holds, and answered."""

from __future__ import annotations

from collections.abc import Mapping

from moderation.domain.claim import Scored
from moderation.domain.policy import decide
from moderation.domain.review import Answer, Said
from moderation.domain.sampling import draw
from moderation.domain.submission import ImageId
from moderation.flows.reviewing.review import Desk
from moderation.storage.policies import for_sources
from moderation.storage.reviewing.gold import Gold
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.reviewing.tasks import ReviewTasks
from tests.store import FACTS, LONG_S, Store


def desk(store: Store, reviewer: str = "ann") -> Desk:
    """A reviewer who gets neither gold nor second looks."""
    return Desk(
        reviewer=reviewer,
        is_senior=False,
        tasks=ReviewTasks(store.database),
        reviews=Reviews(store.database),
        reviewers=Reviewers(store.database),
        gold=Gold(store.database),
        verdicts=store.verdicts,
        lease_s=LONG_S,
        second_look_rate=0.0,
        gold_rate=0.0,
    )


def score(store: Store, probabilities: Mapping[str, float], *, source: str = "default", again: bool = False) -> None:
    """Submits these images and scores them as a worker would, in one batch. `again`: they are known already."""
    policy = for_sources(store.policies.current(), [source])[source]
    store.add(*probabilities, source=source, force=again)
    claim = store.take(*probabilities, limit=len(probabilities))
    outcomes = []
    for image in claim.images:
        p = probabilities[image.image_id]
        decision = decide(p, policy.thresholds)
        drawn = draw(image.image_id, decision, p, policy)
        outcomes.append(Scored(image, FACTS, 0.0, p, decision, policy.policy_id, 5.0, drawn))
    assert store.claims.settle(claim, outcomes, store.by) == []


def answer(store: Store, answers: Mapping[str, Answer], *, reviewer: str = "ann") -> None:
    """One reviewer answers an open task of each of these images."""
    at = desk(store, reviewer)
    for name, said in answers.items():
        task = at.take(ImageId(name))
        assert task is not None, name
        at.answer(task, Said(said))
