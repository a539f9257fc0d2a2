"""What tells two prompts apart: their headers, their vectors, what they make of a margin, where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from moderation.detector.numbers import Likeness, equal_experts, likeness, numbers_of
from moderation.domain.prompt import PromptId, PromptRecord, prompt_id_of
from moderation.flows.registry.prompt import PromptContents, calibration_of, contents, known_parent
from moderation.flows.registry.states import ancestry
from moderation.storage.registry.prompts import Prompts

MARGINS = (-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0)
_SIDES = ("qformer", "llm")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: `prompt_id` is what its bytes make it, registered or not. parent: registered, else None."""

    prompt_id: PromptId
    blob: bytes
    parent: PromptId | None


@dataclass(frozen=True, slots=True)
class Difference:
    """fields: what their headers say differently. vectors: by side. probabilities: margin, P(fake) of each.

    lineages: each with its ancestors, nearest first. common: the nearest that both come from, or one of them.
    """

    prompts: tuple[PromptId, PromptId]
    holds: tuple[PromptContents, PromptContents]
    fields: dict[str, tuple[Any, Any]]
    vectors: dict[str, Likeness]
    expert_equal: bool
    probabilities: list[tuple[float, float, float]]
    lineages: tuple[list[PromptId], list[PromptId]]
    common: PromptId | None


def diff(first: Side, second: Side, records: Sequence[PromptRecord]) -> Difference:
    """records: all that are registered. Raises ConfigurationError for bytes that are no prompt file."""
    holds = (contents(first.blob), contents(second.blob))
    numbers = (numbers_of(first.blob), numbers_of(second.blob))
    curves = (calibration_of(first.blob), calibration_of(second.blob))
    told = (_fields(holds[0]), _fields(holds[1]))
    lineages = (
        [first.prompt_id, *ancestry(records, first.parent)],
        [second.prompt_id, *ancestry(records, second.parent)],
    )
    likenesses = {side: likeness(*numbers, side) for side in _SIDES}
    return Difference(
        prompts=(first.prompt_id, second.prompt_id),
        holds=holds,
        fields={
            name: (told[0].get(name), told[1].get(name))
            for name in dict.fromkeys((*told[0], *told[1]))
            if told[0].get(name) != told[1].get(name)
        },
        vectors={side: found for side, found in likenesses.items() if found is not None},
        expert_equal=equal_experts(*numbers),
        probabilities=[(margin, curves[0].probability(margin), curves[1].probability(margin)) for margin in MARGINS],
        lineages=lineages,
        common=next((each for each in lineages[0] if each in lineages[1]), None),
    )


def _fields(holds: PromptContents) -> dict[str, Any]:
    """Everything in the header by name; what a setting or the metadata holds, by its path."""
    return dict(_flat(asdict(holds), ""))


def _flat(values: dict[str, Any], above: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{above}{name}.") if isinstance(value, dict) and value else [(f"{above}{name}", value)]
    return found


def side_of(prompts: Prompts, record: PromptRecord) -> Side:
    """A registered prompt. Raises ConfigurationError for damaged bytes."""
    return Side(record.prompt_id, prompts.blob(record.prompt_id), record.parent)


def side_of_file(prompts: Prompts, blob: bytes) -> Side:
    """The prompt file of these bytes. Raises ConfigurationError when they are no prompt file."""
    return Side(prompt_id_of(hashlib.sha256(blob).hexdigest()), blob, known_parent(prompts, contents(blob).metadata))
