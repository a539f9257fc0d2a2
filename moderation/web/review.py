"""Review: the page, and what its script calls. A call does one thing at the desk and answers with what is next."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from moderation.domain.review import MAX_NOTE_CHARS, Answer, Evidence, ReviewTask, Said, TaskId
from moderation.domain.submission import ImageId
from moderation.errors import LeaseLost
from moderation.flows.reviewing.review import Answered
from moderation.web.pages import page
from moderation.web.shown import answered_shown, picture_of, progress_shown, task_shown
from moderation.web.site import Person, acting_person, person_of, site_of

router = APIRouter()
Me = Annotated[Person, Depends(acting_person)]
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


class Leaving(BaseModel):
    """What a page holds that is closed or paused."""

    held: list[Held] = Field(max_length=4)


@router.get("/review")
def review_page(request: Request, person: Annotated[Person, Depends(person_of)]) -> Response:
    lease_s = site_of(request).wiring.settings.review_lease_s
    return page(
        request, "review.html", person=person, evidence=list(Evidence), lease_s=lease_s, max_note=MAX_NOTE_CHARS
    )


@router.post("/api/next")
def take_next(request: Request, me: Me) -> dict[str, Any]:
    """The task to be at now."""
    return _onward(request, me)


@router.post("/api/ahead")
def look_ahead(request: Request, me: Me, held: Held) -> dict[str, Any]:
    """The task after the one at hand, leased too, so that its picture can be there when it is wanted."""
    desk = site_of(request).desk(me)
    task = desk.next(beside=_as_held(request, held))
    if task is None:
        return {"task": None}
    return {"task": {"task_id": task.task_id, "version": task.version}, "picture": picture_of(task)}


@router.post("/api/answer")
def answer(request: Request, me: Me, said: Answering) -> dict[str, Any]:
    desk = site_of(request).desk(me)
    answered = desk.answer(
        _as_held(request, said), Said(said.answer, tuple(dict.fromkeys(said.evidence)), said.note.strip(), said.seconds)
    )
    me.session.answered += 1
    me.session.seconds += said.seconds
    return _onward(request, me, answered=answered)


@router.post("/api/skip")
def skip(request: Request, me: Me, held: Held) -> dict[str, Any]:
    site_of(request).desk(me).skip(_as_held(request, held))
    return _onward(request, me)


@router.post("/api/escalate")
def escalate(request: Request, me: Me, held: Escalating) -> dict[str, Any]:
    site_of(request).desk(me).escalate(_as_held(request, held), held.reason.strip())
    return _onward(request, me)


@router.post("/api/undo")
def undo(request: Request, me: Me) -> dict[str, Any]:
    """Takes back this session's last answer, and puts its task before the reviewer again."""
    desk = site_of(request).desk(me)
    task = desk.undo(since=me.session.started_at)
    if me.session.answered:
        me.session.seconds -= me.session.seconds / me.session.answered
        me.session.answered -= 1
    return _onward(request, me, task=task)


@router.post("/api/renew")
def renew(request: Request, me: Me, held: Held) -> dict[str, Any]:
    """Keeps the task while the reviewer is at it."""
    site_of(request).desk(me).renew(_as_held(request, held))
    return {}


@router.post("/api/leave")
def leave(request: Request, me: Me, leaving: Leaving) -> dict[str, Any]:
    """Gives back what the page held, and nothing that another window has been given since."""
    desk = site_of(request).desk(me)
    for held in leaving.held:
        desk.release(_as_held(request, held))
    return {}


def _as_held(request: Request, held: Held) -> ReviewTask:
    """The task as the page was given it, so that a page that comes late is refused. Raises LeaseLost."""
    task = site_of(request).wiring.review_tasks.get(TaskId(held.task_id))
    if task is None:
        raise LeaseLost(held.task_id, ImageId(""))
    return replace(task, version=held.version)


def _onward(
    request: Request, me: Person, *, task: ReviewTask | None = None, answered: Answered | None = None
) -> dict[str, Any]:
    """What comes next (`task` if it is known), what came of the answer, and how far the reviewer is."""
    desk = site_of(request).desk(me)
    task = task or desk.next()
    return {
        "task": None if task is None else task_shown(task, desk),
        "answered": None if answered is None else answered_shown(answered),
        "progress": progress_shown(desk, me.session),
    }
