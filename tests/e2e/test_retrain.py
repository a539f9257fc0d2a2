"""Training runs on real workers: only those that listen for them, through a power cut, and back on request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation.domain.training_run import RunState, TrainingRun
from moderation.embedded import Server
from moderation.flows.retraining.enrol import ring
from moderation.queue.app import TRAINING_QUEUE, create_app
from moderation.queue.bell import Bell
from moderation.settings import load_settings
from moderation.storage.events import Events
from moderation.storage.training.claims import TrainingClaims
from tests.e2e.conftest import Stack, open_stack
from tests.e2e.process import Worker
from tests.taught import School, open_school, pictures
from tests.waiting import GENEROUS_S, wait_until

EXPERT_EPOCHS = 16  # of one that goes on from the parent's
LONG_S = 2 * GENEROUS_S  # a run with its report, on a machine that has other things to do


@pytest.fixture
def stack(tmp_path: Path, postgres_url: str, private_broker: Server) -> Iterator[Stack]:
    with open_stack(tmp_path, postgres_url, private_broker) as opened:
        yield opened


@pytest.fixture
def school(stack: Stack) -> School:
    """The platform's images are the miniature's samples."""
    shutil.copytree(pictures(), stack.folder / "pictures", dirs_exist_ok=True)
    return open_school(stack.database, expert=True)


@pytest.fixture
def bell(stack: Stack) -> Iterator[Bell]:
    settings = load_settings(broker_url=stack.broker.url)
    opened = Bell(create_app(settings), settings)
    yield opened
    opened.close()


def trainer(stack: Stack, name: str) -> Worker:
    return stack.worker(name, TRAINING_QUEUE, MODERATION_RUNS=str(stack.folder / name))


def begun(stack: Stack, school: School, bell: Bell) -> TrainingRun:
    run = school.begin(epochs=2)
    ring(run.run_id, bell, TrainingClaims(stack.database))
    return run


def under_way(school: School, run: TrainingRun) -> None:
    """Until its first epoch is kept."""
    wait_until(lambda: school.runs.checkpoint(run.run_id), "the run's first epoch is kept", LONG_S)


def expert_epochs(school: School, run: TrainingRun) -> int:
    """How many the row says are finished; 0 while it is at something else."""
    progress = school.runs.get(run.run_id).progress
    return int(progress["done"]) if progress.get("stage") == "expert" else 0


def ended(school: School, run: TrainingRun) -> TrainingRun:
    wait_until(lambda: not school.runs.get(run.run_id).is_open, "the run has ended", LONG_S)
    return school.runs.get(run.run_id)


def told_of_expert(worker: Worker) -> list[str]:
    """What the worker's log says of it, in a few words each: 'expert, epoch 4'."""
    return [line["message"].partition(": loss")[0] for line in worker.lines() if line["message"].startswith("expert")]


def starts(stack: Stack, run: TrainingRun) -> int:
    events = Events(stack.database).list(kind="training.start")
    return sum(event.payload["run"] == run.run_id for event in events)


def test_a_run_survives_its_worker_and_gives_what_it_would_have_given(stack: Stack, school: School, bell: Bell) -> None:
    first = begun(stack, school, bell)
    with stack.worker("scans") as scans:
        scans.wait_ready()
        (name,) = stack.pictures("ordinary", 1)
        stack.app.submit(name)
        stack.wait_for("ordinary", 1)
        assert bell.listeners(TRAINING_QUEUE) == []
        assert school.runs.get(first.run_id).state is RunState.QUEUED  # no training beside scans unless asked for

    with trainer(stack, "one") as one:
        wait_until(lambda: expert_epochs(school, first) >= 2, "two epochs of the pixel expert are kept", LONG_S)
        one.kill()
        assert school.runs.get(first.run_id).state is RunState.RUNNING
        finished = len(told_of_expert(one))
        assert 1 <= finished < EXPERT_EPOCHS

    with trainer(stack, "two") as two:
        taken_up = ended(school, first)
        assert (taken_up.error, taken_up.attempts, starts(stack, first)) == ("", 2, 2)
        assert not any("no pixel expert" in note for note in taken_up.metrics["notes"])
        goes_on, *further = told_of_expert(two)
        kept = int(goes_on.removeprefix("expert: goes on after epoch "))
        assert kept - finished in (0, 1)  # it may have been killed between keeping and telling
        assert further == [f"expert, epoch {number}" for number in range(kept + 1, EXPERT_EPOCHS + 1)]

        undisturbed = begun(stack, school, bell)
        under_way(school, undisturbed)
        for _ in range(3):
            bell.ring_training(undisturbed.run_id)
        found = ended(school, undisturbed)
        assert (found.attempts, starts(stack, undisturbed)) == (1, 1)
        assert found.prompt_id == taken_up.prompt_id  # an id is the head of the bytes' hash
        assert found.metrics["epochs"] == taken_up.metrics["epochs"]

        last = begun(stack, school, bell)
        under_way(school, last)
        two.terminate()
        assert two.exit_code() == 0
    given_back = school.runs.get(last.run_id)
    assert (given_back.state, given_back.attempts) == (RunState.QUEUED, 0)
    assert school.runs.checkpoint(last.run_id)
    assert not list((stack.folder / "two").glob("**/pictures"))
