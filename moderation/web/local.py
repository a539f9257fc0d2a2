"""`modctl review --web`: the review page for the person at this machine, and for nobody else on the network."""

from __future__ import annotations

import webbrowser

import click

from moderation.web.app import create_app
from moderation.web.server import listen, serve
from moderation.web.site import COOKIE, Invitation, Site
from moderation.wiring import Wiring

HOST = "127.0.0.1"


def run(wiring: Wiring, reviewer: str, *, is_senior: bool, open_browser: bool = True, port: int = 0) -> None:
    """Serves the page on 127.0.0.1 until Ctrl-C, then gives the reviewer's leases back.

    The address is printed on standard error with a token that works once. port: 0 takes a free one. Raises
    ConfigurationError where the port is in use.
    """
    desk = wiring.desk(reviewer, is_senior=is_senior)  # first: a wrong schema is told before a browser opens
    invitation = Invitation(reviewer, is_senior)
    with listen(HOST, port) as door:
        port = door.getsockname()[1]
        site = Site(wiring, invitation, cookie=f"{COOKIE}_{port}")  # cookies know no ports: two servers, two names
        address = f"http://{HOST}:{port}/open/{invitation.token}"
        click.echo(f"Review at {address}\nThe address works once. Ctrl-C ends it.", err=True)
        if open_browser:
            webbrowser.open(address)
        try:
            serve(create_app(site, hosts=(HOST, "localhost")), door)
        finally:
            desk.leave()
