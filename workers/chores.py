"""What a worker looks after besides scanning: leases to be kept and runs that no bell will reach."""

from __future__ import annotations

import socket
from datetime import timedelta

from moderation.flows.rescoring.backfill import ring_for_quiet_runs
from moderation.flows.retraining.enrol import ring_for_waiting_runs
from moderation.flows.scanning.turns import UnderWay
from moderation.flows.watching.turn import look_in_turn
from moderation.wiring import Wiring
from workers.housekeeper import RENEWALS_PER_LEASE, Chore

ASKS_PER_INTERVAL = 4
"""Whoever asks a little early goes away for nothing, and comes again before long."""


def chores_of(wiring: Wiring, under_way: UnderWay) -> list[Chore]:
    """All of them, each with how often it is done."""
    settings = wiring.settings

    def keep_rescores() -> None:
        if tokens := under_way.tokens():
            wiring.rescore_batches.renew(tokens, lease_s=settings.lease_s)

    def sweep_rescores() -> None:
        ring_for_quiet_runs(batches=wiring.rescore_batches, bell=wiring.bell, ring_again_s=settings.ring_again_s)

    def sweep_training() -> None:
        ring_for_waiting_runs(wiring.training_claims, wiring.bell, ring_again_s=settings.ring_again_s)

    def look_for_drift() -> None:
        every = timedelta(seconds=settings.drift_interval_s)
        look_in_turn(wiring.drift_watch, wiring.chores, every=every, worker=socket.gethostname())

    return [
        Chore("rescore lease", settings.lease_s / RENEWALS_PER_LEASE, keep_rescores),
        Chore("rescore sweep", settings.sweep_interval_s, sweep_rescores),
        Chore("training sweep", settings.sweep_interval_s, sweep_training),
        Chore("drift", settings.drift_interval_s / ASKS_PER_INTERVAL, look_for_drift),
    ]
