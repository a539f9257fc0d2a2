"""Who is logged in. Sessions live in this process's memory: a restart logs everybody out, and nothing is on disk.

The cookie holds a random id and nothing else. A session ends when it is idle or old, and with the token it began with.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from moderation.web.windows import Windows

IDLE_S = 2 * 3600.0
MAX_AGE_S = 12 * 3600.0  # a working day
_SKEW = timedelta(seconds=5)  # between this clock and the database's
_TOKEN_BYTES = 32


@dataclass(slots=True)
class Session:
    """One login. `token_sha256` None: the person at this machine, who needs no token."""

    session_id: str
    reviewer: str
    token_sha256: str | None
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES))
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC) - _SKEW)
    began_s: float = 0.0
    seen_s: float = 0.0
    answered: int = 0
    seconds: float = 0.0
    windows: Windows = field(default_factory=Windows)


class Sessions:
    """All sessions of this process. Safe to use from several threads. `clock` gives seconds that only rise."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def begin(self, reviewer: str, token_sha256: str | None) -> Session:
        """A new session, with an id and a CSRF token of its own."""
        now = self._clock()
        session = Session(secrets.token_urlsafe(_TOKEN_BYTES), reviewer, token_sha256, began_s=now, seen_s=now)
        with self._lock:
            self._sessions = {key: each for key, each in self._sessions.items() if not _is_over(each, now)}
            self._sessions[session.session_id] = session
        return session

    def get(self, session_id: str) -> Session | None:
        """The session of this id, if it is not over; it counts as used."""
        now = self._clock()
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None or _is_over(session, now):
                self._sessions.pop(session_id, None)
                return None
            session.seen_s = now
            return session

    def end(self, session_id: str) -> None:
        """Forgets the session."""
        with self._lock:
            self._sessions.pop(session_id, None)


def new_token() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_hash(token: str) -> str:
    """What is stored of a reviewer's token: its sha256, in hex. A token is random, so a fast hash suffices."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(left: str, right: str) -> bool:
    """Whether two secrets are equal, in constant time; two empty ones are not."""
    return bool(left) and hmac.compare_digest(left.encode(), right.encode())


def _is_over(session: Session, now: float) -> bool:
    return now - session.seen_s > IDLE_S or now - session.began_s > MAX_AGE_S
