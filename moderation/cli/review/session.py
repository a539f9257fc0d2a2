"""One sitting: pictures come, keys answer them, and nothing stays held when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Protocol

from moderation.cli.review.facts import facts_of, outcome
from moderation.cli.review.keys import Action, Do, Form, Mode, press
from moderation.cli.review.picture import Picture
from moderation.cli.review.screen import View
from moderation.domain.review import ReviewId, ReviewTask, Said
from moderation.domain.submission import ImageId
from moderation.errors import LeaseLost, NothingToUndo, ServiceDown
from moderation.flows.reviewing.review import Desk

COUNTED_UP_TO = 1000  # more tasks than this are not counted
_RECENT = 20  # answers that make the pace


class Keys(Protocol):
    """Where keys come from. '' says that none was typed for a while."""

    def key(self) -> str: ...
    def forget(self) -> None: ...


class Canvas(Protocol):
    """What is drawn on."""

    @property
    def is_stale(self) -> bool: ...
    def draw(self, view: View, form: Form) -> None: ...
    def draw_form(self, form: Form) -> None: ...


class Gallery(Protocol):
    """Where pictures come from."""

    def load(self, image_id: ImageId) -> Picture: ...
    def zoom(self, picture: Picture) -> str: ...


@dataclass
class Session:
    """A sitting of one reviewer. `run` returns when they quit; a task that is held goes back in any case."""

    desk: Desk
    keys: Keys
    canvas: Canvas
    gallery: Gallery
    now_s: Callable[[], float] = time.monotonic
    seconds: list[float] = field(default_factory=list)
    _task: ReviewTask | None = None
    _picture: Picture | None = None
    _form: Form = field(default_factory=Form)
    _view: View = field(default_factory=lambda: View(""))
    _answered: list[ReviewId] = field(default_factory=list)
    _shown_s: float = 0.0
    _renewed_s: float = 0.0

    def run(self) -> None:
        """Until the reviewer quits. Raises ServiceDown where SQL does not even give a first task."""
        try:
            self._show(self.desk.next(), "")
            while self._step(self.keys.key()):
                pass
        finally:
            if self._task is not None:
                self.desk.release(self._task)

    def _step(self, key: str) -> bool:
        """One key. False: the reviewer quits."""
        if not key:
            if self.canvas.is_stale:
                self.canvas.draw(self._view, self._form)
            return True
        mode, view = self._form.mode, self._view
        self._form, action = press(self._form, key)
        if action is not None and action.do is Do.QUIT:
            return False
        try:
            self._renew()
            if action is not None:
                self._do(action)
        except LeaseLost as error:
            self._task = None
            self._go_on(str(error))
        except ServiceDown as error:
            self._hint(f"not done, try again: {error}".splitlines()[0])
        self._redraw(mode, view)
        return True

    def _redraw(self, mode: Mode, view: View) -> None:
        """What changed since `mode` and `view` were on the screen; a new view has been drawn already."""
        if mode is not self._form.mode and Mode.HELP in (mode, self._form.mode):
            self.canvas.draw(self._view, self._form)
        elif self._view is view or self._form.hint:
            self.canvas.draw_form(self._form)

    def _do(self, action: Action) -> None:
        match action.do:
            case Do.ANSWER:
                self._answer(action)
            case Do.BACK:
                self._back()
            case Do.LOOK:
                self._go_on("")
            case Do.ZOOM if self._picture is not None:
                self._hint(self.gallery.zoom(self._picture))
            case Do.SKIP if self._task is not None:
                self.desk.skip(self._task)
                self._go_on(f"{self._task.image_id}: skipped")
            case Do.ESCALATE if self._task is not None:
                self.desk.escalate(self._task, action.reason)
                self._go_on(f"{self._task.image_id}: a senior decides")

    def _answer(self, action: Action) -> None:
        if self._task is None or self._picture is None or action.answer is None:
            return
        if self._picture.problem:
            self._hint("there is no picture to judge: s skips it, e escalates it")
            return
        seconds = round(self.now_s() - self._shown_s, 2)
        said = Said(action.answer, self._form.evidence, self._form.note, seconds)
        done = self.desk.answer(self._task, said)
        self._answered.append(done.review.review_id)
        self.seconds.append(seconds)
        self._go_on(outcome(done))

    def _back(self) -> None:
        if not self._answered:
            self._hint("no answer of this sitting to take back; others: modctl review undo --id")
            return
        try:
            task = self.desk.undo(review_id=self._answered[-1])
        except NothingToUndo as error:
            self._answered.pop()
            self._hint(str(error))
            return
        self._answered.pop()
        self.seconds.pop()
        if self._task is not None:
            self.desk.release(self._task)
            self._task = None
        if task is None:
            self._go_on("taken back; a newer task for it waits in the line")
        else:
            self._show(task, f"{task.image_id}: your answer is taken back")

    def _go_on(self, last: str) -> None:
        self._task = None
        try:
            self._show(self.desk.next(), last)
        except ServiceDown as error:
            self._show(None, last)
            self._hint(str(error).splitlines()[0])

    def _show(self, task: ReviewTask | None, last: str) -> None:
        self._task, self._renewed_s = task, self.now_s()
        self._form = Form(Mode.LOOKING if task else Mode.NOTHING)
        self._picture = self.gallery.load(task.image_id) if task else None
        self._view = self._seen(task, self._picture, last)
        self.canvas.draw(self._view, self._form)
        self.keys.forget()
        self._shown_s = self.now_s()

    def _seen(self, task: ReviewTask | None, picture: Picture | None, last: str) -> View:
        if task is None or picture is None:
            return View(self._head(0), last, note="Nothing is left for you to review.")
        left = self.desk.tasks.left(self.desk.reviewer, is_senior=self.desk.is_senior, limit=COUNTED_UP_TO)
        said = self.desk.reviews.of_image(task.image_id)
        verdict = self.desk.verdicts.latest([task.image_id]).get(task.image_id)
        return View(self._head(left), last, facts_of(task, picture, said, verdict), picture.image, picture.problem)

    def _head(self, left: int) -> str:
        count = f"{left:,}" if left < COUNTED_UP_TO else f"{left:,} or more"
        pace = f"   {60 / max(0.1, median(self.seconds[-_RECENT:])):.1f} a minute" if self.seconds else ""
        return f"{self.desk.reviewer}   {count} left   {len(self.seconds)} answered{pace}"

    def _hint(self, text: str) -> None:
        self._form = replace(self._form, hint=text)

    def _renew(self) -> None:
        """Any key shows that somebody is there."""
        now_s = self.now_s()
        if self._task is not None and now_s - self._renewed_s > self.desk.lease_s / 4:
            self.desk.renew(self._task)
            self._renewed_s = now_s
