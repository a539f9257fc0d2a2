"""`modctl review --web`: the review page for the person at this machine, and for nobody else on the network."""

from __future__ import annotations

from moderation.wiring import Wiring


def run(wiring: Wiring, reviewer: str, *, is_senior: bool, open_browser: bool = True, port: int = 0) -> None:
    """Serves the page on 127.0.0.1 until Ctrl-C, then gives the reviewer's leases back.

    The address is printed on standard error with a token that works once. port: 0 takes a free one. Raises
    ConfigurationError where the port is in use.
    """
    raise NotImplementedError
