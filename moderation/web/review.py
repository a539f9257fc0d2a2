"""Review: the page, and what its script calls. A call does one thing at the desk and answers with what is next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from moderation.domain.review import MAX_NOTE_CHARS, Answer, Evidence, ReviewTask, Said, TaskId
from moderation.domain.submission import ImageId
from moderation.errors import LeaseLost
from moderation.flows.reviewing.review import Answered, Desk
from moderation.storage.reviewing.tasks import ReviewTasks
from moderation.web.pages import page
from moderation.web.shown import answered_shown, picture_of, progress_shown, task_shown
from moderation.web.site import Person, acting_person, person_of, site_of

router = APIRouter()
_MAX_ID = 2**62


class Held(BaseModel):
    """A task as this page was given it."""

    task_id: int = Field(ge=1, le=_MAX_ID)
    version: int = Field(ge=0, le=_MAX_ID)


class Answering(Held):
    """An answer to it. `seconds` since its picture was shown."""

    answer: Answer
    evidence: list[Evidence] = Field(default=[], max_length=len(Evidence))
    note: str = Field(default="", max_length=MAX_NOTE_CHARS)
    seconds: float = Field(ge=0, le=86_400, allow_inf_nan=False)


class Escalating(Held):
    """Handing it up, and why."""

    reason: str = Field(min_length=1, max_length=MAX_NOTE_CHARS)


@dataclass(frozen=True, slots=True)
class Window:
    """One open page, at its reviewer's desk."""

    name: str
    me: Person
    desk: Desk
    tasks: ReviewTasks

    def held(self, held: Held) -> ReviewTask:
        """The task as the page was given it, so that a page that comes late is refused. Raises LeaseLost."""
        task = self.tasks.get(TaskId(held.task_id))
        if task is None:
            raise LeaseLost(held.task_id, ImageId(""))
        return replace(task, version=held.version)

    def give(self, task: ReviewTask | None) -> ReviewTask | None:
        """A task that was just leased, for the page; given back at once where the page has gone away meanwhile."""
        if task is not None and not self.me.session.windows.give(self.name, task):
            self.desk.release(task)
            return None
        return task

    def done(self, task: ReviewTask) -> None:
        """The task is off this page."""
        self.me.session.windows.done(self.name, task)

    def close(self) -> None:
        """Gives back what the page has, and nothing that another window has been given since."""
        for task in self.me.session.windows.close(self.name):
            self.desk.release(task)


def window_of(
    request: Request,
    me: Annotated[Person, Depends(acting_person)],
    name: Annotated[str, Header(alias="X-Window", min_length=1, max_length=64)],
) -> Window:
    """The page that a call comes from, by the name that it gave itself. Raises NotLoggedIn, Forbidden."""
    site = site_of(request)
    return Window(name, me, site.desk(me), site.wiring.review_tasks)


At = Annotated[Window, Depends(window_of)]


@router.get("/review")
def review_page(request: Request, person: Annotated[Person, Depends(person_of)]) -> Response:
    lease_s = site_of(request).wiring.settings.review_lease_s
    return page(
        request, "review.html", person=person, evidence=list(Evidence), lease_s=lease_s, max_note=MAX_NOTE_CHARS
    )


@router.post("/api/next")
def take_next(at: At) -> dict[str, Any]:
    """The task to be at now."""
    return _onward(at)


@router.post("/api/ahead")
def look_ahead(at: At, held: Held) -> dict[str, Any]:
    """The task after the one at hand, leased too, so that its picture can be there when it is wanted."""
    task = at.give(at.desk.next(beside=at.held(held)))
    return {"picture": None if task is None else picture_of(task)}


@router.post("/api/answer")
def answer(at: At, said: Answering) -> dict[str, Any]:
    task = at.held(said)
    answered = at.desk.answer(
        task, Said(said.answer, tuple(dict.fromkeys(said.evidence)), said.note.strip(), said.seconds)
    )
    at.done(task)
    at.me.session.answered += 1
    at.me.session.seconds += said.seconds
    return _onward(at, answered=answered)


@router.post("/api/skip")
def skip(at: At, held: Held) -> dict[str, Any]:
    task = at.held(held)
    at.desk.skip(task)
    at.done(task)
    return _onward(at)


@router.post("/api/escalate")
def escalate(at: At, held: Escalating) -> dict[str, Any]:
    task = at.held(held)
    at.desk.escalate(task, held.reason.strip())
    at.done(task)
    return _onward(at)


@router.post("/api/undo")
def undo(at: At) -> dict[str, Any]:
    """Takes back this session's last answer, and puts its task before the reviewer again."""
    session = at.me.session
    task = at.desk.undo(since=session.started_at)
    if session.answered:
        session.seconds -= session.seconds / session.answered
        session.answered -= 1
    return _onward(at, task=task)


@router.post("/api/renew")
def renew(at: At, held: Held) -> dict[str, Any]:
    """Keeps the task while the reviewer is at it."""
    at.desk.renew(at.held(held))
    return {}


@router.post("/api/leave")
def leave(at: At) -> dict[str, Any]:
    """The page is closed or paused."""
    at.close()
    return {}


def _onward(at: Window, *, task: ReviewTask | None = None, answered: Answered | None = None) -> dict[str, Any]:
    """What comes next (`task` if it is known), what came of the answer, and how far the reviewer is."""
    task = at.give(task or at.desk.next())
    return {
        "task": None if task is None else task_shown(task, at.desk),
        "answered": None if answered is None else answered_shown(answered),
        "progress": progress_shown(at.desk, at.me.session),
    }
