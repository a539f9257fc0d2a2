"""Celery's entry: `celery -A workers.app worker`, or better `modctl worker`, which passes the right flags."""

from __future__ import annotations

from moderation.errors import ConfigurationError
from moderation.queue.app import SCAN_QUEUES, create_app
from moderation.settings import load_settings
from workers import lifecycle, tasks

try:
    app = create_app(load_settings())
except ConfigurationError as error:
    lifecycle.refuse(error)
app.amqp.queues.select(SCAN_QUEUES)  # unless told otherwise by -Q: training must not starve scanning
tasks.register(app)
lifecycle.connect()
