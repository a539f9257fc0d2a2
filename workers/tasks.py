"""The tasks: doorbells. Each unpacks its message, calls one flow and maps its errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from celery import Celery

from moderation.domain.rescore import RescoreId
from moderation.domain.submission import ImageId
from moderation.domain.training_run import RunId
from moderation.errors import ConfigurationError, ServiceDown
from moderation.queue.app import RESCORE, RETRAIN, SCAN
from moderation.storage.submissions import chunks
from workers.gpu import rescorer, scanner, teacher, wiring

log = logging.getLogger(__name__)

# A person must act; until then the same bells ring again and again.
PAUSE_S = 5.0


def register(app: Celery) -> None:
    """Tells `app` which function answers which bell."""
    app.task(scan, name=SCAN)
    app.task(rescore, name=RESCORE)
    app.task(retrain, name=RETRAIN)


def scan(image_ids: Sequence[str]) -> None:
    """Scores these images, if they are still free, and others to fill the batch.

    Whoever rang may think of larger batches than this worker: then it takes several.
    """
    try:
        for part in chunks(image_ids, scanner().batch_size):
            scanner().scan([ImageId(image_id) for image_id in part])
    except ServiceDown as error:
        log.error("%d images wait for the sweep: %s", len(image_ids), error)
    except ConfigurationError as error:
        log.critical("%d images were given back; nothing can be scored until this is mended: %s", len(image_ids), error)
        time.sleep(PAUSE_S)


def rescore(run_id: int) -> None:
    """Goes on with this run for a moment, and rings for the next one when it is due."""
    try:
        again_s = rescorer().work(RescoreId(run_id))
        if again_s is not None:
            wiring().bell.ring_backfill(run_id, delay_s=again_s)
    except ServiceDown as error:
        log.error("rescoring run %d waits for the sweep: %s", run_id, error)
    except ConfigurationError as error:
        log.critical("rescoring run %d waits; nothing can be scored until this is mended: %s", run_id, error)
        time.sleep(PAUSE_S)


def retrain(run_id: int) -> None:
    """Carries a training run on to its end; nothing, where it has ended or another worker has it."""
    try:
        teacher().work(RunId(run_id))
    except ServiceDown as error:
        log.error("training run %d waits for the sweep: %s", run_id, error)
    except ConfigurationError as error:
        log.critical("training run %d waits; nothing can be trained until this is mended: %s", run_id, error)
        time.sleep(PAUSE_S)
