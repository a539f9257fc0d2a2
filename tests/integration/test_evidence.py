"""Evidence in SQL: which images count, with which chance they were drawn, and what they are labelled."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from moderation.domain.evidence import Kind, Rule, Scope
from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.review import Answer, Role, Trust
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.flows.reviewing.appeal import appeal
from moderation.flows.reviewing.evidence import Archive
from moderation.flows.reviewing.suggest import suggest
from moderation.flows.reviewing.threshold import estimate, preview
from moderation.storage.drawn import Drawn
from moderation.storage.events import By
from moderation.storage.replay import Replay
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.reviewing.tasks import ReviewTasks
from moderation.storage.tables import VerdictRow
from tests.moderated import answer, score
from tests.store import Store, numbered

ALL = Thresholds(0.5, 0.9, audit_rate=1.0, block_check_rate=1.0)
SOME = Thresholds(0.5, 0.9, audit_rate=0.5, block_check_rate=0.25)
NONE = Thresholds(0.5, 0.9)
OTHER = Thresholds(0.3, 0.6)


def archive(store: Store) -> Archive:
    database = store.database
    return Archive(Replay(database), Drawn(database), Reviewers(database))


def policy(store: Store, at: Thresholds, source: str = ANY_SOURCE) -> None:
    store.policies.set(source, at, author="ann", reason="for the test")


def counts(store: Store, scope: Scope = Scope(), rule: Rule = Rule(NONE)) -> dict[Decision, int]:  # noqa: B008 - frozen
    found = Replay(store.database).count(scope, rule, rule)
    return {each: sum(g.images for g in found.groups if g.after is each) for each in Decision}


def another_verdict(store: Store, name: str, **changes: object) -> None:
    """A newer verdict of this image, as its first with these changes."""
    with store.database.write() as session:
        first = session.scalars(select(VerdictRow).where(VerdictRow.image_id == name).limit(1)).one()
        values = {c.name: getattr(first, c.name) for c in VerdictRow.__table__.columns if c.name != "verdict_id"}
        session.add(VerdictRow(**{**values, **changes}))


def test_moves_are_counted_with_samples_and_review_load(store: Store) -> None:
    policy(store, SOME)
    score(store, {"low": 0.1, "slice/1": 0.4, "slice/2": 0.45, "mid": 0.55, "upper": 0.7, "high": 0.95})
    found = preview(archive(store), Scope(), SOME, Thresholds(0.3, 0.6, audit_rate=0.1, block_check_rate=0.25))
    moves = {(move.before, move.after): move.images for move in found.moves if move.images}
    allow, review, block = Decision
    assert moves == {
        (allow, allow): 1, (allow, review): 2, (review, review): 1, (review, block): 1, (block, block): 1,
    }  # fmt: skip
    samples = {(move.before, move.after): list(move.sample) for move in found.moves if move.sample}
    assert {key: sorted(ids) for key, ids in samples.items()} == {
        (allow, review): ["slice/1", "slice/2"], (review, block): ["upper"],
    }  # fmt: skip
    assert (found.images, found.days) == (6, 1.0)
    now, then = found.before.load_per_day, found.after.load_per_day
    assert (now.unsure, now.audit, now.block_check) == (2, 1.5, 0.25)
    assert (then.unsure, then.audit, then.block_check) == pytest.approx((3, 0.1, 0.5))


def test_an_image_counts_once_with_its_newest_verdict_that_is_no_shadows(store: Store) -> None:
    score(store, {"a": 0.1, "b": 0.1})
    score(store, {"a": 0.95}, again=True)
    another_verdict(store, "a", shadow=True, probability=0.6)
    prompt = Replay(store.database).newest_prompt()
    assert prompt == store.by.prompt_id
    for scope in (Scope(), Scope(prompt_id=prompt)):
        assert counts(store, scope) == {Decision.ALLOW: 1, Decision.REVIEW: 0, Decision.BLOCK: 1}
    old, new = Decision.ALLOW, Decision.REVIEW
    assert Replay(store.database).moving(Scope(), Rule(NONE), Rule(OTHER), old=old, new=new, limit=5) == []


def test_the_scope_is_that_of_the_newest_verdict(store: Store) -> None:
    score(store, {"a": 0.1}, source="web")
    score(store, {"b": 0.6, "c": 0.1}, source="app")
    with store.database.write() as session:
        early = store.database.now(session) - timedelta(days=9)
        session.execute(update(VerdictRow).where(VerdictRow.image_id == "c").values(created_at=early))
    assert sum(counts(store, Scope(source="web")).values()) == 1
    assert sum(counts(store, Scope(except_sources=("web",))).values()) == 2
    assert sum(counts(store, Scope(since=early + timedelta(days=1))).values()) == 2
    assert sum(counts(store, Scope(prompt_id="another")).values()) == 0
    found = Replay(store.database).count(Scope(source="app"), Rule(NONE), Rule(NONE))
    assert found.first == early
    assert found.last is not None
    assert found.last > early


def test_another_prompts_newer_verdict_takes_the_image_away(store: Store) -> None:
    score(store, {"a": 0.1, "b": 0.1})
    other = store.prompts.register(b"2", name="2", backbone="tiny", backbone_revision="", question="?", metrics={})
    another_verdict(store, "a", prompt_id=other.prompt_id, probability=0.95)
    assert sum(counts(store, Scope(prompt_id=store.by.prompt_id)).values()) == 1
    assert counts(store, Scope(prompt_id=other.prompt_id))[Decision.BLOCK] == 1
    assert Replay(store.database).newest_prompt() == other.prompt_id


def test_a_source_of_its_own_is_decided_by_its_own_thresholds(store: Store) -> None:
    score(store, {"a": 0.4}, source="avatars")
    score(store, {"b": 0.4}, source="forum")
    assert counts(store, Scope(), Rule(NONE, {"avatars": OTHER})) == {
        Decision.ALLOW: 1, Decision.REVIEW: 1, Decision.BLOCK: 0,
    }  # fmt: skip


def test_every_drawn_image_comes_with_its_chance_and_its_label(store: Store) -> None:
    policy(store, ALL)
    score(store, {"allow": 0.1, "review": 0.6, "block": 0.95, "open": 0.6, "unsure": 0.6})
    answer(store, {"allow": Answer.REAL, "review": Answer.FAKE, "block": Answer.FAKE, "unsure": Answer.UNSURE})
    found = archive(store).gather(Scope(), Rule(ALL), Rule(ALL))
    assert {each.image_id for each in Drawn(store.database).list(Scope())} == {
        "allow",
        "review",
        "block",
        "open",
        "unsure",
    }
    assert {(each.image.image_id, each.is_fake, each.trust) for each in found.labelled} == {
        ("allow", False, Trust.WEAK), ("review", True, Trust.WEAK), ("block", True, Trust.WEAK),
    }  # fmt: skip
    kinds = {each.kind: (each.images, each.drawn, each.labelled) for each in found.kinds()}
    assert kinds == {
        Kind(Decision.ALLOW, 1.0): (1, 1, 1),
        Kind(Decision.REVIEW, 1.0): (3, 3, 1),
        Kind(Decision.BLOCK, 1.0): (1, 1, 1),
    }


def test_a_disputed_label_does_not_count_until_it_is_settled(store: Store) -> None:
    score(store, {"a": 0.6})
    answer(store, {"a": Answer.REAL})
    appeal("a", by=By("user", "it is mine"), submissions=store.submissions, verdicts=store.verdicts,
           tasks=ReviewTasks(store.database))  # fmt: skip
    answer(store, {"a": Answer.FAKE}, reviewer="bob")
    assert archive(store).gather(Scope(), Rule(NONE), Rule(NONE)).labelled == []
    answer(store, {"a": Answer.FAKE}, reviewer="cid")  # the third look that the dispute opened
    (only,) = archive(store).gather(Scope(), Rule(NONE), Rule(NONE)).labelled
    assert (only.is_fake, only.trust) == (True, Trust.TRUSTED)


def test_an_appeal_alone_is_no_sample(store: Store) -> None:
    policy(store, NONE)
    score(store, {"a": 0.95})
    appeal("a", by=By("user", "it is mine"), submissions=store.submissions, verdicts=store.verdicts,
           tasks=ReviewTasks(store.database))  # fmt: skip
    answer(store, {"a": Answer.REAL})
    found = archive(store).gather(Scope(), Rule(NONE), Rule(NONE))
    assert (found.drawn, found.labelled) == ({}, [])


def test_an_appeals_answer_does_not_label_an_image_whose_drawn_task_is_open(store: Store) -> None:
    policy(store, ALL)
    score(store, {"a": 0.95})
    appeal("a", by=By("user", "it is mine"), submissions=store.submissions, verdicts=store.verdicts,
           tasks=ReviewTasks(store.database))  # fmt: skip
    answer(store, {"a": Answer.REAL})  # the appeal: it goes first
    assert archive(store).gather(Scope(), Rule(ALL), Rule(ALL)).labelled == []


def test_an_undone_answer_is_no_label(store: Store) -> None:
    score(store, {"a": 0.6})
    answer(store, {"a": Answer.REAL})
    Reviews(store.database).undo("ann", lease_s=60)
    found = archive(store).gather(Scope(), Rule(NONE), Rule(NONE))
    assert (found.drawn, found.labelled) == ({Kind(Decision.REVIEW, 1.0): 1}, [])


def test_scored_again_an_image_counts_by_its_newest_score_and_the_chance_of_any_draw(store: Store) -> None:
    policy(store, SOME)
    names = numbered(40)
    score(store, dict.fromkeys(names, 0.1))
    score(store, dict.fromkeys(names, 0.2), again=True)  # the same policy and reason: the same draw
    once = Drawn(store.database).list(Scope())
    assert 8 < len(once) < 32
    assert {(each.score, each.inclusion_probability) for each in once} == {(0.2, 0.5)}

    policy(store, Thresholds(0.5, 0.9, audit_rate=0.5, block_check_rate=0.2))
    score(store, dict.fromkeys(names, 0.95), again=True)
    twice = Drawn(store.database).list(Scope())
    assert len(twice) > len(once)
    assert {each.kind for each in twice} == {Kind(Decision.BLOCK, 0.2)}
    assert {round(each.inclusion_probability, 9) for each in twice} == {1 - 0.5 * 0.8}

    score(store, dict.fromkeys(names, 0.6), again=True)
    (chance,) = {each.inclusion_probability for each in Drawn(store.database).list(Scope())}
    assert chance == 1.0


def test_the_estimate_weighs_what_was_drawn_rarely(store: Store) -> None:
    """A hundred allowed images, half of them drawn: each stands for two, whoever looks at the queue."""
    policy(store, SOME)
    names = numbered(100)
    score(store, dict.fromkeys(names, 0.1))
    score(store, {"review/1": 0.6, "review/2": 0.6})
    drawn = [each.image_id for each in Drawn(store.database).list(Scope()) if each.decision is Decision.ALLOW]
    answer(store, {name: Answer.FAKE if at < 5 else Answer.REAL for at, name in enumerate(drawn)})
    answer(store, {"review/1": Answer.FAKE, "review/2": Answer.REAL})
    found = estimate(archive(store), Scope(), Rule(SOME))
    missed = 100 * 5 / len(drawn)
    assert found.prevalence is not None
    assert found.prevalence.value == pytest.approx((missed + 1) / 102)
    assert found.review_at.recall is not None
    assert found.review_at.recall.value == pytest.approx(1 / (missed + 1))
    assert found.review_at.precision is not None
    assert found.review_at.precision.value == 0.5


def test_a_threshold_is_certified_from_the_reviews(store: Store) -> None:
    policy(store, ALL)
    names = numbered(299)
    score(store, dict.fromkeys(names[:298], 0.2))
    answer(store, dict.fromkeys(names[:298], Answer.REAL))
    short = suggest(archive(store), Scope(), max_fpr=0.01, confidence=0.95)
    assert (short.certificate.threshold, short.certificate.more) == (None, 1)
    score(store, {names[298]: 0.2})
    answer(store, {names[298]: Answer.REAL})
    found = suggest(archive(store), Scope(), max_fpr=0.01, confidence=0.95)
    assert (found.certificate.threshold, found.certificate.real, found.flagged) == (0.201, 299, 0)
    assert found.certificate.method.startswith("exact binomial")


def test_unanswered_tasks_make_the_answered_ones_stand_for_more(store: Store) -> None:
    policy(store, ALL)
    names = numbered(400)
    score(store, dict.fromkeys(names, 0.2))
    score(store, {f"block/{number}": 0.95 for number in range(10)})
    answer(store, dict.fromkeys(names, Answer.REAL))
    answer(store, {"block/1": Answer.FAKE})
    found = suggest(archive(store), Scope(), max_fpr=0.01, confidence=0.95)
    assert found.certificate.method.startswith("betting")  # one of ten blocked: each weighs ten
    assert found.certificate.threshold is None


def test_the_proven_rate_weighs_each_kind_by_how_many_of_its_drawn_images_have_a_label(store: Store) -> None:
    policy(store, ALL)
    names = numbered(100)
    score(store, {**dict.fromkeys(names, 0.2), "review/1": 0.6, "review/2": 0.6})
    answer(store, dict.fromkeys([*names[:50], "review/1", "review/2"], Answer.REAL))
    proof = suggest(archive(store), Scope(), max_fpr=0.3, confidence=0.95).certificate
    assert (proof.threshold, proof.flagged, proof.real) == (0.201, 2, 52)
    assert proof.rate == pytest.approx(2 / 102)


def test_without_a_checked_block_no_threshold_is_certified(store: Store) -> None:
    policy(store, Thresholds(0.5, 0.9, audit_rate=1.0, block_check_rate=0.0))
    names = numbered(400)
    score(store, {**dict.fromkeys(names, 0.2), "block": 0.95})
    answer(store, dict.fromkeys(names, Answer.REAL))
    found = suggest(archive(store), Scope(), max_fpr=0.01, confidence=0.95)
    assert (found.certificate.threshold, found.certificate.is_blind) == (None, True)
    assert found.unseen == [Kind(Decision.BLOCK, 0.0)]


def test_the_word_of_a_trusted_reviewer_settles_a_label(store: Store) -> None:
    Reviewers(store.database).save("eve", Role.SENIOR, is_trusted=True, token_sha256="0" * 64, by=By("admin"))
    score(store, {"a": 0.6})
    answer(store, {"a": Answer.FAKE}, reviewer="eve")
    (only,) = archive(store).gather(Scope(), Rule(NONE), Rule(NONE)).labelled
    assert (only.image.image_id, only.trust) == (ImageId("a"), Trust.TRUSTED)
