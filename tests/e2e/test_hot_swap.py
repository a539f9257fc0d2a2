"""Prompts swapped under load: a real worker takes each new active prompt at its next batch, and never in the middle."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from moderation.detector import Calibration, SoftPrompt
from moderation.domain.prompt import PromptId
from moderation.domain.prompt_stack import ACTIVATED, ROLLED_BACK
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Verdict
from moderation.flows.registry.prompt import register
from moderation.miniature import WORD_FILE
from moderation.storage.database import Database
from moderation.storage.events import By, Events
from moderation.storage.registry.states import PromptStates
from moderation.storage.side_by_side import SideBySide
from tests.command import ok
from tests.e2e.conftest import BATCH_SIZE, Stack, picture
from tests.e2e.process import Worker
from tests.waiting import wait_until

IMAGES = 2_000
FILES = 20  # the images are links to so many pictures
SWAPS = 20
BY = By("ann", "under load")


@dataclass(frozen=True)
class Span:
    """From when to when a prompt was surely or possibly active, on the database's clock."""

    prompt_id: PromptId
    since: datetime
    until: datetime | None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # where many write at once; once is slow enough
def test_every_verdict_is_of_the_prompt_that_was_active_when_it_was_made(new_stack: Stack) -> None:
    stack = new_stack
    first, second = _two_prompts(stack)
    names = _many(stack)
    stack.prompts.activate(first, by=BY)
    settled = [_now(stack.database)]
    with stack.worker() as worker:
        worker.wait_ready()
        stack.app.submit_many(names)
        for swap in range(SWAPS):
            _wait_for(stack, IMAGES * (swap + 1) // (SWAPS + 2))
            _swap(stack, second, back=bool(swap % 2))
            settled.append(_now(stack.database))
        _wait_for(stack, IMAGES)
        wait_until(lambda: sum(batch["images"] for batch in worker.batches()) >= IMAGES, "the log tells of all")
        batches = worker.batches()

    stack.check_home("many", IMAGES)
    verdicts = stack.verdicts.list(limit=None)
    assert {verdict.prompt_id for verdict in verdicts} == {first, second}
    spans = _spans(stack, settled)
    assert [span.prompt_id for span in spans] == [first, second] * (SWAPS // 2) + [first]
    strays = [verdict for verdict in verdicts if not any(_fits(verdict, span) for span in spans)]
    assert strays == []
    # It is that prompt's own calibration, not only its name, that made the probability.
    curves = {prompt_id: _calibration(stack, prompt_id) for prompt_id in (first, second)}
    for verdict in verdicts:
        expected = curves[PromptId(verdict.prompt_id)].probability(verdict.margin, verdict.source)
        assert verdict.probability == pytest.approx(expected, abs=1e-9)
    _check_batches(verdicts, len(batches))


def test_a_shadow_looks_at_what_a_worker_scores_and_its_end_is_noticed(
    stack: Stack, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = _two_prompts(stack)
    decides = stack.prompts.active("miniature")
    assert decides is not None
    states = PromptStates(stack.database)
    names = stack.pictures("beside", 24)
    states.set_shadow(second, by=BY)
    stack.app.submit_many(names[:16])
    stack.wait_for("beside", 16)
    states.end_shadow("miniature", by=BY)
    stack.app.submit_many(names[16:])
    stack.wait_for("beside", 24)
    stack.check_home("beside", 24)
    seen = {name: stack.app.verdict(name) for name in names}
    assert all(verdict and verdict.prompt_id == decides.prompt_id for verdict in seen.values())
    pairs = SideBySide(stack.database).pairs(decides.prompt_id, second)
    assert sorted(pair.image_id for pair in pairs) == names[:16]
    assert {pair.image_id: pair.first for pair in pairs} == {
        ImageId(name): verdict.probability for name, verdict in seen.items() if verdict and name in names[:16]
    }
    assert any(pair.first != pair.second for pair in pairs)
    monkeypatch.setenv("MODERATION_DATABASE_URL", stack.database.url.render_as_string(hide_password=False))
    told = ok("prompt", "compare", decides.prompt_id, second, "--json").json()
    assert told["images"] == told["alike"]["total"] == 16


def _two_prompts(stack: Stack) -> tuple[PromptId, PromptId]:
    """The shipped pseudo-word (without its slow pixel expert), and the same with another calibration."""
    word = SoftPrompt.load(WORD_FILE)
    shifted = replace(word, calibration=replace(word.calibration, bias=word.calibration.bias + 1.0))
    first, second = (
        register(stack.prompts, prompt.to_bytes(), name=name) for prompt, name in ((word, "first"), (shifted, "second"))
    )
    return first.prompt_id, second.prompt_id


def _many(stack: Stack) -> list[str]:
    files = [stack.put(f"file/{number}.jpg", picture(number)) for number in range(FILES)]
    root = stack.folder / "pictures"
    (root / "many").mkdir()
    names = [f"many/{number:04}.jpg" for number in range(IMAGES)]
    for number, name in enumerate(names):
        os.link(root / files[number % FILES], root / name)
    return names


def _wait_for(stack: Stack, count: int) -> None:
    """Until so many images are done. Counted, not listed: whoever looks on is not to slow the worker down."""
    wait_until(lambda: stack.submissions.counts()["done"] >= count, f"{count} images are done")


def _swap(stack: Stack, second: PromptId, *, back: bool) -> None:
    states = PromptStates(stack.database)
    if back:
        states.roll_back("miniature", by=BY)
    else:
        states.activate(second, by=BY)


def _now(database: Database) -> datetime:
    with database.read() as session:
        return database.now(session)


def _spans(stack: Stack, settled: Sequence[datetime]) -> list[Span]:
    """When each prompt may have been read as the active one.

    An activation's event is written before its transaction commits, and `settled` was read after: a batch may see the
    old prompt until then, and the new one from the event on.
    """
    events = [
        event
        for kind in (ACTIVATED, ROLLED_BACK)
        for event in Events(stack.database).list(kind=kind, limit=None)
        if event.actor == BY.actor
    ]
    events.sort(key=lambda event: event.seq)
    assert len(events) == len(settled) == SWAPS + 1
    ends: list[datetime | None] = [*settled[1:], None]
    return [
        Span(PromptId(event.payload["prompt"]), event.created_at, end) for event, end in zip(events, ends, strict=True)
    ]


def _fits(verdict: Verdict, span: Span) -> bool:
    at = verdict.scored_at
    assert at is not None
    return verdict.prompt_id == span.prompt_id and span.since <= at and (span.until is None or at <= span.until)


def _calibration(stack: Stack, prompt_id: PromptId) -> Calibration:
    return SoftPrompt.from_bytes(stack.prompts.blob(prompt_id)).calibration


def _check_batches(verdicts: Sequence[Verdict], batches: int) -> None:
    """Each batch read its prompt once, and none mixes two."""
    together: dict[datetime | None, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        together[verdict.scored_at].append(verdict)
    assert len(together) == batches
    for batch in together.values():
        assert len(batch) <= BATCH_SIZE
        assert len({verdict.prompt_id for verdict in batch}) == 1
        assert len({verdict.created_at for verdict in batch}) == 1
