"""The stack of active prompts: where a rollback goes."""

from __future__ import annotations

import pytest

from moderation.domain.prompt import PromptId
from moderation.domain.prompt_stack import ACTIVATED, ROLLED_BACK, Turn, stack


def turns(text: str) -> list[Turn]:
    """'A B <A': A activated, B activated, rolled back to A."""
    found: list[Turn] = []
    for word in text.split():
        before = found[-1].prompt if found else None
        found.append(Turn(ROLLED_BACK if word[0] == "<" else ACTIVATED, PromptId(word.lstrip("<")), before))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("A", "A"),
        ("A B C", "ABC"),
        ("A B C <B", "AB"),  # C was taken off for good
        ("A B C <B <A", "A"),  # a second rollback goes further back, not to C
        ("A B C <A", "A"),
        ("A B <A C", "AC"),
        ("A B <A B", "AB"),  # somebody chose it again
        ("A B A", "ABA"),
        ("A B A <B", "AB"),
    ],
)
def test_a_rollback_goes_back_along_the_activations(text: str, expected: str) -> None:
    told = turns(text)
    assert "".join(stack(told, told[-1].prompt if told else None)) == expected


def test_a_trail_with_gaps_gives_what_it_can() -> None:
    lone = [Turn(ACTIVATED, PromptId("B"), PromptId("A"))]  # how A became active was never told
    assert stack(lone, PromptId("B")) == ["A", "B"]
    assert stack(turns("A B C"), PromptId("B")) == ["A", "B"]
    assert stack(turns("A B"), PromptId("X")) == ["A", "B", "X"]
    assert stack(turns("A B"), None) == ["A", "B"]
