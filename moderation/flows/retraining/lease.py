"""Lease: kept beside a training run's work, which it stops where the run is lost or somebody wants it stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from moderation.flows.retraining.pace import Pace, Why
from moderation.storage.training.claims import Held, TrainingClaims

log = logging.getLogger(__name__)

_RENEWALS_PER_LEASE = 4


@contextmanager
def keeping(claims: TrainingClaims, held: Held, lease_s: float, pace: Pace) -> Iterator[None]:
    """Renews the lease in a thread for as long as this is entered, whatever the database does meanwhile."""
    done = threading.Event()

    def keep() -> None:
        while not done.wait(lease_s / _RENEWALS_PER_LEASE):
            try:
                standing = claims.renew(held, lease_s=lease_s)
            except Exception:
                log.exception("training run %d: the lease is not renewed", held.run.run_id)
                continue  # the next renewal may succeed
            if not standing.is_held:
                pace.ask(Why.LOST)
            elif standing.is_cancelled:
                pace.ask(Why.CANCELLED)

    thread = threading.Thread(target=keep, name=f"lease-{held.run.run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5)
