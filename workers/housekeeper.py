"""The housekeeper: threads beside the batches that renew leases, sweep, and end a process that hangs.

The threads pool knows no time limits, so a batch that never ends would hold the device for ever. Ending the process
frees its claims for others; whatever supervises workers starts it anew.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moderation.errors import ServiceDown
from moderation.flows.scanning.sweep import sweep
from moderation.flows.scanning.turns import UnderWay
from moderation.queue.bell import Bell
from moderation.settings import Settings
from moderation.storage.claims import Claims
from moderation.storage.database import SERVICE

log = logging.getLogger(__name__)

EXIT_HUNG = 70
RENEWALS_PER_LEASE = 4
_LOOK_S = 5.0  # how often the watchdog looks; MODERATION_BATCH_TIMEOUT_S is minutes


@dataclass(frozen=True, slots=True)
class Chore:
    """Something else to be done every so often, in a thread of its own. It may raise: it is done again next time."""

    name: str
    interval_s: float
    work: Callable[[], None]


class Housekeeper:
    """Runs beside the batches until stopped."""

    def __init__(
        self,
        *,
        claims: Claims,
        bell: Bell,
        under_way: UnderWay,
        settings: Settings,
        chores: Sequence[Chore] = (),
        exit_process: Callable[[int], None] = os._exit,
    ) -> None:
        self._claims = claims
        self._bell = bell
        self._under_way = under_way
        self._settings = settings
        self._exit = exit_process
        self._stopped = threading.Event()
        self._expire_from = time.monotonic()
        # A thread each: a sweep that waits for an absent broker must not let the leases lapse, and a database that
        # keeps the renewal waiting must not blind the watchdog.
        self._threads = [
            threading.Thread(
                target=self._every, args=(min(_LOOK_S, settings.batch_timeout_s), self._watch), name="watchdog"
            ),
            threading.Thread(
                target=self._every, args=(settings.lease_s / RENEWALS_PER_LEASE, self._keep), name="lease"
            ),
            threading.Thread(target=self._every, args=(settings.sweep_interval_s, self._sweep), name="sweep"),
            *(
                threading.Thread(target=self._every, args=(each.interval_s, each.work), name=each.name)
                for each in chores
            ),
        ]

    def start(self) -> None:
        """Begins with a sweep: rows may have been left behind while no worker ran."""
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def stop(self) -> None:
        """Ends the threads; waits a moment for them."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _every(self, interval_s: float, work: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                work()
            except ServiceDown as error:
                log.warning("housekeeping waits: %s", error)
                if error.service == SERVICE:  # nobody could renew: a lease that ran out meanwhile tells of no crash
                    self._expire_from = time.monotonic() + self._settings.lease_s
            except Exception:
                log.exception("housekeeping failed; it goes on")
            self._stopped.wait(max(0.0, interval_s - (time.monotonic() - began)))

    def _watch(self) -> None:
        if self._under_way.oldest_s() > self._settings.batch_timeout_s:
            log.critical("a batch hangs for over %g s; this worker ends itself", self._settings.batch_timeout_s)
            logging.shutdown()
            self._exit(EXIT_HUNG)

    def _keep(self) -> None:
        if tokens := self._under_way.tokens():
            self._claims.renew(tokens, lease_s=self._settings.lease_s)

    def _sweep(self) -> None:
        sweep(
            claims=self._claims,
            bell=self._bell,
            batch_size=self._settings.batch_size,
            ring_again_s=self._settings.ring_again_s,
            expire=time.monotonic() >= self._expire_from,
        )
