"""How a task is drawn: two lines above the picture, its facts and the keys below. Fits 80 x 24."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moderation.cli.review.keys import EVIDENCE, HELP, Form, Mode
from moderation.cli.shared import console

if TYPE_CHECKING:
    from PIL.Image import Image

KEYS = "r real  f fake  u unsure  s skip  e escalate  z zoom  b back  n note  ? help  q quit"
SHORT_KEYS = "r real  f fake  u unsure  s skip  e escalate  z zoom  b back  ? help  q quit"
EMPTY = "b back  q quit  any other key looks again"
INSTALL = "no picture here: pip install textual-image draws it; z opens it"
HEAD_ROWS, FORM_ROWS = 2, 3  # above the picture; below its facts: what was entered, the keys, the line being written
LEAST_PICTURE_ROWS = 4
_LABELS = {Mode.NOTE: "note: ", Mode.REASON: "escalate, because: ", Mode.HELP: "any key goes on"}


@dataclass(frozen=True)
class View:
    """What is to be seen of one task. `note` stands where there is no picture."""

    head: str
    last: str = ""
    facts: Sequence[str] = ()
    image: Image | None = None
    note: str = ""


class Screen:
    """Draws on standard output. Without `images` there is no picture, and textual-image is not loaded."""

    def __init__(self, *, images: bool = True) -> None:
        self._console = console()
        self._renderable = _renderable() if images else None
        self._note = INSTALL if images and self._renderable is None else ""
        self._size = (0, 0)
        self._shown: Any = None

    @property
    def is_stale(self) -> bool:
        """Whether the terminal has another size than when it was drawn."""
        return self._size != tuple(self._console.size)

    def draw(self, view: View, form: Form) -> None:
        """Everything anew."""
        self._size = (self._console.width, self._console.height)
        rows = self._console.height - FORM_ROWS - len(view.facts)
        _control("\x1b[H\x1b[2J")
        self._line(view.head, "bold")
        self._line(view.last)
        if form.mode is Mode.HELP:
            for line in HELP[: rows - HEAD_ROWS]:
                self._line(line)
        else:
            self._picture(view, rows - HEAD_ROWS)
        _control(f"\x1b[{max(HEAD_ROWS, rows) + 1};1H")
        for line in view.facts:
            self._line(line)
        self.draw_form(form)

    def draw_form(self, form: Form) -> None:
        """The last lines alone: the picture stays as it is."""
        keys = KEYS if self._console.width > len(KEYS) else SHORT_KEYS
        _control(f"\x1b[?25l\x1b[{max(1, self._console.height - FORM_ROWS + 1)};1H\x1b[J")
        self._line(_entered(form), "yellow")
        self._line(EMPTY if form.mode is Mode.NOTHING else keys, "dim")
        self._line(self._written(form), "bold", end="")
        if form.mode in (Mode.NOTE, Mode.REASON) and not form.hint:
            _control("\x1b[?25h")

    def _written(self, form: Form) -> str:
        label = _LABELS.get(form.mode, "")
        room = max(1, self._console.width - len(label) - 2)
        return form.hint or label + form.typed[-room:]

    def _picture(self, view: View, rows: int) -> None:
        if self._shown is not None:
            self._shown.cleanup()
            self._shown = None
        if self._renderable is None or view.image is None:
            self._line(view.note or self._note)
        elif rows >= LEAST_PICTURE_ROWS:
            self._shown = self._renderable(view.image, width="auto", height="auto")
            self._console.print(self._shown, height=rows)

    def _line(self, text: str, style: str = "", end: str = "\n") -> None:
        from rich.text import Text

        line = Text(clean(text), style=style)
        line.truncate(self._console.width, overflow="ellipsis")
        self._console.print(line, end=end, soft_wrap=True)
        sys.stdout.flush()


def clean(text: str) -> str:
    """What others wrote, without what would steer the terminal or turn the line around."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _entered(form: Form) -> str:
    if form.lists_evidence:
        return "  ".join(f"{key}{'*' if each in form.evidence else ' '}{each.value}" for key, each in EVIDENCE.items())
    parts = [", ".join(form.evidence)] if form.evidence else []
    return "with it goes: " + "; ".join([*parts, *([form.note] if form.note else [])]) if parts or form.note else ""


def _renderable() -> Any:
    """textual-image's renderable, which asks the terminal what it can; None where it is not installed."""
    logging.getLogger("textual_image").setLevel(logging.ERROR)
    try:
        from textual_image.renderable import Image
    except ImportError:
        return None
    return Image


def _control(sequence: str) -> None:
    sys.stdout.write(sequence)
    sys.stdout.flush()
