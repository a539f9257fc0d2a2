"""Prompts: an artefact is what its bytes are, and at most one is active for a backbone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from moderation.domain.prompt import PromptId, PromptRecord, PromptState
from moderation.errors import ConfigurationError
from moderation.storage.tables import PromptRow
from tests.store import Store


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


def test_finding_by_the_start_of_an_id(store: Store) -> None:
    record = register(store, b"one")
    assert store.prompts.find(record.prompt_id[:6]).prompt_id == record.prompt_id
    with pytest.raises(ConfigurationError, match="not a registered id"):
        store.prompts.find("%")
    with pytest.raises(ConfigurationError, match="several"):
        store.prompts.find("")
