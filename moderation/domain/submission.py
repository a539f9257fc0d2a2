"""An image the platform asked about, from the first submit to done or failed. Pure rules, no SQL."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

ImageId = NewType("ImageId", str)

MAX_ID_CHARS = 512
MAX_UPLOADER_CHARS = 200
MAX_RETRY_S = 3600.0
# One crash in a shared batch, which proves nothing, and two alone, which do.
MAX_CRASHES = 3


class State(StrEnum):
    """Where a submission stands. `pending` covers waiting, claimed and waiting for another try."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Submission:
    """One image and its way through the queue. Times are aware, in UTC.

    `round` counts the askings: 1 at first, one more with every forced re-submission and applied rescoring. `attempts`
    counts claims in this round, `crashes` those whose worker vanished. `not_before` holds a retry back. `claimed` says
    that a worker holds a live lease. `uploader` is '' where the platform did not say.
    """

    image_id: ImageId
    source: str
    priority: int
    state: State
    round: int
    attempts: int
    crashes: int
    claimed: bool
    submitted_at: datetime
    not_before: datetime
    finished_at: datetime | None
    reason: str
    detail: str
    uploader: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a submit: how many ids were new, how many known already, and whether the queue has heard.

    `queued=False` loses nothing: the rows are committed, and a worker's sweep rings for them later.
    """

    new: int
    known: int
    queued: bool


def check_image_id(raw: str) -> ImageId:
    """`raw` as an image id. Raises ValueError for what no database or log can hold: empty, too long, control signs."""
    if not isinstance(raw, str):
        raise ValueError(f"an image id is text, not {type(raw).__name__}: {raw!r}")
    if not raw or len(raw) > MAX_ID_CHARS:
        raise ValueError(f"an image id has 1 to {MAX_ID_CHARS} characters, this one has {len(raw)}: {raw[:60]!r}")
    if any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in raw):
        raise ValueError(f"an image id holds no control characters: {raw[:60]!r}")
    return ImageId(raw)


def check_uploader(raw: str) -> str:
    """`raw` as the platform's name for who uploaded an image; '' is unknown. Raises ValueError."""
    if not isinstance(raw, str):
        raise ValueError(f"an uploader is text, not {type(raw).__name__}: {raw!r}")
    if len(raw) > MAX_UPLOADER_CHARS or not raw.isprintable():
        raise ValueError(f"an uploader has at most {MAX_UPLOADER_CHARS} printable characters: {raw[:60]!r}")
    return raw


def retry_delay_s(image_id: ImageId, attempt: int, base_s: float) -> float:
    """Seconds to wait after failed try number `attempt` (from 1): doubling, capped, spread by up to 25 %.

    The spread comes from the id, so that neighbours of a failed batch do not return all at once.
    """
    spread = hashlib.sha256(f"{image_id}:{attempt}".encode()).digest()[0] / 255
    return min(base_s * 2.0 ** (attempt - 1), MAX_RETRY_S) * (1 + spread / 4)
