"""The registry of prompts: may one be used here, what was its life, and are all as they were taken in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moderation.domain.lesson import unpack
from moderation.domain.prompt import PromptId, PromptRecord, PromptState, prompt_id_of
from moderation.domain.prompt_stack import ACTIVATED, REGISTERED, ROLLED_BACK, SHADOWED, UNSHADOWED
from moderation.errors import ConfigurationError, PromptMismatch
from moderation.flows.prompt import contents
from moderation.storage.prompts import Prompts

if TYPE_CHECKING:
    from moderation.detector.measures import Measured
    from moderation.domain.audit import Event
    from moderation.storage.events import Events

_KINDS = (REGISTERED, ACTIVATED, ROLLED_BACK, SHADOWED, UNSHADOWED)
_SOLE = (PromptState.ACTIVE, PromptState.SHADOW)


@dataclass(frozen=True, slots=True)
class Checked:
    """A registered prompt, looked at. problems: damage. notes: what is worth knowing and no damage.

    lessons: how many its manifest lists; None where it has none, or one that can't be read.
    """

    record: PromptRecord
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    lessons: int | None

    @property
    def good(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class Verified:
    """All prompts, and what is wrong with the registry as a whole."""

    prompts: tuple[Checked, ...]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.problems and all(each.good for each in self.prompts)


def check_backbone(prompt_id: PromptId, backbone: str, configured: str) -> None:
    """Raises ConfigurationError for a prompt of another backbone than the configured one."""
    if backbone != configured:
        raise ConfigurationError(
            f"prompt {prompt_id}",
            f"it is for the backbone {backbone}; MODERATION_BACKBONE is {configured}",
            hint=f"choose one for {configured} (modctl prompt list), or set MODERATION_BACKBONE={backbone}",
        )


def check_usable(
    prompts: Prompts, record: PromptRecord, configured: str, measure: Callable[[], Measured] | None
) -> None:
    """Raises ConfigurationError where a worker on the configured backbone could not use this prompt.

    measure: gives that backbone's measures; None: its numbers are not looked at, which takes torch.
    """
    check_backbone(record.prompt_id, record.backbone, configured)
    blob = prompts.blob(record.prompt_id)
    contents(blob)
    if measure is None:
        return
    from moderation.detector import SoftPrompt

    try:
        SoftPrompt.from_bytes(blob, sha256=record.sha256).check_fits(measure())
    except PromptMismatch as error:
        problem = f"it does not fit: {error.problem}"
        raise ConfigurationError(f"prompt {record.prompt_id}", problem, hint=error.hint) from None


def history(events: Events, prompt_id: PromptId) -> list[Event]:
    """What happened to a prompt, the oldest first: also where another took its place."""
    found = (event for kind in _KINDS for event in events.list(kind=kind, limit=None))
    ours = [event for event in found if prompt_id in (event.payload.get("prompt"), event.payload.get("before"))]
    return sorted(ours, key=lambda event: event.seq)


def ancestry(records: Iterable[PromptRecord], parent: PromptId | None) -> list[PromptId]:
    """The parent, its parent and so on; it ends where one is not registered."""
    parents = {record.prompt_id: record.parent for record in records}
    chain: list[PromptId] = []
    while parent is not None and parent not in chain:
        chain.append(parent)
        parent = parents.get(parent)
    return chain


def verify(prompts: Prompts, configured: str, measure: Callable[[], Measured] | None) -> Verified:
    """Looks at every prompt: bytes, header, numbers, manifest; whether those in use fit the configured backbone.

    measure: as in `check_usable`.
    """
    records = prompts.list()
    measured = measure() if measure is not None and any(each.backbone == configured for each in records) else None
    checked = [_checked(prompts, record, measured, numbers=measure is not None) for record in records]
    counts = Counter((record.backbone, record.state) for record in records if record.state in _SOLE)
    several = [
        f"{number} prompts are {state} on {backbone}" for (backbone, state), number in counts.items() if number > 1
    ]
    return Verified(tuple(checked), tuple(several))


def _checked(prompts: Prompts, record: PromptRecord, measured: Measured | None, *, numbers: bool) -> Checked:
    problems: list[str] = []
    notes: list[str] = []
    try:
        blob = prompts.blob(record.prompt_id)
        if contents(blob).backbone != record.backbone:
            problems.append(f"its bytes are for {contents(blob).backbone}, its row says {record.backbone}")
        if numbers:
            misfit = _misfit(blob, measured if measured is not None and measured.name == record.backbone else None)
            (problems if record.state in _SOLE else notes).extend([misfit] if misfit else [])
    except ConfigurationError as error:
        problems.append(error.problem)
    if prompt_id_of(record.sha256) != record.prompt_id:
        problems.append("its id is not the head of its sha256")
    lessons = None
    try:
        lessons = lessons_of(prompts, record.prompt_id)
    except ValueError as error:
        problems.append(f"its manifest can't be read: {error}")
    return Checked(record, tuple(problems), tuple(notes), lessons)


def lessons_of(prompts: Prompts, prompt_id: PromptId) -> int | None:
    """How many lessons the prompt's manifest lists; None where it has none. Raises ValueError."""
    manifest = prompts.manifest(prompt_id)
    return None if manifest is None else len(unpack(manifest))


def _misfit(blob: bytes, measured: Measured | None) -> str:
    """Why this prompt does not fit, '' where it does. Raises ConfigurationError where it can't be read."""
    from moderation.detector import SoftPrompt

    prompt = SoftPrompt.from_bytes(blob)
    try:
        if measured is not None:
            prompt.check_fits(measured)
    except PromptMismatch as error:
        return f"does not fit {measured.name if measured else ''}: {error.problem}"
    return ""
