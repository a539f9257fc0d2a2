"""What goes wrong in production: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from sqlalchemy import delete, text

from moderation.embedded import Server
from moderation.storage import schema
from moderation.storage.tables import PromptRow
from tests.e2e.conftest import Stack, open_stack
from tests.e2e.process import Worker
from tests.waiting import wait_until


def test_an_emptied_broker_loses_nothing(stack: Stack, worker: Worker) -> None:
    names = stack.pictures("flushed", 120)
    stack.pause(worker)
    for name in names:
        stack.app.submit(name)
    worker.go_on()
    stack.wait_for("flushed", 20)
    stack.pause(worker)
    assert stack.empty_broker() > 0
    worker.go_on()
    stack.wait_for("flushed", 120)
    stack.check_home("flushed", 120)


def test_a_restarted_broker_loses_nothing(stack: Stack, worker: Worker) -> None:
    names = stack.pictures("restarted", 150)
    stack.pause(worker)
    stack.app.submit_many(names[:100])
    worker.go_on()
    stack.wait_for("restarted", 20)
    stack.broker.kill()
    receipt = stack.app.submit_many(names[100:])
    assert (receipt.new, receipt.queued) == (50, False)
    stack.broker.start()
    stack.wait_for("restarted", 150)
    stack.check_home("restarted", 150)


def test_a_frozen_and_a_killed_worker_are_replaced_by_the_other(new_stack: Stack) -> None:
    with new_stack.worker("first") as first, new_stack.worker("second") as second:
        first.wait_ready()
        second.wait_ready()

        # The first freezes with pictures in its hands, and the second takes them over.
        new_stack.pause(second)
        new_stack.app.submit_many(new_stack.pictures("frozen", 100))
        new_stack.pause(first, lambda: new_stack.holds("frozen"))
        second.go_on()
        new_stack.wait_for("frozen", 100)
        taken_over = [row for row in new_stack.rows("frozen") if row.crashes]
        assert taken_over
        # What it brings when it comes back is too late.
        first.go_on()
        wait_until(lambda: any(batch["refused"] for batch in first.batches()), "the late results were refused")
        new_stack.check_home("frozen", 100)

        # The same, and this time it never comes back.
        new_stack.pause(second)
        new_stack.app.submit_many(new_stack.pictures("killed", 200))
        new_stack.pause(first, lambda: new_stack.holds("killed"))
        first.kill()
        assert new_stack.ended("killed") < 200
        second.go_on()
        new_stack.wait_for("killed", 200)
        new_stack.check_home("killed", 200)
        assert any(row.crashes for row in new_stack.rows("killed"))

        # TERM: what it holds is finished, and what it does not hold waits for others.
        new_stack.app.submit_many(new_stack.pictures("last", 100))
        new_stack.wait_for("last", 1)
        second.terminate()
        assert second.exit_code() == 0
        counts = new_stack.submissions.counts()
        assert counts["claimed"] == 0
        assert counts["done"] + counts["waiting"] == 400
        assert {row.crashes for row in new_stack.rows("last")} == {0}
        assert "Traceback" not in second.said


def _no_tables(stack: Stack) -> None:
    schema.downgrade(stack.database, "base")


def _old_tables(stack: Stack) -> None:
    with stack.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))


def _no_prompt(stack: Stack) -> None:
    with stack.database.write() as session:
        session.execute(delete(PromptRow))


@dataclass(frozen=True)
class Case:
    """What is wrong with an installation, or with a worker's MODERATION_* variables, and how the worker ends."""

    exit_code: int
    message: str
    spoil: Callable[[Stack], None] = lambda _: None
    variables: Mapping[str, str] = field(default_factory=dict)


CASES = {
    "no tables": Case(2, r"no tables yet.*modctl db upgrade", _no_tables),
    "old tables": Case(2, r"on revision 0000.*modctl db upgrade", _old_tables),
    "no prompt": Case(2, r"no prompt is active for the backbone miniature\n.*modctl prompt import", _no_prompt),
    "wrong number": Case(
        2, r"MODERATION_BATCH_SIZE: .*greater than or equal to 1", variables={"MODERATION_BATCH_SIZE": "0"}
    ),
    "wrong device": Case(2, r"MODERATION_DEVICE: .*use auto, cpu, mps, cuda", variables={"MODERATION_DEVICE": "gpu"}),
    "no database": Case(
        3,
        r"SQL database does not answer(.|\n)*_DATABASE_URL",
        variables={"MODERATION_DATABASE_URL": "postgresql://127.0.0.1:1/none"},
    ),
}


@pytest.fixture(scope="module")
def in_vain(
    tmp_path_factory: pytest.TempPathFactory, broker: Server, without_variables: None
) -> Iterator[dict[str, Worker]]:
    """A worker for each case, all started at once: a start is seconds of work for one core."""
    with ExitStack() as opened:
        started = {}
        for name, case in CASES.items():
            folder = tmp_path_factory.mktemp("in-vain")
            stack = opened.enter_context(open_stack(folder, f"sqlite:///{folder / 'moderation.db'}", broker))
            case.spoil(stack)
            started[name] = opened.enter_context(stack.worker(**case.variables))
        yield started


@pytest.mark.parametrize("name", CASES)
def test_a_worker_that_can_not_work_says_what_to_do_and_ends(in_vain: dict[str, Worker], name: str) -> None:
    worker, case = in_vain[name], CASES[name]
    assert worker.exit_code() == case.exit_code, worker.said
    assert re.search(case.message, worker.said), worker.said
    assert "Traceback" not in worker.said
