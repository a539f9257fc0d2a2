"""Every error this package raises on purpose: transient, permanent for one image, or configuration.

They carry data, so that callers decide by attribute and never by message. `str(error)` is written for the person
who has to act: it names the thing and the way out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any


class ModerationError(Exception):
    """Base of all errors of this package. `exit_code` is what a command that ends with it returns."""

    exit_code = 1


class ConfigurationError(ModerationError):
    """A setting, file or installation is wrong: nothing will work until a person mends it.

    `setting` names what to change (an environment variable, an option or a file).
    """

    exit_code = 2

    def __init__(self, setting: str, problem: str, *, hint: str = "") -> None:
        self.setting = setting
        self.problem = problem
        self.hint = hint
        super().__init__(f"{setting}: {problem}" + (f"\n  {hint}" if hint else ""))


class SchemaMismatch(ConfigurationError):
    """The database's schema is missing, older or newer than this code."""

    def __init__(self, found: str | None, expected: str, problem: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__("database schema", problem)


class ServiceDown(ModerationError):
    """A service (SQL, broker, image source) does not answer now. Trying again later can help."""

    exit_code = 3

    def __init__(self, service: str, problem: str, *, hint: str = "") -> None:
        self.service = service
        self.problem = problem
        self.hint = hint
        super().__init__(f"{service} does not answer: {problem}" + (f"\n  {hint}" if hint else ""))


class RejectReason(StrEnum):
    """Why an image can never be scored. Stored with the submission, shown to operators."""

    NOT_FOUND = "not found"
    NOT_AN_IMAGE = "not an image"
    UNSUPPORTED = "unsupported format"
    TRUNCATED = "truncated"
    TOO_MANY_BYTES = "too many bytes"
    TOO_MANY_PIXELS = "too many pixels"
    TOO_SMALL = "too small"
    FORBIDDEN = "forbidden"
    BAD_ID = "bad image id"
    OUT_OF_MEMORY = "out of device memory"
    NOT_A_NUMBER = "score is not a number"
    CRASHED = "crashed the worker"
    GAVE_UP = "gave up"


class ImageRejected(ModerationError):
    """This image can never be scored as it is. Permanent: recorded, never retried by itself."""

    def __init__(self, reason: RejectReason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else str(reason))


class ImageUnavailable(ModerationError):
    """This image can't be had now (source down, timeout). Transient: tried again with backoff."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class UnknownImage(ModerationError, KeyError):
    """Nobody submitted this image."""

    def __init__(self, image_id: str) -> None:
        self.image_id = image_id
        super().__init__(image_id)

    def __str__(self) -> str:
        return f"{self.image_id}: never submitted"


class ImageFailed(ModerationError):
    """The verdict asked for will not come: the image was tried and refused. Submit again with `force` to retry."""

    def __init__(self, image_id: str, reason: str, detail: str) -> None:
        self.image_id = image_id
        self.reason = reason
        self.detail = detail
        super().__init__(f"{image_id}: {reason}" + (f" ({detail})" if detail else ""))


class NotYetScored(ModerationError, TimeoutError):
    """`wait` ran out of time; the image is still on its way."""

    def __init__(self, image_id: str, timeout_s: float) -> None:
        self.image_id = image_id
        self.timeout_s = timeout_s
        super().__init__(f"{image_id}: no verdict within {timeout_s:g} s; it stays queued")


class PromptMismatch(ConfigurationError):
    """A prompt does not fit the backbone it was to be used with (name, revision or vector sizes)."""

    def __init__(self, problem: str) -> None:
        hint = "use one that was tuned on it (modctl prompt import FILE --activate), or correct MODERATION_BACKBONE"
        super().__init__("prompt", problem, hint=hint)


class PromptRefused(ModerationError):
    """The gate refused this candidate, so it is not activated unless somebody takes that upon himself.

    what: names the prompt that was refused, where it was another with the same vectors.
    """

    exit_code = 4

    def __init__(self, prompt_id: str, run_id: int, reasons: Sequence[str], what: str = "it") -> None:
        self.prompt_id = prompt_id
        self.run_id = run_id
        self.reasons = tuple(reasons)
        why = f": {'; '.join(reasons)}" if reasons else ""
        hint = f"to activate it all the same: modctl prompt activate {prompt_id} --force --reason WHY"
        super().__init__(f"prompt {prompt_id}: the gate of training run {run_id} refused {what}{why}\n  {hint}")


class NotEnoughLabels(ModerationError):
    """Too little is known to learn from, or to judge by what was learned. `missing` says what, a sentence each."""

    exit_code = 4

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = tuple(missing)
        super().__init__("too little to retrain on\n" + "\n".join(f"  {line}" for line in self.missing))


class PromptChanged(ModerationError):
    """While somebody was asked, another prompt took the place of the one that was shown. Nothing was changed."""

    def __init__(self, shown: str | None, found: str | None, what: str) -> None:
        self.shown = shown
        self.found = found
        super().__init__(
            f"meanwhile {found or 'no prompt'} is {what}, no longer {shown or 'none'}; nothing was changed\n"
            "  look again: modctl prompt list"
        )


class LeaseLost(ModerationError):
    """The task is no longer this reviewer's: the lease ran out and somebody else took it, or it was answered."""

    def __init__(self, task_id: int, image_id: str) -> None:
        self.task_id = task_id
        self.image_id = image_id
        super().__init__(f"{image_id}: this task is no longer yours, so nothing was stored; take the next one")


class NothingToUndo(ModerationError):
    """There is no answer of this reviewer that could be taken back."""

    def __init__(self, reviewer: str, problem: str) -> None:
        self.reviewer = reviewer
        super().__init__(f"{reviewer}: {problem}")


class NoTask(ModerationError):
    """There is no review task of this image that this reviewer could take."""

    def __init__(self, image_id: str, problem: str) -> None:
        self.image_id = image_id
        self.problem = problem
        super().__init__(f"{image_id}: {problem}")


class CanaryFailed(ConfigurationError):
    """This worker's answers to the canary pictures are not the known ones, so it must not score.

    `problem` says which picture was what and is what; `data` the same for the record. The exit code is the worker's
    own, so that whatever supervises it can tell.
    """

    exit_code = 71

    def __init__(self, problem: str, *, prompt_id: str = "", data: Mapping[str, Any] | None = None) -> None:
        self.data = dict(data or {})
        hint = (
            "its device, its preprocessing (MODERATION_EXIF_ORIENTATION) or its packages (torch, Pillow) differ from\n"
            "  those that answered first; until that is mended it takes no work. Where that was changed on purpose,\n"
            "  everywhere, drop the old answers of all prompts: modctl canary forget"
        )
        if prompt_id:
            hint += (
                "\n  Where this prompt's alone were recorded by a broken machine: "
                f"modctl canary forget --prompt {prompt_id}"
            )
        super().__init__("canary", problem, hint=hint)
