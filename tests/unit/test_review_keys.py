"""Single keys while a picture is on the screen."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from moderation.cli.review.facts import span
from moderation.cli.review.keys import HELP, Action, Do, Form, Mode, press
from moderation.cli.review.picture import viewer
from moderation.cli.review.screen import clean
from moderation.domain.review import MAX_NOTE_CHARS, Answer, Evidence


def typed(keys: Iterable[str], form: Form | None = None) -> tuple[Form, list[Action]]:
    form, done = form or Form(), []
    for key in keys:
        form, action = press(form, key)
        if action is not None:
            done.append(action)
    return form, done


@pytest.mark.parametrize(
    ("key", "action"),
    [
        ("r", Action(Do.ANSWER, Answer.REAL)),
        ("f", Action(Do.ANSWER, Answer.FAKE)),
        ("u", Action(Do.ANSWER, Answer.UNSURE)),
        ("s", Action(Do.SKIP)),
        ("z", Action(Do.ZOOM)),
        ("b", Action(Do.BACK)),
        ("q", Action(Do.QUIT)),
        ("\x04", Action(Do.QUIT)),
    ],
)
def test_one_key_is_enough(key: str, action: Action) -> None:
    assert typed(key)[1] == [action]
    assert typed(key.upper())[1] == [action]  # with caps lock on
    assert action.do is Do.QUIT or any(key in line for line in HELP)


def test_an_escalation_wants_a_reason() -> None:
    form, done = typed("e\r")
    assert (form.mode, done) == (Mode.REASON, [])
    assert "reason" in form.hint
    form, done = typed("a quiz\x7f?\r", form)
    assert (form.mode, done) == (Mode.LOOKING, [Action(Do.ESCALATE, reason="a qui?")])


def test_escape_drops_what_was_being_written() -> None:
    form, done = typed("eabc\x1b")
    assert (form, done) == (Form(), [])
    form, _ = typed("nkept\r")
    assert typed("nother\x1b", form)[0].note == "kept"


def test_letters_of_a_note_are_no_answers() -> None:
    form, done = typed("nfur q?é中\x15real\r")
    assert (form.note, done) == ("real", [])
    form, _ = typed("n", form)
    assert form.typed == "real"  # to be mended, not written anew


def test_a_note_has_an_end() -> None:
    form, _ = typed("n" + "x" * (MAX_NOTE_CHARS + 5))
    assert len(form.typed) == MAX_NOTE_CHARS
    assert str(MAX_NOTE_CHARS) in form.hint


def test_what_would_steer_the_terminal_is_not_written() -> None:
    assert typed("na\x00\x1f\tb\r")[0].note == "ab"


def test_digits_toggle_evidence_in_a_fixed_order() -> None:
    form, done = typed("521")
    assert (form.evidence, done) == ((Evidence.HANDS, Evidence.TEXT, Evidence.SOURCE_KNOWN), [])
    assert typed("2", form)[0].evidence == (Evidence.HANDS, Evidence.SOURCE_KNOWN)
    assert typed("v")[0].lists_evidence
    assert not typed("vv")[0].lists_evidence


def test_help_goes_away_with_any_key_which_does_nothing_else() -> None:
    form, done = typed("?f")
    assert (form, done) == (Form(), [])


def test_an_unknown_key_is_named_until_the_next_one() -> None:
    form, done = typed("x")
    assert (form.hint, done) == ("x is no key here; ? shows them", [])
    assert typed("v", form)[0].hint == ""
    assert typed("\r\x1b\x01")[0] == Form()


def test_where_nothing_is_left_one_may_go_back_quit_or_look_again() -> None:
    assert [action.do for action in typed("bqf\r", Form(Mode.NOTHING))[1]] == [Do.BACK, Do.QUIT, Do.LOOK, Do.LOOK]


def test_the_viewer_is_the_systems_and_needs_a_screen() -> None:
    def found(name: str) -> str:
        return f"/bin/{name}"

    assert viewer("darwin", {}, found) == "/bin/open"
    assert viewer("linux", {"DISPLAY": ":0"}, found) == "/bin/xdg-open"
    assert viewer("linux", {"WAYLAND_DISPLAY": "wayland-0"}, found) == "/bin/xdg-open"
    assert viewer("linux", {}, found) is None
    assert viewer("linux", {"DISPLAY": ":0"}, lambda _: None) is None


def test_what_others_wrote_can_not_steer_the_terminal() -> None:
    assert clean("a\x1b[2J\rb\N{RIGHT-TO-LEFT OVERRIDE}é中") == "a�[2J�b�é中"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-3, "0 s"), (89, "89 s"), (90, "1 min"), (5400, "1 h"), (2 * 86400, "2 days")]
)
def test_ages_are_told_in_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert span(seconds) == shown
