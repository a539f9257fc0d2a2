"""Backfill: a worker scores stored images again, a small batch at a time, at the rate that the run asks for.

Scores are stored beside the verdicts and decide nothing. The device is the one that scans use, under the same lock: a
scan waits for one small batch, never for the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from moderation.domain.claim import ClaimedImage, Outcome, Postponed, Rejected
from moderation.domain.policy import decide
from moderation.domain.rescore import LONGEST_BELL_S, NewScore, RescoreBatch, RescoreId, ToRescore
from moderation.domain.submission import retry_delay_s
from moderation.errors import ConfigurationError, ImageRejected, ServiceDown
from moderation.flows.scanning.looker import Looked, Looker
from moderation.flows.scanning.turns import Gate, UnderWay
from moderation.queue.app import BACKFILL_QUEUE
from moderation.queue.bell import Bell
from moderation.storage.policies import Policies, for_sources
from moderation.storage.rescoring.batches import RescoreBatches

log = logging.getLogger(__name__)

TURN_S = 1.0
"""A bell is answered for so long at most; then others have their turn."""
WRONG_PROMPT_S = 2.0
"""A worker takes up a new prompt within this time."""


@dataclass(frozen=True)
class Rescorer:
    """One worker process's rescoring; it shares device, gate and list of batches with the scanner."""

    batches: RescoreBatches
    policies: Policies
    looker: Looker
    gate: Gate
    under_way: UnderWay
    batch_size: int
    lease_s: float

    def work(self, run_id: RescoreId) -> float | None:
        """Goes on with the run for a moment. Returns in how many seconds to ring for it again, None: not to ring.

        Raises ServiceDown and ConfigurationError; the run then waits for the sweep.
        """
        began = time.monotonic()
        while True:
            delay_s = self.step(run_id)
            if delay_s is None or delay_s > LONGEST_BELL_S:
                return None
            if delay_s > 0 or time.monotonic() - began > TURN_S:
                return delay_s

    def step(self, run_id: RescoreId) -> float | None:
        """Scores one batch. Returns in how many seconds the next one is due; None: there is nothing to do here."""
        batch = self.batches.take(run_id, batch_size=self.batch_size, lease_s=self.lease_s)
        if batch is None:
            return None
        with self.under_way.holding(batch.token), self.gate.alone() if batch.is_alone else self.gate.together():
            try:
                return self._score(batch)
            except (ServiceDown, ConfigurationError, KeyboardInterrupt):
                with suppress(ServiceDown):  # then the lease ends by itself
                    self.batches.give_back(batch)
                raise
            except Exception as error:
                with suppress(ServiceDown):
                    self.batches.abandon(batch, f"{type(error).__name__}: {error}")
                raise

    def _score(self, batch: RescoreBatch) -> float | None:
        began = time.monotonic()
        unseen, looked = self.looker.look([_claimed(image) for image in batch.images], beside=False)
        if looked.by is not None and looked.by.prompt_id != batch.run.prompt_id:
            why = f"a worker still scores with {looked.by.prompt_id}, not with {batch.run.prompt_id}"
            log.warning("rescoring run %d waits: %s", batch.run.run_id, why)
            return self.batches.postpone(batch, WRONG_PROMPT_S, why, is_try=False)
        if len(unseen) == len(batch.images) and batch.tries + 1 < self.looker.max_attempts:
            away = [outcome for outcome in unseen if isinstance(outcome, Postponed)]
            if len(away) == len(unseen):
                wait_s = retry_delay_s(away[0].image.image_id, batch.tries + 1, self.looker.retry_base_s)
                return self.batches.postpone(batch, wait_s, f"no image can be had: {away[0].detail}", is_try=True)
        scores, failures = self._results(batch, looked, time.monotonic() - began)
        failures += [_failed(outcome) for outcome in unseen]
        delay_s = self.batches.settle(batch, scores, failures, looked.by)
        _log(batch, len(scores), failures, is_refused=delay_s is None)
        return delay_s

    def _results(self, batch: RescoreBatch, looked: Looked, elapsed_s: float) -> tuple[list[NewScore], list[str]]:
        policies = for_sources(self.policies.current(), {image.source for image in batch.images})
        wanted = {image.image_id: image for image in batch.images}
        scores: list[NewScore] = []
        failures: list[str] = []
        for (claimed, picture), result in zip(looked.pictures, looked.results, strict=True):
            image, policy = wanted[claimed.image_id], policies[claimed.source]
            if isinstance(result, ImageRejected):
                failures.append(f"{image.image_id}: {result}")
            elif picture.facts.sha256 != image.image_sha256:
                failures.append(f"{image.image_id}: other bytes than its verdict is about; submit it with --force")
            else:
                decision = decide(result.probability, policy.thresholds)
                scores.append(
                    NewScore(image, result.margin, result.probability, decision, policy.policy_id, elapsed_s * 1000)
                )
        return scores, failures


def ring_for_quiet_runs(*, batches: RescoreBatches, bell: Bell, ring_again_s: float) -> int:
    """Rings for runs that no bell will reach; returns for how many. Raises ServiceDown."""
    if not batches.are_open() or bell.depths((BACKFILL_QUEUE,))[BACKFILL_QUEUE]:
        return 0  # one that hangs there brings a worker for its own run, and the sweep comes again for the others
    runs = batches.owed(ring_again_s=ring_again_s)
    for run_id in runs:
        bell.ring_backfill(run_id)
    return len(runs)


def _claimed(image: ToRescore) -> ClaimedImage:
    return ClaimedImage(image.image_id, image.source, image.round, attempts=1, submitted_at=image.submitted_at)


def _failed(outcome: Outcome) -> str:
    match outcome:
        case Rejected(image, reason, detail):
            return f"{image.image_id}: {reason}" + (f" ({detail})" if detail else "")
        case Postponed(image, _, detail):
            return f"{image.image_id}: {detail}"
    raise TypeError(outcome)


def _log(batch: RescoreBatch, scored: int, failures: Sequence[str], *, is_refused: bool) -> None:
    for line in failures:
        log.warning("rescoring run %d: %s", batch.run.run_id, line)
    if is_refused:
        log.warning("rescoring run %d: a batch came after its lease had ended and was refused", batch.run.run_id)
    else:
        log.info("rescoring run %d: %d scored, %d failed", batch.run.run_id, scored, len(failures))
