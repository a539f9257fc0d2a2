"""modctl review on a real terminal: single keys, pictures, and the terminal as it was, however it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest

from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.review import Act, Answer
from moderation.domain.submission import ImageId
from moderation.miniature import SAMPLES_DIR, samples
from moderation.storage.database import Database
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.reviewing.tasks import ReviewTasks
from tests.command import ok
from tests.moderated import score
from tests.store import Store, furnish
from tests.waiting import GENEROUS_S

# The terminal becomes the process's own, so that Ctrl-C reaches it.
START = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
NAMES = [sample.path.name for sample in samples()[:3]]
OTHER_SCREEN, BACK = "\x1b[?1049h", "\x1b[?25h\x1b[?1049l"
CTRL_C = "\x03"


class Terminal:
    """One call of modctl on a terminal of 80 x 24. `seen` is all that it has written."""

    def __init__(self, *arguments: str, columns: int = 80) -> None:
        self.ours, self.its = pty.openpty()
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.before = self.modes()
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "DISPLAY", "WAYLAND_DISPLAY"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, sys.executable, "-m", "moderation", "review", *arguments],
            stdin=self.its, stdout=self.its, stderr=self.its, env=environment, start_new_session=True,
        )  # fmt: skip
        self.seen = ""

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.its)

    def wait_for(self, text: str) -> str:
        """What was written until now from the last call on, once `text` is in it."""
        new, deadline = "", time.monotonic() + GENEROUS_S
        while text not in new:
            assert time.monotonic() < deadline, f"{text!r} did not come: {self.seen[-2000:]!r}"
            new += self._read()
        return new

    def press(self, keys: str, until: str) -> str:
        """As a person does, who looks first: what is typed before the process waits for a key is dropped."""
        while self._read() or not self._sleeps():
            pass
        os.write(self.ours, keys.encode())
        return self.wait_for(until)

    def end(self) -> int:
        code = self.process.wait(GENEROUS_S)
        while self._read():
            pass
        return code

    def _read(self) -> str:
        """What it wrote meanwhile; '' if nothing came for a moment."""
        if not select.select([self.ours], [], [], 0.05)[0]:
            return ""
        part = os.read(self.ours, 65536).decode(errors="replace")
        self.seen += part
        return part

    def _sleeps(self) -> bool:
        """It does nothing and has nothing to do: with all that it wrote read, it waits for a key."""
        told = subprocess.run(["ps", "-o", "stat=", "-p", str(self.process.pid)], capture_output=True, check=True)
        return told.stdout.startswith(b"S")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(GENEROUS_S)
        for descriptor in (self.ours, self.its):
            os.close(descriptor)


@pytest.fixture
def store(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """modctl is set to three pictures that wait."""
    for name, value in (
        ("DATABASE_URL", sqlite_url), ("IMAGES", str(SAMPLES_DIR)), ("ACTOR", "ann"), ("SECOND_LOOK_RATE", "0"),
    ):  # fmt: skip
        monkeypatch.setenv(f"MODERATION_{name}", value)
    ok("db", "upgrade")
    database = Database(sqlite_url)
    store = furnish(database)
    store.policies.set(ANY_SOURCE, Thresholds(0.5, 0.9, 1.0, 1.0), author="ann", reason="all")
    score(store, dict(zip(NAMES, (0.5, 0.55, 0.59), strict=True)))
    yield store
    database.dispose()


def holders(store: Store) -> list[str | None]:
    return [task.claimed_by for task in ReviewTasks(store.database).list()]


def acts(store: Store, name: str) -> list[tuple[Act, Answer | None]]:
    return [(review.act, review.answer) for review in Reviews(store.database).of_image(ImageId(name))]


def test_pictures_are_answered_by_single_keys(store: Store) -> None:
    with Terminal() as terminal:
        first = terminal.wait_for("q quit")
        assert OTHER_SCREEN in first
        assert first.count("▀") > 200
        assert "ann   3 left   0 answered" in first
        assert f"{NAMES[0]}\r\n" in first
        assert "128 x 128 JPEG" in first
        assert "0.50" not in first
        assert holders(store) == ["ann", None, None]

        second = terminal.press("f", "q quit")
        assert "ann   2 left   1 answered" in second
        assert f"{NAMES[0]}: you fake, machine REVIEW 0.50; label fake, weak" in second
        assert "2*text" in terminal.press("2v", "2*text")
        terminal.press("noddd\x7f\r", "odd")
        assert "zoom: the full picture" in terminal.press("?", "any key goes on")
        terminal.press(" ", "q quit")
        assert "for now it is" in terminal.press("z", "for now it is")
        assert "2 answered" in terminal.press("r", "q quit")
        assert f"{NAMES[1]}: your answer is taken back" in terminal.press("\x1b[Ab", "q quit")  # an arrow does nothing
        assert "2 answered" in terminal.press("u", "q quit")
        assert "Nothing is left for you to review." in terminal.press("s", "q quit")
        terminal.press("q", BACK)
        assert terminal.end() == 0
        assert "2 pictures answered in " in terminal.seen
        assert " s; 0 left for ann." in terminal.seen
        assert terminal.modes() == terminal.before
        assert acts(store, NAMES[0]) == [(Act.ANSWER, Answer.FAKE)]
        assert acts(store, NAMES[1]) == [(Act.ANSWER, Answer.REAL), (Act.UNDO, None), (Act.ANSWER, Answer.UNSURE)]
        assert acts(store, NAMES[2]) == [(Act.SKIP, None)]


def test_ctrl_c_gives_the_picture_and_the_terminal_back(store: Store) -> None:
    with Terminal("--no-images", "--reviewer", "bob") as terminal:
        first = terminal.wait_for("q quit")
        assert "▀" not in first
        assert holders(store) == ["bob", None, None]
        assert terminal.modes() != terminal.before
        terminal.press("e", "escalate, because")
        terminal.press(CTRL_C, BACK)
        assert terminal.end() == 0
        assert "0 pictures answered" in terminal.seen
        assert "Traceback" not in terminal.seen
        assert terminal.modes() == terminal.before
        assert holders(store) == [None] * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_or_a_closed_window_leaves_nothing_behind(store: Store, number: signal.Signals) -> None:
    with Terminal("--no-images") as terminal:
        terminal.wait_for("q quit")
        assert holders(store) == ["ann", None, None]
        os.kill(terminal.process.pid, number)
        terminal.wait_for(BACK)
        assert terminal.end() == 128 + number
        assert terminal.modes() == terminal.before
        assert holders(store) == [None] * 3


def test_what_is_typed_before_a_picture_is_there_answers_nothing(store: Store) -> None:
    with Terminal("--no-images") as terminal:
        terminal.wait_for(OTHER_SCREEN)
        os.write(terminal.ours, b"ffffffff")
        terminal.wait_for("q quit")
        terminal.press("q", BACK)
        assert terminal.end() == 0
        assert sum(len(acts(store, name)) for name in NAMES) <= 1  # at most one fell into the moment after it was drawn
