"""What one batch did and where its time went: for the log, and for whoever reads its JSON."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from moderation.domain.claim import Outcome, Postponed, Rejected

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one scan did, and where its time went.

    `queued_ms` is the mean time its images had waited to be claimed, `waited_ms` the time until the device was free.
    """

    images: int
    scored: int
    rejected: int
    postponed: int
    refused: int
    queued_ms: float
    fetch_ms: float
    waited_ms: float
    device_ms: float
    write_ms: float


def log_batch(report: BatchReport, outcomes: Sequence[Outcome]) -> None:
    """A line for each image that failed or waits, and one for the batch, with the report as `batch`."""
    for outcome in outcomes:
        if isinstance(outcome, Rejected):
            log.warning("%s failed: %s (%s)", outcome.image.image_id, outcome.reason, outcome.detail)
        elif isinstance(outcome, Postponed):
            log.warning("%s: %s; again in %.1f s", outcome.image.image_id, outcome.detail, outcome.delay_s)
    if report.refused:
        log.warning("%d results came after the lease had ended and were refused", report.refused)
    log.info(
        "batch of %d: %d scored, %d failed, %d postponed; fetch %.0f ms, wait %.0f ms, device %.0f ms, write %.0f ms",
        report.images,
        report.scored,
        report.rejected,
        report.postponed,
        report.fetch_ms,
        report.waited_ms,
        report.device_ms,
        report.write_ms,
        extra={"batch": report},
    )
