"""Coming and going: a reviewer's token, or this machine's one-time address, for a session cookie."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from moderation.web.pages import page
from moderation.web.sessions import Session, new_token, same
from moderation.web.site import Forbidden, NotLoggedIn, Site, check_csrf, person_of, site_of

router = APIRouter()
_LOGIN_COOKIE = "antifake_login"


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; of a repeated one the last. What is no form has none."""
    try:
        return dict(parse_qsl((await request.body()).decode(), max_num_fields=10))
    except ValueError:
        return {}


Form = Annotated[dict[str, str], Depends(form_of)]


@router.get("/")
def start(request: Request) -> Response:
    return RedirectResponse("/review", status_code=303)


@router.get("/login")
def login_page(request: Request) -> Response:
    """Asks for the token."""
    return _ask(request)


@router.post("/login")
def log_in(request: Request, form: Form) -> Response:
    """A token for a session; after too many wrong ones the address has to wait."""
    site = site_of(request)
    if site.invitation is not None:
        raise Forbidden("This server is for the person at this machine alone.")
    if not same(request.cookies.get(_LOGIN_COOKIE, ""), form.get("csrf", "")):
        return _ask(request, "That page was out of date. Please try again.", status=403)
    address = request.client.host if request.client else ""
    if wait_s := site.limit.wait_s(address):
        answer = _ask(request, f"Too many attempts. Try again in {wait_s} seconds.", status=429)
        answer.headers["Retry-After"] = str(wait_s)
        return answer
    session = site.log_in(form.get("token", ""))
    if session is None:
        site.limit.failed(address)
        return _ask(request, "No reviewer has this token. Ask an admin for a new one.", status=401)
    return _welcome(request, site, session)


@router.get("/open/{token}")
def open_once(request: Request, token: str) -> Response:
    """The address that `modctl review --web` prints."""
    site = site_of(request)
    if site.invitation is None or not site.invitation.accept(token):
        try:
            person_of(request)
        except NotLoggedIn:
            raise Forbidden(
                "This address works once, and was used already. Run modctl review --web again for a new one."
            ) from None
        return RedirectResponse("/review", status_code=303)
    return _welcome(request, site, site.sessions.begin(site.invitation.name, None))


@router.post("/logout")
def log_out(request: Request, form: Form) -> Response:
    """Gives the tasks back and ends the session."""
    site, person = site_of(request), person_of(request)
    check_csrf(person, form.get("csrf", ""))
    site.desk(person).leave()
    site.sessions.end(person.session.session_id)
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(site.cookie, httponly=True, samesite="strict")
    return answer


def _ask(request: Request, problem: str = "", status: int = 200) -> Response:
    csrf = new_token()
    answer = page(request, "login.html", status=status, problem=problem, csrf=csrf)
    _set_cookie(answer, request, _LOGIN_COOKIE, csrf)
    return answer


def _welcome(request: Request, site: Site, session: Session) -> Response:
    answer = RedirectResponse("/review", status_code=303)
    _set_cookie(answer, request, site.cookie, session.session_id)
    return answer


def _set_cookie(answer: Response, request: Request, name: str, value: str) -> None:
    is_secure = request.url.scheme == "https"
    answer.set_cookie(name, value, httponly=True, samesite="strict", secure=is_secure, path="/")
