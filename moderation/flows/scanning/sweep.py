"""Sweep: frees what vanished workers held and rings for rows that no bell will reach."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from moderation.queue.app import SCAN_QUEUES
from moderation.queue.bell import Bell
from moderation.storage.claims import Claims
from moderation.storage.submissions import chunks

log = logging.getLogger(__name__)

# A bell brings a worker, and a worker fills its batch from any waiting rows: with so many bells hanging already, more
# would only be answered in vain.
ENOUGH_BELLS = 64


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did, in images."""

    freed: int
    given_up: int
    rung: int


def sweep(*, claims: Claims, bell: Bell, batch_size: int, ring_again_s: float, expire: bool = True) -> Swept:
    """One pass. Suspects are rung for one by one, the others by the batch. Raises ServiceDown.

    expire: whether leases that ran out count as crashes. Not right after an outage of SQL, when nobody could renew.
    """
    freed, given_up = claims.expire() if expire else (0, 0)
    if freed or given_up:
        log.warning("%d images came back from workers that vanished, %d were given up", freed, given_up)
    room = ENOUGH_BELLS - sum(bell.depths(SCAN_QUEUES).values())
    if room <= 0:
        return Swept(freed, given_up, 0)
    plain, suspects = claims.owed(ring_again_s=ring_again_s, limit=room * batch_size, suspects_limit=room)
    bell.ring([*chunks(plain, batch_size), *([image_id] for image_id in suspects)])
    if plain or suspects:
        log.info("rang for %d images left behind", len(plain) + len(suspects))
    return Swept(freed, given_up, len(plain) + len(suspects))
