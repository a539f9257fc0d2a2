"""Errors carry data, and say what to do."""

from __future__ import annotations

import pytest

from moderation.errors import (
    ConfigurationError,
    ImageFailed,
    ImageRejected,
    ImageUnavailable,
    ModerationError,
    NotYetScored,
    PromptMismatch,
    RejectReason,
    SchemaMismatch,
    ServiceDown,
    UnknownImage,
)

EVERY = [
    (ConfigurationError("MODERATION_X", "is wrong", hint="try this"), "MODERATION_X: is wrong\n  try this", 2),
    (SchemaMismatch("0001", "0002", "is old"), "database schema: is old", 2),
    (
        PromptMismatch("does not fit"),
        "prompt: does not fit\n  use one that was tuned on it (modctl prompt import FILE --activate), "
        "or correct MODERATION_BACKBONE",
        2,
    ),
    (ServiceDown("the broker", "refused", hint="start it"), "the broker does not answer: refused\n  start it", 3),
    (ImageRejected(RejectReason.TRUNCATED, "at byte 7"), "truncated: at byte 7", 1),
    (ImageRejected(RejectReason.NOT_FOUND), "not found", 1),
    (ImageUnavailable("timed out"), "timed out", 1),
    (UnknownImage("a.jpg"), "a.jpg: never submitted", 1),
    (ImageFailed("a.jpg", "truncated", "at byte 7"), "a.jpg: truncated (at byte 7)", 1),
    (ImageFailed("a.jpg", "truncated", ""), "a.jpg: truncated", 1),
    (NotYetScored("a.jpg", 1.5), "a.jpg: no verdict within 1.5 s; it stays queued", 1),
]


@pytest.mark.parametrize(("error", "message", "exit_code"), EVERY)
def test_messages_and_exit_codes(error: ModerationError, message: str, exit_code: int) -> None:
    assert (str(error), error.exit_code) == (message, exit_code)


def test_what_callers_of_other_libraries_expect() -> None:
    with pytest.raises(KeyError):
        raise UnknownImage("a")
    with pytest.raises(TimeoutError):
        raise NotYetScored("a", 1)


def test_reasons_fit_their_column() -> None:
    from moderation.storage.tables import SubmissionRow

    assert max(map(len, RejectReason)) <= SubmissionRow.__table__.c.reason.type.length  # type: ignore[attr-defined]
