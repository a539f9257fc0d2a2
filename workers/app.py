"""Celery's entry: `celery -A workers.app worker`, or better `modctl worker`, which passes the right flags."""

from __future__ import annotations

from moderation.errors import ConfigurationError
from moderation.queue.app import create_app
from moderation.settings import load_settings
from workers import lifecycle, tasks

try:
    app = create_app(load_settings())
except ConfigurationError as error:
    lifecycle.refuse(error)
tasks.register(app)
lifecycle.connect()
