"""Prompts: an artefact is what its bytes are, and at most one is active for a backbone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from moderation.domain.prompt import PromptId, PromptRecord, PromptState
from moderation.domain.training_run import RunConfig
from moderation.errors import ConfigurationError, PromptChanged, PromptRefused
from moderation.storage.events import By, Events
from moderation.storage.registry.states import PromptStates, Shown
from moderation.storage.tables import PromptRow, TrainingRunRow
from tests.store import Store
from tests.waiting import GENEROUS_S


def register(store: Store, blob: bytes, backbone: str = "tiny", parent: PromptId | None = None) -> PromptRecord:
    return store.prompts.register(
        blob,
        name=blob.decode(),
        backbone=backbone,
        backbone_revision="r1",
        question="Is this real?",
        metrics={"auc": 0.75},
        parent=parent,
    )


def active(store: Store, backbone: str = "tiny") -> str | None:
    found = store.prompts.active(backbone)
    return found.prompt_id if found else None


def test_registering_keeps_everything(store: Store) -> None:
    first = register(store, b"one")
    child = register(store, b"two", parent=first.prompt_id)
    assert (child.name, child.backbone, child.backbone_revision, child.question) == (
        "two",
        "tiny",
        "r1",
        "Is this real?",
    )
    assert (child.state, child.parent, dict(child.metrics), child.activated_at) == (
        PromptState.CANDIDATE,
        first.prompt_id,
        {"auc": 0.75},
        None,
    )
    assert child.sha256.startswith(child.prompt_id)
    assert store.prompts.blob(child.prompt_id) == b"two"


def test_the_same_bytes_twice_are_one_prompt_and_keep_their_state(store: Store) -> None:
    first = register(store, b"one")
    store.prompts.activate(first.prompt_id)
    again = register(store, b"one")
    assert (again.prompt_id, again.state) == (first.prompt_id, PromptState.ACTIVE)
    assert [record.prompt_id for record in store.prompts.list()].count(first.prompt_id) == 1


def test_activating_retires_the_one_before(store: Store) -> None:
    before = active(store)
    record = register(store, b"one")
    assert store.prompts.activate(record.prompt_id)
    assert active(store) == record.prompt_id != before
    states = {found.prompt_id: found.state for found in store.prompts.list()}
    assert states == {before: PromptState.RETIRED, record.prompt_id: PromptState.ACTIVE}
    assert store.prompts.find(record.prompt_id).activated_at is not None


def test_activating_the_active_one_does_nothing(store: Store) -> None:
    record = register(store, b"one")
    assert store.prompts.activate(record.prompt_id)
    assert not store.prompts.activate(record.prompt_id)


def test_a_retired_prompt_can_be_activated_again(store: Store) -> None:
    first, second = register(store, b"one"), register(store, b"two")
    for record in (first, second, first):
        assert store.prompts.activate(record.prompt_id)
    assert active(store) == first.prompt_id


def test_only_first_never_replaces(store: Store) -> None:
    before = active(store)
    assert not store.prompts.activate(register(store, b"one").prompt_id, only_first=True)
    assert active(store) == before
    assert store.prompts.activate(register(store, b"two", backbone="other").prompt_id, only_first=True)


def test_backbones_do_not_disturb_each_other(store: Store) -> None:
    before = active(store)
    other = register(store, b"one", backbone="other")
    store.prompts.activate(other.prompt_id)
    assert (active(store), active(store, "other"), active(store, "third")) == (before, other.prompt_id, None)


def test_the_database_refuses_a_second_active_prompt(store: Store) -> None:
    second = register(store, b"one")
    with pytest.raises(IntegrityError), store.database.write() as session:
        session.execute(update(PromptRow).where(PromptRow.prompt_id == second.prompt_id).values(state="active"))


def test_activating_at_once_leaves_one_active(store: Store) -> None:
    records = [register(store, f"prompt {number}".encode()) for number in range(4)]
    start = threading.Barrier(4)

    def activate(record: PromptRecord) -> None:
        start.wait()
        store.prompts.activate(record.prompt_id)

    with ThreadPoolExecutor(4) as operators:
        list(operators.map(activate, records))
    states = [record.state for record in store.prompts.list()]
    assert states.count(PromptState.ACTIVE) == 1


def test_changed_bytes_are_refused(store: Store) -> None:
    record = register(store, b"one")
    with store.database.write() as session:
        session.execute(update(PromptRow).where(PromptRow.prompt_id == record.prompt_id).values(blob=b"evil"))
    with pytest.raises(ConfigurationError, match=record.prompt_id):
        store.prompts.blob(record.prompt_id)


@pytest.mark.parametrize("written", ["'no bytes'", "x'ff00' || blob"])
def test_text_that_a_hand_wrote_in_the_place_of_bytes_is_damage_and_is_mended(store: Store, written: str) -> None:
    record = register(store, b"one")
    with store.database.write() as session:
        if "x'" in written and session.get_bind().dialect.name != "sqlite":
            pytest.skip("only SQLite keeps text in a column of bytes")
        session.execute(text(f"UPDATE prompt SET blob = {written} WHERE prompt_id = '{record.prompt_id}'"))
    with pytest.raises(ConfigurationError, match="were changed"):
        store.prompts.blob(record.prompt_id)
    assert register(store, b"one") == record
    assert store.prompts.blob(record.prompt_id) == b"one"


def test_finding_by_the_start_of_an_id(store: Store) -> None:
    record = register(store, b"one")
    assert store.prompts.find(record.prompt_id[:6]).prompt_id == record.prompt_id
    with pytest.raises(ConfigurationError, match="not a registered id"):
        store.prompts.find("%")
    with pytest.raises(ConfigurationError, match="several"):
        store.prompts.find("")


# --- states


def states(store: Store) -> dict[str, str]:
    """Every prompt's state, by its name."""
    return {record.name: str(record.state) for record in store.prompts.list()}


def kinds(store: Store) -> list[str]:
    """What happened to prompts, the oldest first, without their registrations."""
    found = [event.kind for event in Events(store.database).list(limit=None)]
    return [kind for kind in reversed(found) if kind.startswith("prompt.") and kind != "prompt.register"]


def damaged(store: Store, record: PromptRecord) -> None:
    with store.database.write() as session:
        session.execute(update(PromptRow).where(PromptRow.prompt_id == record.prompt_id).values(blob=b"evil"))


def ran(store: Store, record: PromptRecord, state: str, reasons: Sequence[str] = ()) -> None:
    """A training run made this prompt and ended so."""
    now = datetime.now(UTC)
    with store.database.write() as session:
        session.add(
            TrainingRunRow(
                state=state, backbone="tiny", parent=record.prompt_id, config=RunConfig("x", 42, 0.01).to_json(),
                manifest=b"", manifest_sha256="",
                progress={}, metrics={"gate": {"reasons": list(reasons)}}, prompt_id=record.prompt_id, error="",
                attempts=1, cancel_requested=False, actor="eve", reason="", created_at=now, finished_at=now,
            )
        )  # fmt: skip


@pytest.fixture
def change(store: Store) -> PromptStates:
    return PromptStates(store.database)


def test_a_rollback_goes_back_and_a_second_one_further(store: Store, change: PromptStates) -> None:
    first, second = register(store, b"one"), register(store, b"two")
    for record in (first, second):
        change.activate(record.prompt_id)
    done = change.roll_back("tiny", by=By("eve", "flags landscapes"))
    assert (done.prompt_id, done.before) == (first.prompt_id, second.prompt_id)
    assert states(store) == {"test": "retired", "one": "active", "two": "retired"}
    assert change.roll_back("tiny").prompt_id == store.by.prompt_id
    assert active(store) == store.by.prompt_id
    with pytest.raises(ConfigurationError, match="nothing was active on tiny before"):
        change.roll_back("tiny")
    assert kinds(store) == ["prompt.activate"] * 3 + ["prompt.rollback"] * 2
    (_, event) = Events(store.database).list(kind="prompt.rollback")
    assert (event.actor, event.reason) == ("eve", "flags landscapes")
    assert dict(event.payload) == {"prompt": first.prompt_id, "backbone": "tiny", "before": second.prompt_id}
    assert Events(store.database).verify()[1] is None


def test_a_rollback_does_not_return_to_what_was_rolled_back(store: Store, change: PromptStates) -> None:
    bad, good = register(store, b"bad"), register(store, b"good")
    change.activate(bad.prompt_id)
    change.roll_back("tiny")
    change.activate(good.prompt_id)
    assert change.roll_back("tiny").prompt_id == store.by.prompt_id


def test_a_rollback_to_damaged_bytes_is_refused_and_names_the_one_before(store: Store, change: PromptStates) -> None:
    first, second, third = (register(store, name) for name in (b"one", b"two", b"three"))
    for record in (first, second, third):
        change.activate(record.prompt_id)
    damaged(store, second)
    with pytest.raises(ConfigurationError, match=second.prompt_id) as refused:
        change.roll_back("tiny")
    assert f"modctl prompt rollback --to {first.prompt_id}" in refused.value.hint
    assert active(store) == third.prompt_id
    assert change.roll_back("tiny", to=first.prompt_id).prompt_id == first.prompt_id
    with pytest.raises(ConfigurationError, match="was not active before"):
        change.roll_back("tiny", to=third.prompt_id)
    damaged(store, store.prompts.find(store.by.prompt_id))
    with pytest.raises(ConfigurationError) as refused:
        change.roll_back("tiny")
    assert "none before it is good" in refused.value.hint


def test_a_rollback_of_one_backbone_leaves_the_others(store: Store, change: PromptStates) -> None:
    record, other = register(store, b"one"), register(store, b"elsewhere", backbone="other")
    change.activate(record.prompt_id)
    change.activate(other.prompt_id)
    change.roll_back("tiny")
    assert (active(store), active(store, "other")) == (store.by.prompt_id, other.prompt_id)
    with pytest.raises(ConfigurationError, match="nothing was active on other before"):
        change.roll_back("other")
    with pytest.raises(ConfigurationError, match="nothing was ever active on third"):
        change.roll_back("third")


def test_damaged_bytes_are_neither_activated_nor_made_a_shadow(store: Store, change: PromptStates) -> None:
    record = register(store, b"one")
    damaged(store, record)
    for attempt in (change.activate, change.set_shadow):
        with pytest.raises(ConfigurationError, match=record.prompt_id):
            attempt(record.prompt_id)
    assert states(store) == {"test": "active", "one": "candidate"}
    assert kinds(store) == ["prompt.activate"]


def test_a_refused_candidate_is_activated_by_force_alone(store: Store, change: PromptStates) -> None:
    record = register(store, b"one")
    ran(store, record, "refused", ["holdout: worse by 0.03"])
    with pytest.raises(PromptRefused, match=r"holdout: worse by 0\.03") as refused:
        change.activate(record.prompt_id)
    assert refused.value.exit_code == 4
    with pytest.raises(PromptRefused):
        store.prompts.activate(record.prompt_id)
    assert states(store) == {"test": "active", "one": "candidate"}
    done = change.activate(record.prompt_id, forced=True, by=By("eve", "I looked at all of them"))
    assert (done.happened, done.forced) == (True, True)
    (event, _) = Events(store.database).list(kind="prompt.activate")
    assert (event.payload["forced"], event.reason) == (True, "I looked at all of them")


def test_the_newest_run_of_a_prompt_decides(store: Store, change: PromptStates) -> None:
    record = register(store, b"one")
    ran(store, record, "refused")
    ran(store, record, "passed")
    assert not change.activate(record.prompt_id, forced=True).forced  # there was nothing to force
    (event, _) = Events(store.database).list(kind="prompt.activate")
    assert "forced" not in event.payload


def test_a_shadow_takes_the_place_of_the_one_before(store: Store, change: PromptStates) -> None:
    first, second = register(store, b"one"), register(store, b"two")
    assert change.set_shadow(first.prompt_id).before is None
    assert not change.set_shadow(first.prompt_id).happened
    assert change.set_shadow(second.prompt_id).before == first.prompt_id
    assert states(store) == {"test": "active", "one": "candidate", "two": "shadow"}
    used = store.prompts.in_use("tiny")
    assert used.active
    assert used.shadow
    assert (used.active.prompt_id, used.shadow.prompt_id) == (store.by.prompt_id, second.prompt_id)
    ended = change.end_shadow("tiny")
    assert ended
    assert ended.prompt_id == second.prompt_id
    assert change.end_shadow("tiny") is None
    assert states(store) == {"test": "active", "one": "candidate", "two": "candidate"}
    assert kinds(store) == ["prompt.activate", "prompt.shadow", "prompt.shadow", "prompt.unshadow"]


def test_a_shadow_that_was_active_once_retires(store: Store, change: PromptStates) -> None:
    record = register(store, b"one")
    change.activate(record.prompt_id)
    change.set_shadow(PromptId(store.by.prompt_id))
    change.end_shadow("tiny")
    assert states(store) == {"test": "retired", "one": "active"}


def test_the_active_prompt_can_be_no_shadow(store: Store, change: PromptStates) -> None:
    with pytest.raises(ConfigurationError, match="is active"):
        change.set_shadow(PromptId(store.by.prompt_id))


def test_activating_the_shadow_ends_its_shadow(store: Store, change: PromptStates) -> None:
    record = register(store, b"one")
    change.set_shadow(record.prompt_id)
    change.activate(record.prompt_id)
    assert states(store) == {"test": "retired", "one": "active"}
    assert store.prompts.in_use("tiny").shadow is None


def test_the_database_refuses_a_second_shadow(store: Store, change: PromptStates) -> None:
    first, second = register(store, b"one"), register(store, b"two")
    change.set_shadow(first.prompt_id)
    with pytest.raises(IntegrityError), store.database.write() as session:
        session.execute(update(PromptRow).where(PromptRow.prompt_id == second.prompt_id).values(state="shadow"))


def test_what_was_shown_must_still_hold(store: Store, change: PromptStates) -> None:
    first, second = register(store, b"one"), register(store, b"two")
    shown = Shown(PromptId(store.by.prompt_id))
    change.activate(first.prompt_id, shown=shown)
    with pytest.raises(PromptChanged, match=f"meanwhile {first.prompt_id} is active"):
        change.activate(second.prompt_id, shown=shown)
    with pytest.raises(PromptChanged):
        change.roll_back("tiny", shown=shown)
    with pytest.raises(PromptChanged):
        change.set_shadow(second.prompt_id, shown=shown)
    assert states(store) == {"test": "retired", "one": "active", "two": "candidate"}


def test_changes_at_once_come_one_after_the_other(store: Store, change: PromptStates) -> None:
    records = [register(store, f"prompt {number}".encode()) for number in range(6)]
    start = threading.Barrier(6)

    def disturb(number: int) -> None:
        start.wait()
        for record in records[number:] + records[:number]:
            if number % 2 and record.prompt_id != active(store):
                with suppress(ConfigurationError):  # it became active in between
                    change.set_shadow(record.prompt_id)
            else:
                change.activate(record.prompt_id)

    with ThreadPoolExecutor(6) as operators:
        list(operators.map(disturb, range(6)))
    found = list(states(store).values())
    assert (found.count("active"), found.count("shadow") <= 1) == (1, True)
    turns = [event.payload for event in reversed(Events(store.database).list(kind="prompt.activate", limit=None))]
    # Each took the place of the one before it: none came in between.
    assert [turn["before"] for turn in turns[1:]] == [turn["prompt"] for turn in turns[:-1]]
    assert turns[-1]["prompt"] == active(store)
    assert Events(store.database).verify()[1] is None


def test_two_who_roll_back_at_once_go_back_one_step(store: Store, change: PromptStates) -> None:
    first, second = register(store, b"one"), register(store, b"two")
    for record in (first, second):
        change.activate(record.prompt_id)
    start = threading.Barrier(2)

    def go_back(_: int) -> bool:
        start.wait()
        try:
            return change.roll_back("tiny", shown=Shown(second.prompt_id)).happened
        except PromptChanged:
            return False

    with ThreadPoolExecutor(2) as operators:
        assert sorted(operators.map(go_back, range(2))) == [False, True]
    assert active(store) == first.prompt_id


def test_an_activation_does_not_wait_for_rows_that_refer_to_the_prompt(store: Store, change: PromptStates) -> None:
    """As those of verdicts under way: were its row locked for good, scoring and activating would meet head on."""
    if store.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    record = register(store, b"one")
    child = {"prompt_id": "x", "name": "x", "blob": b"x", "sha256": "x", "parent": record.prompt_id, "question": ""}
    rest = {"backbone": "tiny", "backbone_revision": "", "state": "candidate", "metrics": {}}
    with ThreadPoolExecutor(1) as other, store.database.write() as session:
        session.add(PromptRow(**child, **rest, created_at=datetime.now(UTC)))
        session.flush()  # holds a share of the parent's row until the end
        assert other.submit(change.activate, record.prompt_id).result(GENEROUS_S).happened
