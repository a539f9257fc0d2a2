"""Whether all prompts are as they were taken in, and what of them is in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moderation.domain.lesson import unpack
from moderation.domain.prompt import PromptId, PromptRecord, PromptState, prompt_id_of
from moderation.errors import ConfigurationError, PromptMismatch
from moderation.flows.registry.prompt import contents
from moderation.storage.registry.prompts import Prompts
from moderation.storage.registry.states import PromptStates

if TYPE_CHECKING:
    from moderation.detector.measures import Measured

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


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in use on one backbone, and which of all prompts are damaged or were refused by the gate.

    good: the backbone's others that could be activated, the newest first. way_back: where a rollback could go.
    """

    backbone: str
    prompts: int
    active: PromptRecord | None
    shadow: PromptRecord | None
    damaged: tuple[PromptRecord, ...]
    refused: tuple[PromptRecord, ...]
    good: tuple[PromptRecord, ...]
    way_back: PromptId | None


def survey(prompts: Prompts, states: PromptStates, backbone: str) -> Survey:
    """How the registry stands, without a look at any numbers."""
    records = prompts.list()
    damaged = tuple(record for record in records if _is_damaged(prompts, record))
    ours = [record for record in records if record.backbone == backbone and record not in damaged]
    whole = {record.prompt_id for record in ours}
    gates = {record.prompt_id: states.gate(record.prompt_id) for record in records}
    refused = tuple(each for each in records if (gate := gates[each.prompt_id]) is not None and not gate.passed)
    in_use = prompts.in_use(backbone)
    return Survey(
        backbone=backbone,
        prompts=len(records),
        active=in_use.active,
        shadow=in_use.shadow,
        damaged=damaged,
        refused=refused,
        good=tuple(each for each in ours if each.state is not PromptState.ACTIVE and each not in refused),
        way_back=next((each for each in states.earlier(backbone) if each in whole), None),
    )


def verify(prompts: Prompts, configured: str, measure: Callable[[], Measured] | None) -> Verified:
    """Looks at every prompt: bytes, header, numbers, manifest; whether those in use fit the configured backbone.

    measure: as in `registry.check_usable`.
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
        lessons = _lessons(prompts, record.prompt_id)
    except ValueError as error:
        problems.append(f"its manifest can't be read: {error}")
    return Checked(record, tuple(problems), tuple(notes), lessons)


def _lessons(prompts: Prompts, prompt_id: PromptId) -> int | None:
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


def _is_damaged(prompts: Prompts, record: PromptRecord) -> bool:
    try:
        contents(prompts.blob(record.prompt_id))
    except ConfigurationError:
        return True
    return False
