"""One server: its parts, who may come in, and how a request finds out whose it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from fastapi import Request

from moderation.domain.review import Role
from moderation.flows.reviewing.review import Desk
from moderation.storage.reviewing.logins import Logins
from moderation.storage.reviewing.reviewers import Reviewer
from moderation.web.limit import LoginLimit
from moderation.web.sessions import Session, Sessions, new_token, same, token_hash
from moderation.wiring import Wiring

COOKIE = "antifake_session"


class NotLoggedIn(Exception):
    """Nobody is logged in with this request, or not any more."""


class Forbidden(Exception):
    """Whoever is logged in may not do this. The message is for them."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who sends a request. Only an admin sees the dashboard."""

    name: str
    session: Session
    is_senior: bool
    is_admin: bool


@dataclass(slots=True)
class Invitation:
    """Lets the person at this machine in, once: whoever has the address, as from a history, comes too late."""

    name: str
    is_senior: bool
    token: str = field(default_factory=new_token)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def accept(self, token: str) -> bool:
        """Whether this is the token, and its first use."""
        with self._lock:
            if not same(self.token, token):
                return False
            self.token = ""
            return True


@dataclass(frozen=True)
class Site:
    """A server's state. With an invitation it is for one person at this machine, else for all who have a token."""

    wiring: Wiring
    invitation: Invitation | None = None
    cookie: str = COOKIE
    sessions: Sessions = field(default_factory=Sessions)
    limit: LoginLimit = field(default_factory=LoginLimit)

    @property
    def logins(self) -> Logins:
        return Logins(self.wiring.database)

    def log_in(self, token: str) -> Session | None:
        """A session for the reviewer whose token this is."""
        hashed = token_hash(token.strip())
        reviewer = self.logins.whose(hashed)
        return self.sessions.begin(reviewer.name, hashed) if reviewer else None

    def person(self, session: Session) -> Person:
        """Who this session is. Raises NotLoggedIn where their token was taken away or replaced meanwhile."""
        if session.token_sha256 is None:
            is_senior = self.invitation is not None and self.invitation.is_senior
            return Person(session.reviewer, session, is_senior, is_admin=True)  # whoever sits here has the database
        reviewer: Reviewer | None = self.wiring.reviewers.by_token(session.token_sha256)
        if reviewer is None or reviewer.name != session.reviewer:
            self.sessions.end(session.session_id)
            raise NotLoggedIn
        return Person(reviewer.name, session, reviewer.is_senior, reviewer.role is Role.ADMIN)

    def desk(self, person: Person) -> Desk:
        """Where this person works."""
        return self.wiring.desk(person.name, is_senior=person.is_senior)


def site_of(request: Request) -> Site:
    """The server that this request came to."""
    site: Site = request.app.state.site
    return site


def person_of(request: Request) -> Person:
    """Whose request this is. Raises NotLoggedIn."""
    site = site_of(request)
    session = site.sessions.get(request.cookies.get(site.cookie, ""))
    if session is None:
        raise NotLoggedIn
    return site.person(session)


def acting_person(request: Request) -> Person:
    """Whose request this is, sent by our own page. Raises NotLoggedIn, Forbidden."""
    person = person_of(request)
    check_csrf(person, request.headers.get("X-CSRF-Token", ""))
    return person


def admin_of(request: Request) -> Person:
    """The admin whose request this is. Raises NotLoggedIn, Forbidden."""
    person = person_of(request)
    if not person.is_admin:
        raise Forbidden("The dashboard is for admins.")
    return person


def check_csrf(person: Person, token: str) -> None:
    """Refuses what was not sent from a page of this session. Raises Forbidden."""
    if not same(person.session.csrf, token):
        raise Forbidden("This page is out of date. Load it again.")
