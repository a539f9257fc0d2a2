"""A worker's log: lines for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from datetime import UTC, datetime

_NOISY = ("celery.worker.strategy", "celery.app.trace", "httpx", "kombu")


def configure(level: str, log_format: str) -> None:
    """Sends this process's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(threadName)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:  # one line a message from each would bury ours
        logging.getLogger(name).setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """time, level, logger, message; `event` names a milestone, `batch` holds a batch's figures, `error` a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if event := getattr(record, "event", None):
            line["event"] = event
        batch = getattr(record, "batch", None)
        if batch is not None:
            line["batch"] = asdict(batch)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)
