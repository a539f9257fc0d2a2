"""Pictures, for whoever has to judge them and for nobody else. They are asked for by task; no path is ever taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from moderation.domain.review import ReviewTask, TaskId, TaskState
from moderation.errors import ImageRejected, ImageUnavailable
from moderation.images.display import Display, display, original
from moderation.web.site import Person, person_of, site_of

router = APIRouter()
Me = Annotated[Person, Depends(person_of)]


@router.get("/pictures/{task_id}")
def shown(request: Request, task_id: int, me: Me) -> Response:
    """The picture in a size for the screen."""
    return _answer(request, task_id, me, display)


@router.get("/pictures/{task_id}/original")
def real_pixels(request: Request, task_id: int, me: Me) -> Response:
    """The file itself, all its pixels."""
    return _answer(request, task_id, me, original)


def _answer(request: Request, task_id: int, me: Person, make: Callable[..., Display]) -> Response:
    wiring = site_of(request).wiring
    task = wiring.review_tasks.get(TaskId(task_id)) if 0 < task_id < 2**62 else None
    if task is None or not _is_at_hand(task, me):
        return _refusal(404, "This picture is not one of your tasks now.")
    try:
        made = make(wiring.image_source.fetch(task.image_id), max_pixels=wiring.settings.max_image_pixels)
    except ImageRejected as error:
        return _refusal(422, f"This picture can't be shown: {error.reason}.")
    except ImageUnavailable:
        return _refusal(503, "This picture can't be had now: its source does not answer.")
    size = {"X-Picture-Size": f"{made.width}x{made.height}", "X-Picture-Original": str(int(made.is_original))}
    return Response(made.data, media_type=made.media_type, headers=size)


def _is_at_hand(task: ReviewTask, me: Person) -> bool:
    return task.state is TaskState.OPEN and task.claimed_by == me.name


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"kind": "no_picture", "error": message}, status_code=status)
