"""From errors to answers: a page for who looks at one, JSON for a script, and always words that help."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from moderation.errors import LeaseLost, ModerationError, NothingToUndo
from moderation.web.pages import page
from moderation.web.site import Forbidden, NotLoggedIn

log = logging.getLogger(__name__)
_BROKEN = "Something went wrong on the server. Please try again."
# What each error is answered with: status, a word for the script, words for people.
_ANSWERS: dict[type[Exception], tuple[int, str, str]] = {
    LeaseLost: (
        409,
        "lease_lost",
        "This picture is no longer yours: it waited too long, or is open in another window. Nothing was stored.",
    ),
    NothingToUndo: (409, "nothing_to_undo", "There is no answer of this session left to take back."),
    RequestValidationError: (422, "invalid", "The server did not understand that. Load the page again."),
    ModerationError: (503, "down", "The server can't reach one of its services. Nothing was stored; please try again."),
    Exception: (500, "broken", _BROKEN),
}


def handle_failures(app: FastAPI) -> None:
    """Registers what becomes of each error."""
    for kind in _ANSWERS:
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(NotLoggedIn, _ask_to_log_in)
    app.add_exception_handler(Forbidden, _forbid)
    app.add_exception_handler(HTTPException, _pass_on)


def _answer(request: Request, error: Exception) -> Response:
    status, kind, message = next(_ANSWERS[each] for each in type(error).__mro__ if each in _ANSWERS)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    return _tell(request, status, kind, message)


def _ask_to_log_in(request: Request, error: Exception) -> Response:
    if _is_for_script(request):
        return _tell(request, 401, "not_logged_in", "You are not logged in any more.")
    return RedirectResponse("/login", status_code=303)


def _forbid(request: Request, error: Exception) -> Response:
    return _tell(request, 403, "forbidden", str(error))


def _pass_on(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _tell(request, status, "http", "There is no such page." if status in (404, 405) else _BROKEN)


def _tell(request: Request, status: int, kind: str, message: str) -> Response:
    if _is_for_script(request):
        return JSONResponse({"kind": kind, "error": message}, status_code=status)
    return page(request, "problem.html", status=status, message=message)


def _is_for_script(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/pictures/"))
