"""modctl review without a command: a sitting at the terminal, or in a browser."""

from __future__ import annotations

import time
from contextlib import suppress

from moderation.cli.review.options import desk_of
from moderation.cli.review.terminal import check_terminal, own_terminal
from moderation.cli.shared import counted, parts, say


def sit(reviewer: str, *, senior: bool, images: bool) -> None:
    """Until the reviewer quits, by q or Ctrl-C."""
    check_terminal()
    from moderation.cli.review.facts import span
    from moderation.cli.review.picture import Pictures
    from moderation.cli.review.screen import Screen
    from moderation.cli.review.session import COUNTED_UP_TO, Session

    with parts() as wiring:
        desk = desk_of(wiring, reviewer, senior=senior)
        canvas, gallery = Screen(images=images), Pictures(wiring)
        began_s = time.monotonic()
        try:
            with own_terminal() as keyboard:
                session = Session(desk, keyboard, canvas, gallery)
                with suppress(KeyboardInterrupt):
                    session.run()
        finally:
            gallery.close()
        left = wiring.review_tasks.left(desk.reviewer, is_senior=desk.is_senior, limit=COUNTED_UP_TO)
    count = f"{left:,}" if left < COUNTED_UP_TO else f"{left:,} or more"
    took = span(time.monotonic() - began_s)
    say(f"{counted(len(session.seconds), 'picture')} answered in {took}; {count} left for {desk.reviewer}.")


def sit_in_browser(reviewer: str, *, senior: bool, port: int, open_browser: bool) -> None:
    """Until Ctrl-C."""
    from moderation.web.local import run

    with parts() as wiring:
        desk = desk_of(wiring, reviewer, senior=senior)
        run(wiring, desk.reviewer, is_senior=desk.is_senior, open_browser=open_browser, port=port)
