"""The application: routes, what surrounds them, and nothing that runs before the first request."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from moderation.web import dashboard, login, pictures, review
from moderation.web.bodies import SmallBodies
from moderation.web.failures import handle_failures
from moderation.web.headers import SecureHeaders
from moderation.web.pages import STATIC
from moderation.web.site import Site


def create_app(site: Site, *, hosts: Collection[str] = ()) -> FastAPI:
    """The server of `site`. hosts: names by which it may be asked for; empty: any."""
    app = FastAPI(title="Antifake Moderation", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    handle_failures(app)
    for part in (login, review, pictures, dashboard):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(SmallBodies)
    app.add_middleware(SecureHeaders, hosts=hosts)
    return app
