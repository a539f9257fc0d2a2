"""Workers check themselves on known pictures: whoever answers otherwise takes no work, and the others do it all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from moderation.domain.canary import Known
from moderation.embedded import Server
from moderation.errors import CanaryFailed
from moderation.images.canary import NAMES
from moderation.storage.canaries import Canaries
from moderation.storage.events import Events
from moderation.storage.loop_tables import CanaryRow
from moderation.storage.tables import SubmissionRow
from tests.e2e.conftest import Stack, open_stack
from tests.e2e.process import Worker, wait_until


@pytest.fixture
def stack(tmp_path: Path, postgres_url: str, private_broker: Server) -> Iterator[Stack]:
    """An installation without a worker. What is SQL in this is tested on both databases elsewhere."""
    with open_stack(tmp_path, postgres_url, private_broker) as opened:
        yield opened


def recorded(stack: Stack) -> Known:
    (known,) = Canaries(stack.database).list()
    return known


def tamper(stack: Stack, change: float = 0.01) -> None:
    """The second picture's recorded answer becomes another."""
    with stack.database.write() as session:
        (row,) = session.scalars(select(CanaryRow))
        answers = list(row.answers)
        answers[1] += change
        session.execute(update(CanaryRow).values(answers=answers))


def failures(stack: Stack) -> list[dict[str, object]]:
    return [dict(event.payload) for event in Events(stack.database).list(kind="canary.failed")]


def refusal(worker: Worker) -> str:
    assert worker.exit_code(90) == CanaryFailed.exit_code, worker.said
    return worker.said


def test_a_worker_whose_answers_moved_takes_no_more_work_and_another_does_it_all(stack: Stack) -> None:
    with (
        stack.worker("healthy") as healthy,
        stack.worker("broken", MODERATION_CANARY_INTERVAL_S="1") as broken,
    ):
        healthy.wait_ready()
        broken.wait_ready()
        assert len(recorded(stack).answers) == len(NAMES)
        names = stack.pictures("load", 300)
        stack.app.submit_many(names)
        wait_until(lambda: broken.batches() and stack.ended("load") < 200, "the broken one works, too")
        tamper(stack)
        assert broken.exit_code() == CanaryFailed.exit_code, broken.said
        stack.wait_for("load", 300)
        more = stack.pictures("more", 20)
        stack.app.submit_many(more)
        stack.wait_for("more", 20)
        assert healthy.runs()
    stack.check_home("load", 300)
    stack.check_home("more", 20)
    with stack.database.read() as session:
        assert set(session.scalars(select(SubmissionRow.crashes))) == {0}
        assert set(session.scalars(select(SubmissionRow.attempts))) == {1}
    (critical,) = [line for line in broken.lines() if line["level"] == "CRITICAL" and line.get("event")]
    assert critical["event"] == "canary failed"
    assert "picture 'turned' was" in critical["message"]
    assert "modctl rescore --since" in critical["message"]
    after = broken.lines()[broken.lines().index(critical) :]
    assert not [line for line in after if "batch" in line]
    (event,) = failures(stack)
    assert event["worker"] == "broken@test"
    assert event["picture"] == "turned"
    assert json.loads(json.dumps(event)) == event

    with stack.worker("again") as again:
        said = refusal(again)
    assert "The worker can't start" in said
    assert "picture 'turned' was" in said
    assert "modctl canary forget" in said
    assert not any(line["message"] == "ready" for line in again.lines())
    assert len(failures(stack)) == 2


def test_other_preprocessing_than_the_others_have_is_caught(stack: Stack) -> None:
    with stack.worker("first") as first:
        first.wait_ready()
        kinds = [event.kind for event in Events(stack.database).list()]
        assert kinds.count("canary.recorded") == 1
        with stack.worker("unturned", MODERATION_EXIF_ORIENTATION="false") as unturned:
            said = refusal(unturned)
        assert "picture 'turned' was" in said
        assert "MODERATION_EXIF_ORIENTATION" in said
    assert recorded(stack).worker == "first@test"
