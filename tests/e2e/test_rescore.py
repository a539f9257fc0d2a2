"""Stored images are scored again by real workers: one is killed, the next goes on, and scans go first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import select

from moderation.domain.rescore import RescoreRun, RescoreScope, RescoreState
from moderation.flows.registry.prompt import register
from moderation.flows.rescoring.rescore import Comparer, apply, begin
from moderation.queue.app import BACKFILL_QUEUE, SCAN_QUEUES, create_app
from moderation.queue.bell import Bell
from moderation.settings import load_settings
from moderation.storage.events import SYSTEM
from moderation.storage.policies import Policies
from moderation.storage.rescoring.apply import Applying
from moderation.storage.rescoring.difference import Rescoring
from moderation.storage.rescoring.runs import Rescores
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.tables import VerdictRow
from tests.e2e.conftest import Stack
from tests.waiting import wait_until

RATE = 15.0
ALL_BUT_TRAINING = ",".join((*SCAN_QUEUES, BACKFILL_QUEUE))


def activate_twin(stack: Stack, note: str) -> str:
    """A prompt that says what the shipped one says, under another id."""
    from moderation.detector import SoftPrompt
    from moderation.miniature import PROMPT_FILE

    twin = register(stack.prompts, replace(SoftPrompt.load(PROMPT_FILE), metadata={"note": note}).to_bytes(), name=note)
    stack.prompts.activate(twin.prompt_id)
    return twin.prompt_id


def ring_for_a_run(stack: Stack, prompt_id: str, source: str, rate: float) -> RescoreRun:
    from moderation.domain.prompt import PromptId

    settings = load_settings(broker_url=stack.broker.url)
    bell = Bell(create_app(settings), settings)
    try:
        assert any(bell.listeners(BACKFILL_QUEUE))
        run, has_heard = begin(
            Rescores(stack.database), bell, PromptId(prompt_id), RescoreScope(source=source), rate=rate, by=SYSTEM
        )
    finally:
        bell.close()
    assert has_heard
    return run


def looking(stack: Stack, run: RescoreRun) -> Callable[[], RescoreRun]:
    rescores = Rescores(stack.database)
    return lambda: rescores.get(run.run_id)


def verdicts(stack: Stack, prompt_id: str, *, shadow: bool) -> list[VerdictRow]:
    query = select(VerdictRow).where(VerdictRow.prompt_id == prompt_id, VerdictRow.shadow.is_(shadow))
    with stack.database.read() as session:
        return list(session.scalars(query.order_by(VerdictRow.image_id)))


def apply_all(stack: Stack, run: RescoreRun) -> int:
    database = stack.database
    comparer = Comparer(Rescoring(database), Policies(database), Reviews(database), Reviewers(database))
    return apply(Applying(database), comparer.diff(run, limit=0), by=SYSTEM).images


def names_of(found: Sequence[VerdictRow]) -> list[str]:
    return [row.image_id for row in found]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_killed_worker_is_replaced_and_each_image_is_scored_and_applied_once(new_stack: Stack) -> None:
    names = new_stack.pictures("old", 60)
    with new_stack.worker("first", ALL_BUT_TRAINING) as first:
        first.wait_ready()
        new_stack.app.submit_many(names, source="web")
        new_stack.wait_for("old", 60)
        twin = activate_twin(new_stack, "killed")
        run = ring_for_a_run(new_stack, twin, "web", RATE)
        now = looking(new_stack, run)
        new_stack.pause(first, lambda: now().is_claimed and now().scored)
        first.kill()  # like a power cut
    assert 0 < now().scored < 60
    with new_stack.worker("second", ALL_BUT_TRAINING) as second:
        second.wait_ready()
        wait_until(lambda: not now().is_open, "the second worker has ended the run")
    done = now()
    assert (done.state, done.scored, done.failed) == (RescoreState.DONE, 60, 0)
    scores = verdicts(new_stack, twin, shadow=True)
    assert names_of(scores) == names
    assert verdicts(new_stack, twin, shadow=False) == []
    assert (apply_all(new_stack, done), apply_all(new_stack, done)) == (60, 0)
    new = verdicts(new_stack, twin, shadow=False)
    assert names_of(new) == names
    assert [row.margin for row in new] == [row.margin for row in scores]
    assert {row.round for row in new_stack.rows("old")} == {2}
    assert {verdict.prompt_id for verdict in new_stack.app.verdicts(source="web", limit=60)} == {twin}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_rate_is_kept_and_scans_are_not_starved(new_stack: Stack) -> None:
    slow, bulk, urgent = (new_stack.pictures(name, count) for name, count in (("slow", 60), ("bulk", 300), ("now", 32)))
    with new_stack.worker("both", ALL_BUT_TRAINING) as worker:
        worker.wait_ready()
        new_stack.app.submit_many(slow, source="slow")
        new_stack.app.submit_many(bulk, source="bulk")
        new_stack.wait_for("", 360)
        twin = activate_twin(new_stack, "slow")

        now = looking(new_stack, ring_for_a_run(new_stack, twin, "slow", RATE))
        wait_until(lambda: not now().is_open, "the slow run has ended")
        times = sorted(row.created_at for row in verdicts(new_stack, twin, shadow=True))
        assert len(times) == 60
        # Four batches of 15, a second apart, of which one may be early. All at once would take a fraction of one.
        assert 1.9 < (times[-1] - times[0]).total_seconds() < 20

        now = looking(new_stack, ring_for_a_run(new_stack, twin, "bulk", 1000.0))
        new_stack.pause(worker, lambda: now().is_claimed and now().scored)
        assert now().scored < 300
        new_stack.app.submit_many(urgent)
        worker.go_on()
        wait_until(lambda: not now().is_open, "the fast run has ended")
        assert (now().scored, now().failed) == (300, 0)
        new_stack.wait_for("now", 32)
        last = max(row.created_at for row in verdicts(new_stack, twin, shadow=True))
        scanned = [row for row in verdicts(new_stack, twin, shadow=False) if row.image_id in urgent]
        assert len(scanned) == 32
        assert max(row.created_at for row in scanned) < last, "the scans waited for the whole run"
