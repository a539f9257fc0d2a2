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
_LOST = "This picture is no longer yours: it waited too long, or is open in another window. Nothing was stored."
_DOWN = "The server can't reach one of its services. Nothing was stored; please try again."
_BROKEN = "Something went wrong on the server. Please try again."


def handle_failures(app: FastAPI) -> None:
    """Registers what becomes of each error."""

    @app.exception_handler(NotLoggedIn)
    def _not_logged_in(request: Request, error: NotLoggedIn) -> Response:
        if _is_for_script(request):
            return _tell(request, 401, "not_logged_in", "You are not logged in any more.")
        return RedirectResponse("/login", status_code=303)

    @app.exception_handler(Forbidden)
    def _forbidden(request: Request, error: Forbidden) -> Response:
        return _tell(request, 403, "forbidden", str(error))

    @app.exception_handler(LeaseLost)
    def _lost(request: Request, error: LeaseLost) -> Response:
        return _tell(request, 409, "lease_lost", _LOST)

    @app.exception_handler(NothingToUndo)
    def _nothing(request: Request, error: NothingToUndo) -> Response:
        return _tell(request, 409, "nothing_to_undo", "There is no answer of this session left to take back.")

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        return _tell(request, 422, "invalid", "The server did not understand that. Load the page again.")

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        message = "There is no such page." if error.status_code == 404 else str(error.detail)
        return _tell(request, error.status_code, "http", message)

    @app.exception_handler(ModerationError)
    def _down(request: Request, error: ModerationError) -> Response:
        log.error("%s %s: %s", request.method, request.url.path, error)
        return _tell(request, 503, "down", _DOWN)

    @app.exception_handler(Exception)
    def _broken(request: Request, error: Exception) -> Response:
        return _tell(request, 500, "broken", _BROKEN)


def _tell(request: Request, status: int, kind: str, message: str) -> Response:
    if _is_for_script(request):
        return JSONResponse({"kind": kind, "error": message}, status_code=status)
    return page(request, "problem.html", status=status, message=message)


def _is_for_script(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/pictures/"))
