"""Who gets in, who stays out, and what every answer tells the browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from moderation.domain.review import Role
from moderation.web.app import create_app
from moderation.web.limit import MAX_FAILURES, WINDOW_S, LoginLimit
from moderation.web.sessions import IDLE_S, MAX_AGE_S, Sessions
from moderation.web.site import COOKIE, Invitation, Site
from tests.store import Store
from tests.visitor import Visitor
from tests.website import BY, Website


def test_nobody_gets_in_without_a_token(website: Website) -> None:
    website.add_pictures(1)
    visitor = Visitor(website.app)
    for page in ("/", "/review", "/dashboard", "/nothing"):
        answer = visitor.client.get(page)
        assert answer.url.path == "/login" or answer.status_code == 404
    assert visitor.client.get("/pictures/1").status_code == 401
    assert visitor.post("next").status_code == 401


def test_a_wrong_token_is_refused_and_a_right_one_lets_in(website: Website) -> None:
    token = website.add_reviewer("ann")
    visitor = Visitor(website.app)
    refused = visitor.log_in(token[:-1])
    assert refused.status_code == 401
    assert "No reviewer has this token" in refused.text
    assert visitor.log_in(token).url.path == "/review"
    (cookie,) = [each for each in visitor.client.cookies.jar if each.name == COOKIE]
    assert cookie.value is not None
    assert token not in cookie.value


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(website: Website) -> None:
    token = website.add_reviewer("ann")
    for base, is_secure in (("http://moderation.example", False), ("https://moderation.example", True)):
        visitor = Visitor(website.app, base)
        set_cookie = visitor.log_in(token, follow=False).headers["set-cookie"].lower()
        assert "httponly" in set_cookie
        assert "samesite=strict" in set_cookie
        assert ("secure" in set_cookie) is is_secure


def test_every_answer_forbids_what_is_not_ours(website: Website) -> None:
    visitor = Visitor.logged_in(website)
    answers: list[Any] = [
        visitor.client.get(path) for path in ("/review", "/static/review.js", "/pictures/9", "/nothing", "/login")
    ]
    for answer in [*answers, visitor.post("next"), visitor.client.post("/api/next")]:
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers


def test_pages_hold_no_inline_script_or_style_and_load_nothing_from_elsewhere(website: Website) -> None:
    visitor = Visitor.logged_in(website, "eve", Role.ADMIN)
    website.add_pictures(2)
    for page in ("/review", "/dashboard", "/login"):
        text = visitor.client.get(page).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", text)
        assert not re.findall(r'(?:src|href|action)="(?!/)', text.replace('href="#main"', ""))
    for file in (Path(__file__).parents[3] / "moderation" / "web" / "static").iterdir():
        assert "://" not in file.read_text().replace("http://www.w3.org/2000/svg", ""), file


def test_what_another_site_sends_is_refused(website: Website) -> None:
    website.add_pictures(1)
    visitor = Visitor.logged_in(website)
    for token in ("", "wrong", "é"):
        refused = visitor.client.post("/api/next", headers={b"X-CSRF-Token": token.encode()})
        assert (refused.status_code, refused.json()["kind"]) == (403, "forbidden")
    assert website.wiring.review_tasks.list()[0].claimed_by is None
    assert visitor.client.post("/logout", data={"csrf": "wrong"}).status_code == 403
    assert Visitor(website.app).client.post("/login", data={"token": "x", "csrf": "y"}).status_code == 403


def test_logging_out_gives_the_tasks_back_and_ends_the_session(website: Website) -> None:
    website.add_pictures(1)
    visitor = Visitor.logged_in(website)
    assert visitor.post("next").json()["task"] is not None
    kept = dict(visitor.client.cookies)
    assert visitor.log_out().url.path == "/login"
    assert website.wiring.review_tasks.list()[0].claimed_by is None
    thief = TestClient(website.app, cookies=kept, follow_redirects=False)
    assert thief.get("/review").status_code == 303


def test_a_token_taken_away_or_replaced_ends_its_sessions(website: Website) -> None:
    ann, bob = Visitor.logged_in(website, "ann"), Visitor.logged_in(website, "bob")
    website.wiring.reviewers.remove("ann", by=BY)
    website.wiring.reviewers.save("bob", Role.ADMIN, is_trusted=False, token_sha256="0" * 64, by=BY)
    for visitor in (ann, bob):
        assert visitor.post("next").status_code == 401
        assert visitor.client.get("/review").url.path == "/login"


def test_too_many_wrong_tokens_have_to_wait(website: Website) -> None:
    token = website.add_reviewer("ann")
    visitor = Visitor(website.app)
    for _ in range(MAX_FAILURES):
        assert visitor.log_in("guess").status_code == 401
    waits = visitor.log_in(token)
    assert waits.status_code == 429
    assert 0 < int(waits.headers["retry-after"]) <= WINDOW_S
    elsewhere = Visitor(website.app, address="10.0.0.9")
    assert elsewhere.log_in(token).url.path == "/review"


def test_the_limit_forgets_in_time_and_holds_few_addresses() -> None:
    now = [0.0]
    limit = LoginLimit(lambda: now[0])
    for _ in range(MAX_FAILURES):
        limit.failed("a")
    assert (limit.wait_s("a"), limit.wait_s("b")) == (WINDOW_S, 0)
    now[0] = WINDOW_S
    assert limit.wait_s("a") == 0
    for number in range(10_100):
        limit.failed(f"{number}")
    assert len(limit._failures) == 10_000


def test_sessions_end_when_idle_and_when_old() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    one = sessions.begin("ann", None).session_id
    now[0] = IDLE_S - 1
    assert sessions.get(one) is not None
    now[0] += IDLE_S + 1
    assert sessions.get(one) is None
    two = sessions.begin("ann", None).session_id
    began = now[0]
    while now[0] < began + MAX_AGE_S:
        assert sessions.get(two) is not None
        now[0] += IDLE_S / 2
    now[0] += 1
    assert sessions.get(two) is None


def test_only_an_admin_sees_the_dashboard(website: Website) -> None:
    for role, status in ((Role.REVIEWER, 403), (Role.SENIOR, 403), (Role.ADMIN, 200)):
        visitor = Visitor.logged_in(website, role.value, role)
        assert visitor.client.get("/dashboard").status_code == status
        assert ("/dashboard" in visitor.client.get("/review").text) is (status == 200)


def test_a_large_body_is_refused_unread(website: Website) -> None:
    visitor = Visitor.logged_in(website)
    assert visitor.post("next", {"note": "x" * 70_000}).status_code == 413


@pytest.fixture
def local(website: Website) -> tuple[Website, Invitation]:
    """The same as one person's own server."""
    invitation = Invitation("ann", is_senior=False)
    site = Site(website.wiring, invitation, cookie=f"{COOKIE}_1")
    app = create_app(site, hosts=("127.0.0.1", "localhost"))
    return Website(website.store, website.wiring, site, app, website.images), invitation


def test_the_one_time_address_works_once(local: tuple[Website, Invitation]) -> None:
    website, invitation = local
    address = f"/open/{invitation.token}"
    assert TestClient(website.app, "http://127.0.0.1:8801").get("/open/wrong").status_code == 403
    first = TestClient(website.app, "http://127.0.0.1:8801")
    assert first.get(address).url.path == "/review"
    assert first.get(address).url.path == "/review"  # a reload of the same window
    second = TestClient(website.app, "http://127.0.0.1:8801").get(address)
    assert second.status_code == 403
    assert "works once" in second.text
    assert TestClient(website.app, "http://127.0.0.1:8801").get("/review").url.path == "/login"


def test_a_local_server_has_no_token_login_and_answers_to_its_own_name_only(
    local: tuple[Website, Invitation], store: Store
) -> None:
    website, invitation = local
    token = website.add_reviewer("eve", Role.ADMIN)
    assert Visitor(website.app, "http://127.0.0.1:8801").log_in(token).status_code == 403
    rebound = TestClient(website.app, "http://attacker.example:8801").get(f"/open/{invitation.token}")
    assert rebound.status_code == 421
