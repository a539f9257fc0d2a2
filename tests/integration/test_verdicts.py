"""Verdicts, as they are asked for."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from moderation.domain.claim import Claim, Scored
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.storage.tables import VerdictRow
from tests.store import Store, ids


def settle(store: Store, decisions: dict[str, Decision], source: str = "default") -> None:
    store.add(*decisions, source=source, force=True)
    claim: Claim = store.take(*decisions)
    outcomes = []
    for image in claim.images:
        scored = store.scored(image)
        outcomes.append(
            Scored(image, scored.facts, scored.margin, 0.5, decisions[image.image_id], scored.policy_id, 1.0)
        )
    assert store.claims.settle(claim, outcomes, store.by) == []


def test_filters_and_order(store: Store) -> None:
    settle(store, {"a": Decision.ALLOW})
    settle(store, {"b": Decision.BLOCK}, source="avatars")
    settle(store, {"c": Decision.BLOCK})
    listed = store.verdicts.list()
    assert [verdict.image_id for verdict in listed] == ["c", "b", "a"]
    assert [verdict.image_id for verdict in store.verdicts.list(limit=2)] == ["c", "b"]
    assert [verdict.image_id for verdict in store.verdicts.list(decision=Decision.BLOCK)] == ["c", "b"]
    assert [verdict.image_id for verdict in store.verdicts.list(source="avatars")] == ["b"]
    assert [verdict.image_id for verdict in store.verdicts.list(source="avatars", decision=Decision.ALLOW)] == []
    assert [verdict.image_id for verdict in store.verdicts.list(image_id=ImageId("a"))] == ["a"]
    assert [verdict.image_id for verdict in store.verdicts.list(since=listed[1].created_at)] == ["c", "b"]
    assert store.verdicts.list(since=listed[0].created_at + timedelta(seconds=1)) == []


def test_counts_name_every_decision(store: Store) -> None:
    settle(store, {"a": Decision.ALLOW, "b": Decision.ALLOW, "c": Decision.REVIEW})
    assert store.verdicts.counts() == {Decision.ALLOW: 2, Decision.REVIEW: 1, Decision.BLOCK: 0}
    settle(store, {"a": Decision.BLOCK})
    assert store.verdicts.counts() == {Decision.ALLOW: 1, Decision.REVIEW: 1, Decision.BLOCK: 1}


def test_the_newest_of_each_image(store: Store) -> None:
    settle(store, {"a": Decision.ALLOW, "b": Decision.ALLOW})
    settle(store, {"a": Decision.BLOCK})
    latest = store.verdicts.latest(ids("a", "b", "unknown"))
    assert {name: verdict.decision for name, verdict in latest.items()} == {"a": Decision.BLOCK, "b": Decision.ALLOW}
    assert len(store.verdicts.list(image_id=ImageId("a"))) == 2


def test_a_shadows_verdict_is_not_the_images(store: Store) -> None:
    settle(store, {"a": Decision.ALLOW})
    with store.database.write() as session:
        seen = session.scalars(select(VerdictRow)).one()
        names = [column.name for column in VerdictRow.__table__.columns if column.name != "verdict_id"]
        copied = {name: getattr(seen, name) for name in names}
        session.add(VerdictRow(**{**copied, "shadow": True, "decision": Decision.BLOCK}))
    assert [verdict.decision for verdict in store.verdicts.list()] == [Decision.ALLOW]
    assert store.verdicts.latest(ids("a"))[ImageId("a")].decision is Decision.ALLOW
    assert store.verdicts.counts()[Decision.BLOCK] == 0
