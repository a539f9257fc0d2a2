"""Scan: from a doorbell to verdicts. Claim a batch, fetch, score, decide, and settle all of it in one transaction.

What belongs to one image is a value in its batch and never sinks the others. An error nobody foresaw abandons the
claim: its images then ride alone, until the guilty one is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from moderation.domain.claim import Claim, Outcome, Postponed, Rejected, Scored, ShadowScore
from moderation.domain.policy import Policy, decide
from moderation.domain.sampling import draw
from moderation.domain.submission import ImageId
from moderation.errors import ConfigurationError, ImageRejected, ServiceDown
from moderation.flows.scanning.batch import BatchReport, log_batch
from moderation.flows.scanning.looker import Looked, Looker, Score, Scores
from moderation.flows.scanning.turns import Gate, UnderWay
from moderation.storage.claims import Claims
from moderation.storage.policies import Policies, for_sources

T = TypeVar("T")

# SQL may be restarted under a batch; its results are worth waiting for. Shorter than the bell's visibility timeout.
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Scanner:
    """One worker process's scanning; `scan` may run in several threads at once."""

    claims: Claims
    policies: Policies
    looker: Looker
    batch_size: int
    lease_s: float
    patience_s: float = PATIENCE_S
    gate: Gate = field(default_factory=Gate)
    under_way: UnderWay = field(default_factory=UnderWay)

    def scan(self, image_ids: Sequence[ImageId]) -> BatchReport | None:
        """Scores the ids that are free, topped up to a batch; None when there is nothing to do.

        Raises ServiceDown when SQL stays away for longer than `patience_s`; the rows then wait for the sweep. Raises
        CanaryFailed where this worker must not score; the rows are then free for others.
        """
        self.looker.halt.check()
        suspect = len(image_ids) == 1 and bool(self._patiently(lambda: self.claims.suspects(image_ids)))
        with self.gate.alone() if suspect else self.gate.together():
            claim = self._patiently(lambda: self._take(image_ids, suspect))
            if claim is None:
                return None
            with self.under_way.holding(claim.token):
                return self._work_guarded(claim)

    def _take(self, image_ids: Sequence[ImageId], suspect: bool) -> Claim | None:
        if suspect:
            return self.claims.take_alone(image_ids[0], lease_s=self.lease_s)
        return self.claims.take(image_ids, limit=self.batch_size, lease_s=self.lease_s)

    def _work_guarded(self, claim: Claim) -> BatchReport:
        try:
            return self._work(claim)
        except (ServiceDown, ConfigurationError):
            with suppress(ServiceDown):  # then the lease ends by itself
                self.claims.give_back(claim)
            raise
        except Exception as error:
            with suppress(ServiceDown):
                self.claims.abandon(claim, f"{type(error).__name__}: {error}")
            raise

    def _work(self, claim: Claim) -> BatchReport:
        began = time.monotonic()
        outcomes, looked = self.looker.look(claim.images)
        if looked.by is not None:
            outcomes += self._decide(claim, looked, looked.ended - began)
        refused = self._patiently(lambda: self.claims.settle(claim, outcomes, looked.by))
        report = BatchReport(
            images=len(outcomes),
            scored=sum(isinstance(outcome, Scored) for outcome in outcomes),
            rejected=sum(isinstance(outcome, Rejected) for outcome in outcomes),
            postponed=sum(isinstance(outcome, Postponed) for outcome in outcomes),
            refused=len(refused),
            queued_ms=fmean((claim.claimed_at - image.submitted_at).total_seconds() * 1000 for image in claim.images),
            fetch_ms=(looked.ready - began) * 1000,
            waited_ms=(looked.started - looked.ready) * 1000,
            device_ms=(looked.ended - looked.started) * 1000,
            write_ms=(time.monotonic() - looked.ended) * 1000,
        )
        log_batch(report, outcomes)
        return report

    def _decide(
        self,
        claim: Claim,
        looked: Looked,
        elapsed_s: float,
    ) -> list[Outcome]:
        policies = self._patiently(
            lambda: for_sources(self.policies.current(), {image.source for image, _ in looked.pictures})
        )
        outcomes: list[Outcome] = []
        beside = looked.shadow.results if looked.shadow else [None] * len(looked.results)
        for (image, picture), result, other in zip(looked.pictures, looked.results, beside, strict=True):
            if isinstance(result, ImageRejected):
                outcomes.append(Rejected(image, result.reason, result.detail))
                continue
            policy = policies[image.source]
            decision = decide(result.probability, policy.thresholds)
            waited_s = (claim.claimed_at - image.submitted_at).total_seconds()
            outcomes.append(
                Scored(
                    image=image,
                    facts=picture.facts,
                    margin=result.margin,
                    probability=result.probability,
                    decision=decision,
                    policy_id=policy.policy_id,
                    latency_ms=(waited_s + elapsed_s) * 1000,
                    drawn=draw(image.image_id, decision, result.probability, policy),
                    shadow=_would_be(looked.shadow, other, policy),
                )
            )
        return outcomes

    def _patiently(self, call: Callable[[], T]) -> T:
        """`call`, tried again with growing pauses while SQL is away. Raises ServiceDown in the end."""
        tries = Retrying(
            retry=retry_if_exception_type(ServiceDown),
            wait=wait_random_exponential(multiplier=0.2, max=2.0),
            stop=stop_after_delay(self.patience_s),
            reraise=True,
        )
        return tries(call)


def _would_be(shadow: Scores | None, result: Score | ImageRejected | None, policy: Policy) -> ShadowScore | None:
    """What the shadow makes of an image; None where it has no score."""
    if shadow is None or result is None or isinstance(result, ImageRejected):
        return None
    decision = decide(result.probability, policy.thresholds)
    return ShadowScore(shadow.by, result.margin, result.probability, decision)
