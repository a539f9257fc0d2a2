"""modctl on a terminal: it asks, draws bars and pictures there, and data that is redirected stays whole."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest

from moderation.miniature import samples
from tests.command import ok
from tests.waiting import GENEROUS_S

MODCTL = (sys.executable, "-m", "moderation")
# A demo's outcome of two pictures, shown without running a demo.
SHOW = """
from datetime import UTC, datetime
from moderation.cli import demo_view
from moderation.cli.demo import DemoRun
from moderation.domain.verdict import Decision, Verdict
from moderation.miniature import samples
pictures = {sample.path.name: sample for sample in samples()[:2]}
now = datetime.now(UTC)
def verdict(name):
    return Verdict(name, "demo", 1, Decision.REVIEW, 0.5, 0.0, "miniature", "p", 1, False, "", {}, 1.0, now)
verdicts = {name: verdict(name) for name in pictures}
run = DemoRun(pictures, verdicts, [], 1.0, [], "one", "sqlite:///x.db", "x", "miniature")
demo_view.show(run)
"""


def on_terminal(
    command: Sequence[object], *, typed: str = "", columns: int = 80, redirected: Path | None = None
) -> tuple[int, str]:
    """Runs `command` on a terminal, its standard output perhaps in a file; returns its exit code and the screen."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):  # the terminal's own size counts
        environment.pop(name, None)
    with (redirected or Path(os.devnull)).open("wb") as file:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=its,
            stdout=file if redirected else its,
            stderr=its,
            env=environment,
            start_new_session=True,
        )
    os.close(its)
    os.write(ours, typed.encode())
    screen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not part:
            break
        screen += part
    os.close(ours)
    return process.wait(GENEROUS_S), screen.decode(errors="replace")


@pytest.mark.parametrize(("answer", "code", "version"), [("y\n", 0, 2), ("n\n", 1, 1), ("\n", 1, 1)])
def test_a_change_is_shown_and_asked_for(answer: str, code: int, version: int) -> None:
    ok("db", "upgrade")
    change = ("threshold", "set", "--review-at", "0.3", "--reason", "a test")
    ended, screen = on_terminal([*MODCTL, *change], typed=answer)
    assert "review_at         0.5 -> 0.3" in screen
    assert "Set these thresholds? [y/N]:" in screen
    assert ended == code
    (policy,) = ok("threshold", "show", "--json").lines()
    assert policy["policy_id"] == version


def test_redirected_data_stays_whole_beside_the_bar_on_the_terminal(tmp_path: Path) -> None:
    out = tmp_path / "scores.ndjson"
    picture = samples()[0].path
    code, screen = on_terminal([*MODCTL, "scan", picture, "--json"], redirected=out)
    assert code == 0
    assert out.read_text().count("\n") == 1
    assert "\x1b" not in out.read_text()
    assert "scoring" in screen
    assert picture.name not in screen


@pytest.mark.parametrize(("columns", "drawn"), [(120, True), (80, True), (60, False)])
def test_a_demo_draws_thumbnails_where_there_is_room(columns: int, drawn: bool) -> None:
    code, screen = on_terminal([sys.executable, "-c", SHOW], columns=columns)
    assert code == 0, screen
    assert ("▀" in screen) is drawn
    assert "…" not in screen
    if columns >= 80:
        assert all(sample.path.name in screen for sample in samples()[:2])


def test_a_demo_in_a_pipe_does_not_even_look_for_a_terminal() -> None:
    script = SHOW + "\nimport sys\nsys.exit('textual_image' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=GENEROUS_S
    )
    assert done.returncode == 0, done.stderr
    assert "▀" not in done.stdout
    assert "\x1b" not in done.stdout
