"""The audit trail: events in a chain of hashes, each over all that it says and over the hash before.

Whoever changes or removes a row breaks the chain at that place; `first_broken` finds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

FIRST_HASH = "0" * 64
"""What stands before the first event."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that somebody did. `payload` survives JSON unchanged; `image_id` is '' where no image is concerned."""

    seq: int
    kind: str
    actor: str
    reason: str
    image_id: str
    payload: Mapping[str, Any]
    created_at: datetime
    prev_hash: str
    hash: str


def event_hash(
    *,
    seq: int,
    kind: str,
    actor: str,
    reason: str,
    image_id: str,
    payload: Mapping[str, Any],
    created_at: datetime,
    prev_hash: str,
) -> str:
    """sha256, in hex, over a canonical JSON of everything an event says. Times to the microsecond, in UTC."""
    content = {
        "seq": seq,
        "kind": kind,
        "actor": actor,
        "reason": reason,
        "image_id": image_id,
        "payload": payload,
        "created_at": created_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "prev_hash": prev_hash,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends, kept apart from it: without it, rows cut off its end would not be missed."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where the chain does not hold, and what is wrong there."""

    seq: int
    problem: str


def first_broken(events: Iterable[Event], head: Head) -> Break | None:
    """Where the chain first fails, events given in the order of `seq` from 1; None where all of it holds."""
    before, expected = FIRST_HASH, 1
    for event in events:
        if event.seq != expected:
            return Break(expected, f"missing: after it comes {event.seq}")
        if event.prev_hash != before:
            return Break(event.seq, "it does not follow from the event before")
        if event.hash != _own_hash(event):
            return Break(event.seq, "it was changed: its hash is not that of its content")
        before, expected = event.hash, expected + 1
    if (head.seq, head.hash) != (expected - 1, before):
        return Break(expected, f"missing: the chain should end at {head.seq}")
    return None


def _own_hash(event: Event) -> str:
    return event_hash(
        seq=event.seq,
        kind=event.kind,
        actor=event.actor,
        reason=event.reason,
        image_id=event.image_id,
        payload=event.payload,
        created_at=event.created_at,
        prev_hash=event.prev_hash,
    )
