"""Workers check themselves on known pictures: whoever answers otherwise takes no work, and the others do it all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from moderation import embedded
from moderation.domain.canary import Known
from moderation.embedded import Server
from moderation.errors import CanaryFailed
from moderation.flows.watching.turn import CHORE
from moderation.images.canary import NAMES
from moderation.storage.events import Events
from moderation.storage.registry.canaries import Canaries
from moderation.storage.tables import CanaryRow, ChoreRow, SubmissionRow
from tests.e2e.conftest import Stack, open_stack
from tests.e2e.process import Worker
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def healthy(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Server, without_variables: None
) -> Iterator[tuple[Stack, Worker]]:
    """An installation with a good worker. What is SQL in this is tested on both databases elsewhere."""
    url = embedded.fresh_database(postgres_server)
    folder = tmp_path_factory.mktemp("canary")
    with (
        embedded.redis_server(named="") as broker,
        open_stack(folder, url, broker) as stack,
        stack.worker("healthy") as worker,
    ):
        yield stack, worker.wait_ready()
    embedded.drop_database(postgres_server, url)


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
    assert worker.exit_code() == CanaryFailed.exit_code, worker.said
    return worker.said


def test_other_preprocessing_than_the_others_have_is_caught(healthy: tuple[Stack, Worker]) -> None:
    stack, worker = healthy
    assert recorded(stack).worker == "healthy@test"
    with stack.worker("unturned", MODERATION_EXIF_ORIENTATION="false") as unturned:
        said = refusal(unturned)
    assert "picture 'turned' was" in said
    assert "MODERATION_EXIF_ORIENTATION" in said
    assert [event["worker"] for event in failures(stack)] == ["unturned@test"]
    assert worker.runs()


def test_a_worker_looks_for_drift(healthy: tuple[Stack, Worker]) -> None:
    stack, worker = healthy

    def taken() -> list[ChoreRow]:
        with stack.database.read() as session:
            return list(session.scalars(select(ChoreRow)))

    wait_until(taken, "the worker took it on")
    assert [chore.name for chore in taken()] == [CHORE]
    assert worker.runs()


def test_a_worker_whose_answers_moved_takes_no_more_work_and_another_does_it_all(
    healthy: tuple[Stack, Worker],
) -> None:
    stack, good = healthy
    with stack.worker("broken", MODERATION_CANARY_INTERVAL_S="1") as broken:
        broken.wait_ready()
        names = stack.pictures("load", 160)
        stack.app.submit_many(names)
        wait_until(broken.batches, "the broken one works, too")
        tamper(stack)
        assert broken.exit_code() == CanaryFailed.exit_code, broken.said
        stack.wait_for("load", 160)
        stack.app.submit_many(stack.pictures("more", 20))
        stack.wait_for("more", 20)
        assert good.runs()
    stack.check_home("load", 160)
    stack.check_home("more", 20)
    assert len(recorded(stack).answers) == len(NAMES)
    with stack.database.read() as session:
        assert set(session.scalars(select(SubmissionRow.crashes))) == {0}
        assert set(session.scalars(select(SubmissionRow.attempts))) == {1}
    (critical,) = [line for line in broken.lines() if line["level"] == "CRITICAL" and line.get("event")]
    assert critical["event"] == "canary failed"
    assert "picture 'turned' was" in critical["message"]
    assert "modctl rescore --again --since" in critical["message"]
    after = broken.lines()[broken.lines().index(critical) :]
    assert not [line for line in after if "batch" in line]
    event = failures(stack)[0]
    assert (event["worker"], event["picture"]) == ("broken@test", "turned")

    with stack.worker("again") as again:
        said = refusal(again)
    assert "The worker can't start" in said
    assert "picture 'turned' was" in said
    assert "modctl canary forget" in said
    assert not any(line["message"] == "ready" for line in again.lines())
    assert failures(stack)[0]["worker"] == "again@test"
