"""A training run's row, on both databases: one open at a time, one worker at a time, and nobody who comes late."""

from __future__ import annotations

import gzip
import threading
from typing import Any

import pytest

from moderation.domain.lesson import Lesson, Origin, Side, lessons_sha256, pack, unpack
from moderation.domain.prompt import PromptId, PromptState
from moderation.domain.training_run import MOST_ATTEMPTS, RunConfig, RunId, RunState, TrainingRun
from moderation.errors import ConfigurationError
from moderation.storage.events import By, Events
from moderation.storage.registry.states import PromptStates
from moderation.storage.training.claims import Held, TrainingClaims
from moderation.storage.training.runs import TrainingRuns
from tests.store import LONG_S, OVER_S, Store, ids
from tests.waiting import GENEROUS_S

BY = By("eve", "the new camera")
LESSONS = [
    Lesson(Origin.REVIEWED, "a.jpg", True, Side.TRAIN, source="web", sha256="ab" * 32),
    Lesson(Origin.REVIEWED, "b.jpg", False, Side.HOLDOUT, source="web", sha256="cd" * 32),
]
SIDES = dict(zip(ids("a.jpg", "b.jpg"), (Side.TRAIN, Side.HOLDOUT), strict=True))
CANDIDATE: dict[str, Any] = {
    "blob": b"a candidate", "name": "better", "backbone": "tiny", "backbone_revision": "", "question": "?",
    "metrics": {},
}  # fmt: skip


def begin(store: Store, *, backbone: str = "tiny", sides: dict[Any, Side] | None = None, **config: Any) -> TrainingRun:
    return TrainingRuns(store.database).begin(
        backbone=backbone,
        parent=PromptId(store.by.prompt_id),
        config=RunConfig(name="better", seed=42, margin=0.01, **config),
        manifest=pack(LESSONS),
        manifest_sha256=lessons_sha256(LESSONS),
        sides=SIDES if sides is None else sides,
        counts={"images": 2},
        by=BY,
    )


def claim(store: Store, run_id: RunId, lease_s: float = LONG_S) -> Held:
    held = claims(store).claim(run_id, backbone="tiny", lease_s=lease_s)
    assert held is not None
    return held


def claims(store: Store) -> TrainingClaims:
    return TrainingClaims(store.database)


def runs(store: Store) -> TrainingRuns:
    return TrainingRuns(store.database)


def kinds(store: Store) -> list[str]:
    return [event.kind for event in Events(store.database).list() if event.kind.startswith("training.")][::-1]


def finish(store: Store, held: Held, *, passed: bool = True, activate: bool = False) -> bool:
    gate = {"reasons": ["it is worse on web"]}
    done = claims(store).finish(
        held, CANDIDATE, passed=passed, metrics={"gate": gate}, report=gzip.compress(b"<html>"), reasons=("worse",),
        activate=activate,
    )  # fmt: skip
    return done is not None


def test_a_run_comes_back_as_it_was_asked_for(store: Store) -> None:
    run = begin(store, epochs=3, command="modctl retrain --yes")
    found = runs(store).get(run.run_id)
    assert found == run
    assert (found.state, found.parent, found.config.epochs) == (RunState.QUEUED, store.by.prompt_id, 3)
    assert unpack(runs(store).manifest(run.run_id)) == LESSONS
    assert runs(store).open_run("tiny") == run
    (event,) = Events(store.database).list(kind="training.begin")
    assert (event.actor, event.reason, event.payload["manifest_sha256"]) == ("eve", BY.reason, run.manifest_sha256)


def test_a_second_open_run_of_a_backbone_is_refused_and_stores_no_sides(store: Store) -> None:
    first = begin(store)
    with pytest.raises(ConfigurationError, match=rf"run {first.run_id} of the backbone tiny is queued") as caught:
        begin(store, sides={ids("c.jpg")[0]: Side.HOLDOUT})
    assert f"modctl retrain cancel {first.run_id}" in str(caught.value)
    other = begin(store, backbone="other", sides={ids("c.jpg")[0]: Side.TRAIN})  # refused if c.jpg had been stored
    runs(store).cancel(first.run_id, BY)
    assert begin(store).run_id > other.run_id


def test_two_who_begin_in_the_same_moment_get_one_run(store: Store) -> None:
    outcomes: list[object] = []
    barrier = threading.Barrier(4)

    def go() -> None:
        barrier.wait()
        try:
            outcomes.append(begin(store).run_id)
        except ConfigurationError as error:
            outcomes.append(error)

    _together(go, 4)
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum("one at a time" in str(outcome) for outcome in outcomes) == 3


def test_sides_stay_for_ever(store: Store) -> None:
    run = begin(store)
    runs(store).cancel(run.run_id, BY)
    turned = {image: Side.HOLDOUT if side is Side.TRAIN else Side.TRAIN for image, side in SIDES.items()}
    with pytest.raises(ConfigurationError, match=r"put a\.jpg on the other side"):
        begin(store, sides=turned)
    assert begin(store).state is RunState.QUEUED


def test_one_worker_holds_a_run_and_a_bell_that_rings_again_gets_nothing(store: Store) -> None:
    run = begin(store)
    outcomes: list[Held | None] = []
    barrier = threading.Barrier(4)

    def go() -> None:
        barrier.wait()
        outcomes.append(claims(store).claim(run.run_id, backbone="tiny", lease_s=LONG_S))

    _together(go, 4)
    (held,) = [outcome for outcome in outcomes if outcome is not None]
    assert claims(store).claim(run.run_id, backbone="tiny", lease_s=LONG_S) is None
    assert finish(store, held)
    assert claims(store).claim(run.run_id, backbone="tiny", lease_s=LONG_S) is None
    assert kinds(store) == ["training.begin", "training.start", "training.passed"]


def test_a_worker_of_another_backbone_takes_nothing(store: Store) -> None:
    run = begin(store)
    assert claims(store).claim(run.run_id, backbone="other", lease_s=LONG_S) is None
    assert runs(store).get(run.run_id).attempts == 0


def test_who_lost_the_run_changes_nothing(store: Store) -> None:
    run = begin(store)
    late = claim(store, run.run_id, lease_s=OVER_S)
    assert claims(store).keep_checkpoint(late, b"epoch 1")
    held = claim(store, run.run_id)
    assert runs(store).checkpoint(run.run_id) == b"epoch 1"
    assert held.run.attempts == 2
    claims(store).progress(late, {"stage": "late"})
    claims(store).release(late)
    assert not claims(store).renew(late, lease_s=LONG_S).is_held
    assert not claims(store).keep_checkpoint(late, b"late")
    assert not claims(store).fail(late, "late")
    assert not claims(store).cancelled(late)
    assert not finish(store, late)
    found = runs(store).get(run.run_id)
    assert (found.state, found.progress, found.prompt_id) == (RunState.RUNNING, {}, None)
    assert runs(store).checkpoint(run.run_id) == b"epoch 1"
    assert [record.name for record in store.prompts.list()] == ["test"]
    assert claims(store).renew(held, lease_s=LONG_S).is_held


def test_a_lease_that_is_renewed_keeps_others_out(store: Store) -> None:
    run = begin(store)
    held = claim(store, run.run_id, lease_s=OVER_S)
    assert claims(store).renew(held, lease_s=LONG_S).is_held
    assert claims(store).claim(run.run_id, backbone="tiny", lease_s=LONG_S) is None


def test_a_finished_run_has_its_candidate_report_and_gate(store: Store) -> None:
    run = begin(store)
    held = claim(store, run.run_id)
    claims(store).keep_checkpoint(held, b"epoch 1")
    assert finish(store, held, passed=False)
    found = runs(store).get(run.run_id)
    assert (found.state, found.is_open) == (RunState.REFUSED, False)
    assert found.prompt_id is not None
    (candidate,) = [record for record in store.prompts.list() if record.prompt_id == found.prompt_id]
    assert (candidate.parent, candidate.state) == (run.parent, "candidate")
    assert found.metrics == {"counts": {"images": 2}, "gate": {"reasons": ["it is worse on web"]}}
    assert unpack(store.prompts.manifest(found.prompt_id) or b"") == LESSONS
    assert gzip.decompress(runs(store).report(run.run_id) or b"") == b"<html>"
    assert runs(store).checkpoint(run.run_id) is None
    gate = PromptStates(store.database).gate(found.prompt_id)
    assert gate is not None
    assert (gate.run_id, gate.passed, gate.reasons) == (run.run_id, False, ("it is worse on web",))
    assert PromptStates(store.database).gate(PromptId(store.by.prompt_id)) is None
    assert Events(store.database).verify()[1] is None


@pytest.mark.parametrize(
    ("passed", "asked", "meanwhile", "state"),
    [
        (True, True, False, PromptState.ACTIVE),
        (True, True, True, PromptState.CANDIDATE),
        (True, False, False, PromptState.CANDIDATE),
        (False, True, False, PromptState.CANDIDATE),
    ],
)
def test_nobody_sees_a_run_that_passed_and_is_yet_to_be_activated(
    store: Store, passed: bool, asked: bool, meanwhile: bool, state: PromptState
) -> None:
    held = claim(store, begin(store, activate=asked).run_id)
    if meanwhile:
        other = store.prompts.register(**{**CANDIDATE, "blob": b"another"}).prompt_id
        PromptStates(store.database).activate(other)
    assert finish(store, held, passed=passed, activate=asked)
    found = runs(store).get(held.run.run_id)
    assert found.prompt_id is not None
    assert store.prompts.find(found.prompt_id).state == state
    told = [event for event in Events(store.database).list(kind="prompt.activate") if event.actor == "eve"]
    assert [event.reason for event in told] == (
        [f"the new camera (training run {found.run_id})"] if state is PromptState.ACTIVE else []
    )


def test_the_newest_run_speaks_for_a_prompt(store: Store) -> None:
    for passed in (False, True):
        run = begin(store)
        assert finish(store, claim(store, run.run_id), passed=passed)
    found = runs(store).get(run.run_id)
    gate = PromptStates(store.database).gate(PromptId(found.prompt_id or ""))
    assert gate is not None
    assert (gate.run_id, gate.passed) == (run.run_id, True)
    assert [each.state for each in runs(store).list()] == [RunState.PASSED, RunState.REFUSED]


def test_a_queued_run_is_cancelled_at_once_and_a_running_one_is_asked(store: Store) -> None:
    first = begin(store)
    assert runs(store).cancel(first.run_id, BY).state is RunState.CANCELLED
    with pytest.raises(ConfigurationError, match="has ended already: cancelled"):
        runs(store).cancel(first.run_id, BY)
    second = begin(store)
    held = claim(store, second.run_id)
    assert runs(store).cancel(second.run_id, BY).state is RunState.RUNNING
    assert claims(store).renew(held, lease_s=LONG_S).is_cancelled
    assert claims(store).cancelled(held)
    assert runs(store).get(second.run_id).state is RunState.CANCELLED
    with pytest.raises(ConfigurationError, match="there is none of this number"):
        runs(store).cancel(RunId(999), BY)


def test_a_cancelled_run_whose_worker_vanished_is_not_taken_up(store: Store) -> None:
    run = begin(store)
    claim(store, run.run_id, lease_s=OVER_S)
    runs(store).cancel(run.run_id, BY)
    assert claims(store).claim(run.run_id, backbone="tiny", lease_s=LONG_S) is None
    assert runs(store).get(run.run_id).state is RunState.CANCELLED


def test_a_run_that_is_given_back_waits_for_the_next_worker(store: Store) -> None:
    run = begin(store)
    for _ in range(MOST_ATTEMPTS + 1):  # giving back is no crash
        held = claim(store, run.run_id)
        claims(store).release(held)
    found = runs(store).get(run.run_id)
    assert (found.state, found.attempts) == (RunState.QUEUED, 0)
    assert claims(store).owed(ring_again_s=LONG_S) == [run.run_id]


def test_a_run_that_workers_vanish_with_is_given_up(store: Store) -> None:
    run = begin(store)
    for _ in range(MOST_ATTEMPTS):
        claim(store, run.run_id, lease_s=OVER_S)
    assert claims(store).claim(run.run_id, backbone="tiny", lease_s=LONG_S) is None
    found = runs(store).get(run.run_id)
    assert found.state is RunState.FAILED
    assert "3 workers vanished with it" in found.error
    assert kinds(store)[-1] == "training.failed"


def test_runs_that_nobody_has_are_owed_a_bell_now_and_then(store: Store) -> None:
    run = begin(store)
    assert claims(store).owed(ring_again_s=LONG_S) == [run.run_id]
    assert claims(store).owed(ring_again_s=LONG_S) == []
    assert claims(store).owed(ring_again_s=0) == [run.run_id]
    held = claim(store, run.run_id)
    assert claims(store).owed(ring_again_s=0) == []
    claims(store).renew(held, lease_s=OVER_S)
    assert claims(store).owed(ring_again_s=0) == [run.run_id]
    claims(store).rung(run.run_id)
    assert claims(store).owed(ring_again_s=LONG_S) == []
    assert claims(store).fail(held, "no picture can be had")
    assert claims(store).owed(ring_again_s=0) == []
    assert runs(store).get(run.run_id).error == "no picture can be had"


def _together(work: Any, count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GENEROUS_S)
        assert not thread.is_alive()
