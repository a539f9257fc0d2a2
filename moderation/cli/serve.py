"""modctl serve: the review page for a team."""

from __future__ import annotations

from pathlib import Path

import click

from moderation.cli.shared import parts, say

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HERE = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8800, show_default=True, help="0: a free one.")
@click.option("--tls-cert", type=_FILE, help="Certificate, for https.")
@click.option("--tls-key", type=_FILE, help="Its private key.")
def command(host: str, port: int, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve the review page for a team, until Ctrl-C. Reviewers log in with a token: modctl reviewer add NAME.

    Off this machine it belongs behind https: give a certificate, or let a proxy on this machine do it.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    from moderation.web.app import create_app
    from moderation.web.server import listen, serve
    from moderation.web.site import Site

    with parts() as wiring, listen(host, port) as door:
        if not any(reviewer.is_active for reviewer in wiring.reviewers.list()):
            say("note: nobody can log in yet; make a token: modctl reviewer add NAME")
        scheme = "https" if tls_cert else "http"
        if scheme == "http" and host not in _HERE:
            say("warning: without https, tokens and pictures cross the network readable for all on it")
        wiring.image_source  # noqa: B018 - a wrong setting is told now, not to the first reviewer
        name = f"[{host}]" if ":" in host else host
        say(f"Serving on {scheme}://{name}:{door.getsockname()[1]}; Ctrl-C ends it.")
        serve(create_app(Site(wiring)), door, cert=tls_cert, key=tls_key)
