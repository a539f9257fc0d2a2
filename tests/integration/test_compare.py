"""modctl prompt compare: which scores are paired, which labels count, and what is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from moderation.domain.claim import ScoredBy, ShadowScore
from moderation.domain.evidence import Rule
from moderation.domain.image import ImageFacts
from moderation.domain.policy import DEFAULT_THRESHOLDS, Thresholds, decide
from moderation.domain.prompt import PromptId
from moderation.domain.review import Answer, Role
from moderation.domain.sampling import draw
from moderation.domain.side_by_side import Better, Pair
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.errors import ConfigurationError
from moderation.flows.registry.compare import Asked, Compared, Comparer
from moderation.storage.drawn import Drawn
from moderation.storage.events import By
from moderation.storage.policies import for_sources
from moderation.storage.registry.states import PromptStates
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.side_by_side import SideBySide
from moderation.storage.tables import VerdictRow
from tests.command import modctl, ok, refusal
from tests.moderated import answer
from tests.store import FACTS, Store, empty, furnish, numbered

ALL = Thresholds(0.5, 0.9, audit_rate=1.0, block_check_rate=1.0)
RULE = Rule(DEFAULT_THRESHOLDS)


def second_prompt(store: Store) -> PromptId:
    """Registered, and the shadow."""
    record = store.prompts.register(
        b"another", name="other", backbone="tiny", backbone_revision="", question="Is this real?", metrics={}
    )
    PromptStates(store.database).set_shadow(record.prompt_id)
    return record.prompt_id


def score(
    store: Store,
    scores: Mapping[str, tuple[float, float | None]],
    second: PromptId | None,
    *,
    source: str = "web",
    facts: ImageFacts = FACTS,
) -> None:
    """A batch that the active prompt scores, and the shadow beside it where it has a score."""
    policy = for_sources(store.policies.current(), [source])[source]
    store.add(*scores, source=source, force=True)
    claim = store.take(*scores, limit=len(scores))
    outcomes = []
    for image in claim.images:
        first, other = scores[image.image_id]
        decision = decide(first, policy.thresholds)
        drawn = draw(image.image_id, decision, first, policy)
        scored = dataclasses.replace(
            store.scored(image, first), decision=decision, policy_id=policy.policy_id, drawn=drawn, facts=facts
        )
        if second is not None and other is not None:
            by = ScoredBy(second, "tiny", {})
            scored = dataclasses.replace(scored, shadow=ShadowScore(by, 0.0, other, Decision.ALLOW))
        outcomes.append(scored)
    assert store.claims.settle(claim, outcomes, store.by) == []


def compared(store: Store, second: PromptId, rule: Rule = RULE, asked: Asked = Asked()) -> Compared:  # noqa: B008 - frozen
    comparer = Comparer(
        SideBySide(store.database), Drawn(store.database), Reviews(store.database), Reviewers(store.database)
    )
    return comparer.compare(PromptId(store.by.prompt_id), second, rule, asked)


def test_pairs_are_of_the_same_bytes_and_of_each_prompts_newest_score(store: Store) -> None:
    second = second_prompt(store)
    other_bytes = dataclasses.replace(FACTS, sha256="cd" * 32)
    score(store, {"both": (0.1, 0.2), "alone": (0.3, None), "later": (0.5, 0.6), "changed": (0.1, 0.9)}, second)
    score(store, {"later": (0.7, 0.8)}, second)  # a second round
    score(store, {"changed": (0.2, None)}, second, facts=other_bytes)  # the shadow never saw these bytes
    score(store, {"elsewhere": (0.4, 0.4)}, second, source="app")
    side_by_side = SideBySide(store.database)
    found = {pair.image_id: pair for pair in side_by_side.pairs(store.by.prompt_id, second)}
    assert {name: (pair.first, pair.second) for name, pair in found.items()} == {
        "both": (0.1, 0.2),
        "later": (0.7, 0.8),
        "changed": (0.1, 0.9),
        "elsewhere": (0.4, 0.4),
    }
    assert side_by_side.pairs(store.by.prompt_id, second, source="app") == [
        Pair(ImageId("elsewhere"), "app", 0.4, 0.4, FACTS.sha256)
    ]
    swapped = side_by_side.pairs(second, store.by.prompt_id)
    assert {pair.image_id: pair.first for pair in swapped} == {name: pair.second for name, pair in found.items()}
    score(store, {"changed": (0.3, 0.4)}, second, facts=other_bytes)
    assert [p.second for p in side_by_side.pairs(store.by.prompt_id, second) if p.image_id == "changed"] == [0.4]


def test_since_is_when_both_scored(store: Store) -> None:
    second = second_prompt(store)
    score(store, {"old": (0.1, 0.2), "new": (0.1, 0.2)}, second)
    now = datetime.now(UTC)
    with store.database.write() as session:
        is_old = (VerdictRow.image_id == "old") & VerdictRow.shadow.is_(False)
        session.execute(update(VerdictRow).where(is_old).values(created_at=now - timedelta(days=9)))
    found = SideBySide(store.database).pairs(store.by.prompt_id, second, since=now - timedelta(days=1))
    assert [pair.image_id for pair in found] == ["new"]


def test_a_prompt_that_decides_now_is_compared_with_what_it_replaced(store: Store) -> None:
    """Scores that decided and scores of a shadow are the same scores."""
    second = second_prompt(store)
    score(store, {"a": (0.2, 0.7)}, second)
    store.prompts.activate(second)
    store.add("a", force=True)
    claim = store.take("a")
    store.claims.settle(claim, [store.scored(claim.images[0], 0.75)], ScoredBy(second, "tiny", {}))
    (pair,) = SideBySide(store.database).pairs(store.by.prompt_id, second)
    assert (pair.first, pair.second) == (0.2, 0.75)


def test_who_was_right_goes_by_trusted_labels_and_todays_thresholds(store: Store) -> None:
    store.policies.set("*", ALL, author="ann", reason="test")
    second = second_prompt(store)
    names = numbered(10)
    score(store, dict.fromkeys(names, (0.6, 0.4)), second)
    answer(store, dict.fromkeys(names, Answer.REAL))
    weak = compared(store, second)
    assert (weak.images, weak.reviewed.images, weak.weak_left_out, weak.first_auc) == (10, 0, 10, None)
    with_weak = compared(store, second, asked=Asked(include_weak=True))
    assert (with_weak.reviewed.images, with_weak.weak, with_weak.weak_left_out) == (10, 10, 0)
    Reviewers(store.database).save("ann", Role.REVIEWER, is_trusted=True, token_sha256="ab" * 32, by=By("root"))
    trusted = compared(store, second)
    assert (trusted.reviewed.only_first, trusted.reviewed.only_second) == (0, 10)
    assert trusted.reviewed.better is Better.SECOND
    assert (trusted.reviewed.second.right, trusted.reviewed.first.right) == (10, 0)
    laxer = compared(store, second, Rule(Thresholds(0.7, 0.9)))
    assert (laxer.reviewed.only_second, laxer.reviewed.better) == (0, Better.UNKNOWN)
    assert laxer.alike.right == 10


def test_a_label_is_of_the_bytes_that_were_looked_at(store: Store) -> None:
    store.policies.set("*", ALL, author="ann", reason="test")
    second = second_prompt(store)
    score(store, {"a": (0.6, 0.4)}, second)
    answer(store, {"a": Answer.REAL})
    score(store, {"a": (0.7, 0.8)}, second, facts=dataclasses.replace(FACTS, sha256="cd" * 32))
    found = compared(store, second, asked=Asked(include_weak=True))
    assert (found.images, found.reviewed.images) == (1, 0)
    answer(store, {"a": Answer.FAKE})
    found = compared(store, second, asked=Asked(include_weak=True))
    assert (found.reviewed.images, found.reviewed.fakes) == (1, 1)


def test_an_auc_needs_both_classes(store: Store) -> None:
    store.policies.set("*", ALL, author="ann", reason="test")
    second = second_prompt(store)
    names = numbered(4)
    score(store, dict(zip(names, ((0.1, 0.3), (0.2, 0.1), (0.7, 0.2), (0.15, 0.9)), strict=True)), second)
    truths = (Answer.REAL, Answer.REAL, Answer.FAKE, Answer.FAKE)
    answer(store, dict(zip(names, truths, strict=True)))
    found = compared(store, second, asked=Asked(include_weak=True))
    assert (found.first_auc, found.second_auc) == (0.75, 0.75)


def test_a_prompt_is_not_compared_with_itself(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="compared with itself"):
        compared(store, PromptId(store.by.prompt_id))


@pytest.fixture
def on_sqlite(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MODERATION_DATABASE_URL", str(sqlite_store.database.url))
    return sqlite_store


@pytest.fixture
def sqlite_store(request: pytest.FixtureRequest) -> Store:
    database = request.getfixturevalue("sqlite_database")
    empty(database)
    return furnish(database)


def test_modctl_tells_it_at_80_columns_and_as_json(on_sqlite: Store) -> None:
    store = on_sqlite
    said = refusal(modctl("prompt", "compare"))
    assert "there is no shadow to compare" in said
    store.policies.set("*", ALL, author="ann", reason="test")
    second = second_prompt(store)
    done = ok("prompt", "compare")
    assert done.out == "No image was scored by both yet.\n"
    assert "The shadow scores from the next batch on" in done.err

    names = numbered(8)
    scores = [(0.1, 0.2), (0.2, 0.1), (0.6, 0.3), (0.7, 0.8), (0.95, 0.96), (0.4, 0.55), (0.1, 0.1), (0.3, 0.97)]
    score(store, dict(zip(names, scores, strict=True)), second)
    answer(store, {names[0]: Answer.REAL, names[2]: Answer.REAL, names[7]: Answer.FAKE})
    done = ok("prompt", "compare", store.by.prompt_id[:6], second[:6], "--include-weak", "--limit", 2)
    out = done.out
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("8 images scored by both")
    assert "same decision  62.5 %" in out
    assert "3 images with a label (1 fake, 3 by one person's word)" in out
    assert "too few to say (exact McNemar p = 0.5)" in out
    assert names[7] in out
    assert out.count("uploads/") == 2
    assert "the same, of all images" in out
    assert "nobody was asked about" in done.err
    found = ok("prompt", "compare", "--json").json()
    assert (found["first"], found["second"], found["images"]) == (store.by.prompt_id, second, 8)
    assert found["decisions"]["ALLOW"]["BLOCK"] == 1
    assert found["alike"]["right"] == 5
    assert found["reviewed"]["images"] == 0
    assert found["weak_left_out"] == 3
    assert ok("prompt", "compare", "--source", "nowhere").out == "No image was scored by both that fits.\n"
    assert "not a registered id" in refusal(modctl("prompt", "compare", "zz", second))
