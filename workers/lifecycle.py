"""What happens when a worker starts and stops: logging, loading, housekeeping."""

from __future__ import annotations

import logging
import sys
from typing import Any, NoReturn

from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown, worker_shutting_down

from moderation.errors import ModerationError
from moderation.settings import load_settings
from workers import gpu, log
from workers.canary import LOOK_S, CanaryWatch
from workers.chores import chores_of
from workers.housekeeper import Chore, Housekeeper

logger = logging.getLogger(__name__)

_housekeepers: list[Housekeeper] = []
_watches: list[CanaryWatch] = []


def connect() -> None:
    """Hooks into Celery's signals; they hold weak references, so these are functions of a module."""
    setup_logging.connect(_configure_logging)
    worker_init.connect(_load)
    worker_ready.connect(_start_housekeeping)
    worker_shutting_down.connect(_give_back_training)
    worker_shutdown.connect(_stop_housekeeping)


def refuse(error: ModerationError) -> NoReturn:
    """Ends this process, which has hardly begun, with a message for whoever started it."""
    print(f"The worker can't start.\n{error}", file=sys.stderr, flush=True)  # noqa: T201 - logging may be off yet
    raise SystemExit(error.exit_code) from None


def _configure_logging(**_: Any) -> None:
    settings = load_settings()
    log.configure(settings.log_level, settings.log_format)


def _load(sender: object = None, **_: Any) -> None:
    """Loads the detector before the first bell is heard, and checks it on known pictures.

    SystemExit, because Celery swallows other exceptions here.
    """
    _configure_logging()  # Celery would, but only after this
    try:
        scanner = gpu.scanner()
        watch = gpu.canary_watch(str(getattr(sender, "hostname", "worker")), _end_after_what_is_under_way)
        watch.begin()
    except ModerationError as error:
        refuse(error)
    _watches.append(watch)
    by = scanner.looker.scorer().by
    logger.info("loaded backbone %s (%s) with prompt %s", by.backbone, by.versions["device"], by.prompt_id)


def _start_housekeeping(**_: Any) -> None:
    wiring = gpu.wiring()
    under_way = gpu.scanner().under_way
    housekeeper = Housekeeper(
        claims=wiring.claims,
        bell=wiring.bell,
        under_way=under_way,
        settings=wiring.settings,
        chores=[*chores_of(wiring, under_way), *(Chore("canary", LOOK_S, watch.look) for watch in _watches)],
    )
    housekeeper.start()
    _housekeepers.append(housekeeper)
    logger.info("ready", extra={"event": "ready"})


def _stop_housekeeping(**_: Any) -> None:
    while _housekeepers:
        _housekeepers.pop().stop()


def _give_back_training(**_: Any) -> None:
    """Celery waits for what is under way; a run of hours is given back, to be taken up from its last epoch."""
    if gpu.teacher.cache_info().currsize:  # not made for this
        gpu.teacher().stop()


def _end_after_what_is_under_way(exit_code: int) -> None:
    """What TERM does, but for the exit code; Celery's main thread looks every second or so."""
    from celery.worker import state

    _give_back_training()
    state.should_stop = exit_code
