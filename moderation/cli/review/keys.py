"""What a key means while a picture is on the screen: a small machine without a terminal, a clock or a database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from moderation.domain.review import MAX_NOTE_CHARS, Answer, Evidence

ENTER = ("\r", "\n")
ERASE = ("\x7f", "\b")
ESCAPE, ERASE_ALL, END = "\x1b", "\x15", "\x04"  # \x04: Ctrl-D

ANSWERS = {"r": Answer.REAL, "f": Answer.FAKE, "u": Answer.UNSURE}
EVIDENCE = {str(at): each for at, each in enumerate(Evidence, 1)}
HELP = (
    "r  real       f  fake       u  unsure",
    "s  skip: left to others, and not shown to you again",
    "e  escalate: to a senior, with a reason",
    "b  back: take your last answer back",
    "z  zoom: the full picture in the system's viewer",
    f"1 to {len(EVIDENCE)}  what the answer rests on; v lists it",
    "n  note: goes with the answer",
    "q  quit: the picture goes back to the others (Ctrl-C too)",
)


class Mode(Enum):
    """What is on the screen."""

    LOOKING = auto()  # a picture
    NOTE = auto()  # a picture, and a note is being written
    REASON = auto()  # a picture, and the reason of an escalation is being written
    HELP = auto()
    NOTHING = auto()  # nothing is left to review


class Do(Enum):
    """What a key asks the program for."""

    ANSWER = auto()
    SKIP = auto()
    ESCALATE = auto()
    ZOOM = auto()
    BACK = auto()
    LOOK = auto()  # for new tasks
    QUIT = auto()


PLAIN = {"s": Do.SKIP, "z": Do.ZOOM, "b": Do.BACK, "q": Do.QUIT}


@dataclass(frozen=True, slots=True)
class Action:
    """`answer` is set for an answer, `reason` for an escalation."""

    do: Do
    answer: Answer | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """What has been entered about the picture so far. `typed` is the line being written."""

    mode: Mode = Mode.LOOKING
    typed: str = ""
    note: str = ""
    evidence: tuple[Evidence, ...] = ()
    lists_evidence: bool = False
    hint: str = ""


def press(form: Form, key: str) -> tuple[Form, Action | None]:
    """The form after one key, and what is to be done now, if anything. `key` is one character."""
    form = replace(form, hint="")
    if key == END:
        return form, Action(Do.QUIT)
    match form.mode:
        case Mode.NOTE | Mode.REASON:
            return _write(form, key)
        case Mode.HELP:
            return replace(form, mode=Mode.LOOKING), None
        case Mode.NOTHING:
            return form, Action({"b": Do.BACK, "q": Do.QUIT}.get(key.lower(), Do.LOOK))
        case Mode.LOOKING:
            return _look(form, key.lower())


def _look(form: Form, key: str) -> tuple[Form, Action | None]:
    if key in ANSWERS:
        return form, Action(Do.ANSWER, ANSWERS[key])
    if key in PLAIN:
        return form, Action(PLAIN[key])
    return _edit(form, key), None


def _edit(form: Form, key: str) -> Form:
    if key in EVIDENCE:
        return replace(form, evidence=_toggled(form.evidence, EVIDENCE[key]))
    match key:
        case "e":
            return replace(form, mode=Mode.REASON, typed="")
        case "n":
            return replace(form, mode=Mode.NOTE, typed=form.note)
        case "v":
            return replace(form, lists_evidence=not form.lists_evidence)
        case "?":
            return replace(form, mode=Mode.HELP)
    return replace(form, hint=f"{key} is no key here; ? shows them") if key.isprintable() else form


def _write(form: Form, key: str) -> tuple[Form, Action | None]:
    if key in ENTER:
        return _written(form)
    if key == ESCAPE:
        return replace(form, mode=Mode.LOOKING, typed=""), None
    if key in ERASE:
        return replace(form, typed=form.typed[:-1]), None
    if key == ERASE_ALL:
        return replace(form, typed=""), None
    if len(form.typed) >= MAX_NOTE_CHARS:
        return replace(form, hint=f"no more than {MAX_NOTE_CHARS} characters"), None
    return replace(form, typed=form.typed + key if key.isprintable() else form.typed), None


def _written(form: Form) -> tuple[Form, Action | None]:
    text = form.typed.strip()
    if form.mode is Mode.NOTE:
        return replace(form, mode=Mode.LOOKING, note=text, typed=""), None
    if not text:
        return replace(form, hint="a senior needs a reason; Esc drops it"), None
    return replace(form, mode=Mode.LOOKING, typed=""), Action(Do.ESCALATE, reason=text)


def _toggled(chosen: tuple[Evidence, ...], one: Evidence) -> tuple[Evidence, ...]:
    """In the order of the list, whatever the order of the keys."""
    return tuple(each for each in Evidence if (each in chosen) is not (each is one))
