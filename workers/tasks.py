"""The tasks: doorbells. Each unpacks its message, calls one flow and maps its errors."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import Celery

from moderation.domain.submission import ImageId
from moderation.errors import ServiceDown
from moderation.queue.app import SCAN
from moderation.storage.submissions import chunks
from workers.gpu import scanner

log = logging.getLogger(__name__)


def register(app: Celery) -> None:
    """Tells `app` which function answers which bell."""
    app.task(scan, name=SCAN)


def scan(image_ids: Sequence[str]) -> None:
    """Scores these images, if they are still free, and others to fill the batch.

    Whoever rang may think of larger batches than this worker: then it takes several.
    """
    try:
        for part in chunks(image_ids, scanner().batch_size):
            scanner().scan([ImageId(image_id) for image_id in part])
    except ServiceDown as error:
        log.error("%d images wait for the sweep: %s", len(image_ids), error)
