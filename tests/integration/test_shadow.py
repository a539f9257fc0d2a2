"""A shadow prompt: it scores the same batches from the same vision pass, decides nothing, and harms nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, update

from moderation.detector import Backbone, Crops, Detector, Score, SoftPrompt, load_backbone, vision_features
from moderation.domain.claim import ScoredBy, ShadowScore
from moderation.domain.evidence import Rule, Scope
from moderation.domain.policy import DEFAULT_THRESHOLDS, Thresholds, decide
from moderation.domain.prompt import PromptId, PromptRecord, PromptState
from moderation.domain.review import Answer
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.flows.registry.prompt import register
from moderation.flows.reviewing.evidence import Archive
from moderation.flows.scanning.active import ActivePrompt
from moderation.flows.scanning.loaded import LOOK_AGAIN_S
from moderation.flows.scanning.looker import Looker, Picture
from moderation.flows.scanning.scan import Scanner
from moderation.images import Views
from moderation.miniature import WORD_FILE
from moderation.storage.claims import Claims
from moderation.storage.dashboard import Dashboard
from moderation.storage.database import Database
from moderation.storage.drawn import Drawn
from moderation.storage.drift import Drift
from moderation.storage.policies import Policies
from moderation.storage.registry.prompts import Prompts
from moderation.storage.replay import Replay
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.submissions import Submissions
from moderation.storage.tables import PromptRow, ReviewTaskRow, VerdictRow
from moderation.storage.training.labels import Labels
from tests.moderated import answer, score
from tests.store import FACTS, Store, ids, numbered, open_database


class Watched(Prompts):
    """Says which blobs were read."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.read: list[str] = []

    def blob(self, prompt_id: PromptId) -> bytes:
        self.read.append(prompt_id)
        return super().blob(prompt_id)


@dataclasses.dataclass
class Clock:
    """Seconds that pass when the test says so."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("miniature", device="cpu", dtype="float32")


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with open_database(sqlite_url) as opened:
        Policies(opened).ensure_default()
        yield opened


@pytest.fixture
def prompts(database: Database) -> Watched:
    return Watched(database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def active(backbone: Backbone, prompts: Watched, clock: Clock) -> ActivePrompt:
    return ActivePrompt(backbone, prompts, {"device": "cpu"}, clock=clock)


def word(shift: float = 0.0, **changes: Any) -> SoftPrompt:
    """The shipped pseudo-word, which looks at wholes alone, with another calibration."""
    prompt = SoftPrompt.load(WORD_FILE)
    calibration = dataclasses.replace(prompt.calibration, bias=prompt.calibration.bias + shift)
    return dataclasses.replace(prompt, calibration=calibration, **changes)


def add(prompts: Prompts, prompt: SoftPrompt, state: PromptState, name: str = "") -> PromptRecord:
    record = register(prompts, prompt.to_bytes(), name=name or state)
    if state is PromptState.ACTIVE:
        prompts.activate(record.prompt_id)
    else:
        put(prompts, record.prompt_id, state=state)
    return record


def put(prompts: Prompts, prompt_id: str, **values: object) -> None:
    """Changes the prompt's row, whatever the registry would say to that."""
    with prompts._database.write() as session:
        session.execute(update(PromptRow).where(PromptRow.prompt_id == prompt_id).values(**values))


def pictures(backbone: Backbone, count: int, crops: int = 0) -> list[Views]:
    chance = np.random.default_rng(7)
    size = backbone.image_size
    return [
        Views(
            chance.integers(0, 256, (size, size, 3), dtype=np.uint8),
            chance.integers(0, 256, (crops, size, size, 3), dtype=np.uint8) if crops else None,
        )
        for _ in range(count)
    ]


def margins(results: Sequence[object]) -> list[float]:
    assert all(isinstance(each, Score) for each in results)
    return [each.margin for each in results if isinstance(each, Score)]


def errors(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.ERROR]


def test_the_shadow_sees_what_the_active_prompt_sees_in_one_vision_pass(
    prompts: Watched, backbone: Backbone, active: ActivePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []

    def counting(backbone: Backbone, pixels: Any) -> Any:
        passes.append(len(pixels))
        return vision_features(backbone, pixels)

    monkeypatch.setattr("moderation.detector.looks.vision_features", counting)
    decides = add(prompts, word(), PromptState.ACTIVE)
    other = word(2.0)
    beside = add(prompts, other, PromptState.SHADOW)
    views = pictures(backbone, 5)
    own, shadow = active.scorer().score_all(views, [""] * 5)
    assert passes == [5]
    assert shadow is not None
    assert (own.by.prompt_id, shadow.by.prompt_id) == (decides.prompt_id, beside.prompt_id)
    assert own.by.scored_at == shadow.by.scored_at is not None
    assert shadow.by.versions["calibration"] != own.by.versions["calibration"]
    assert margins(own.results) == pytest.approx(margins(Detector(backbone, word()).score(views)), abs=1e-5)
    assert margins(shadow.results) == pytest.approx(margins(Detector(backbone, other).score(views)), abs=1e-5)


def test_a_shadow_comes_and_goes_at_the_next_batch_and_is_read_once(
    prompts: Watched, active: ActivePrompt, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = add(prompts, word(), PromptState.ACTIVE)
    assert active.scorer().shadow is None
    second = add(prompts, word(1.0), PromptState.SHADOW)
    for _ in range(3):
        shadow = active.scorer().shadow
        assert shadow is not None
        assert shadow.by.prompt_id == second.prompt_id
    put(prompts, second.prompt_id, state=PromptState.CANDIDATE)
    assert active.scorer().shadow is None
    put(prompts, second.prompt_id, state=PromptState.SHADOW)
    active.scorer()
    prompts.activate(second.prompt_id)  # the shadow itself: it is loaded already
    scorer = active.scorer()
    assert (scorer.by.prompt_id, scorer.shadow) == (second.prompt_id, None)
    assert prompts.read == [first.prompt_id, second.prompt_id, second.prompt_id]
    said = [record.getMessage() for record in caplog.records]
    assert said.count(f"prompt {second.prompt_id} is the shadow") == 2
    assert said.count(f"prompt {second.prompt_id} is the shadow no more") == 2
    assert errors(caplog) == []


def test_pictures_come_with_the_crops_of_whichever_looks_closer(
    prompts: Watched, backbone: Backbone, active: ActivePrompt
) -> None:
    add(prompts, word(), PromptState.ACTIVE)
    add(prompts, word(crops=Crops(3, low=0.0, high=1.0)), PromptState.SHADOW)
    scorer = active.scorer()
    assert active.native_crops() == scorer.native_crops == 3
    own, shadow = scorer.score_all(pictures(backbone, 2, crops=3), ["", ""])
    assert shadow is not None
    assert (len(margins(own.results)), len(margins(shadow.results))) == (2, 2)


def test_a_shadow_that_can_not_be_loaded_is_told_once_and_taken_up_when_mended(
    prompts: Watched, active: ActivePrompt, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    good = add(prompts, word(), PromptState.ACTIVE)
    shadow = add(prompts, word(1.0), PromptState.SHADOW)
    put(prompts, shadow.prompt_id, blob=b"was changed")
    for _ in range(5):
        scorer = active.scorer()
        assert (scorer.by.prompt_id, scorer.shadow) == (good.prompt_id, None)
    (said,) = errors(caplog)
    assert said.startswith(f"shadow prompt {shadow.prompt_id} can't be used, scanning goes on without:")
    assert prompts.read == [good.prompt_id, shadow.prompt_id]
    put(prompts, shadow.prompt_id, blob=word(1.0).to_bytes())
    assert active.scorer().shadow is None
    clock.seconds += LOOK_AGAIN_S
    mended = active.scorer().shadow
    assert mended is not None
    assert mended.by.prompt_id == shadow.prompt_id
    assert len(errors(caplog)) == 1


def test_a_shadow_of_another_revision_is_refused_by_name(
    prompts: Watched, active: ActivePrompt, caplog: pytest.LogCaptureFixture
) -> None:
    add(prompts, word(), PromptState.ACTIVE)
    add(prompts, word(revision="0" * 64), PromptState.SHADOW)
    assert active.scorer().shadow is None
    assert "revision" in errors(caplog)[0]


def test_a_shadow_that_fails_leaves_the_active_scores_and_rests(
    prompts: Watched, backbone: Backbone, active: ActivePrompt, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    add(prompts, word(), PromptState.ACTIVE)
    shadow = add(prompts, word(crops=Crops(3, low=0.0, high=1.0)), PromptState.SHADOW)
    without_crops = pictures(backbone, 2)
    own, beside = active.scorer().score_all(without_crops, ["", ""])
    assert beside is None
    assert margins(own.results) == margins(Detector(backbone, word()).score(without_crops))
    (said,) = errors(caplog)
    assert said.startswith(f"shadow prompt {shadow.prompt_id} failed, scanning goes on without: ValueError: ")
    assert active.scorer().shadow is None
    clock.seconds += LOOK_AGAIN_S
    assert active.scorer().shadow is not None
    active.scorer().score_all(without_crops, ["", ""])
    assert len(errors(caplog)) == 1  # the same reason


def test_a_shadow_the_device_has_no_room_for_costs_no_image_its_score(
    prompts: Watched,
    backbone: Backbone,
    active: ActivePrompt,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(prompts, word(), PromptState.ACTIVE)
    add(prompts, word(1.0), PromptState.SHADOW)
    scorer = active.scorer()
    assert scorer.shadow is not None

    def full(_: object) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(scorer.shadow.detector, "margins", full)
    views = pictures(backbone, 3)
    own, beside = scorer.score_all(views, [""] * 3)
    assert beside is None
    assert margins(own.results) == margins(Detector(backbone, word()).score(views))
    assert "no room for it beside the active prompt" in errors(caplog)[0]


def test_an_active_prompt_that_can_not_be_used_is_told_once_and_read_again_after_a_while(
    prompts: Watched, active: ActivePrompt, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    good = add(prompts, word(), PromptState.ACTIVE, "good")
    active.scorer()
    bad = register(prompts, word(1.0).to_bytes(), name="bad")
    prompts.activate(bad.prompt_id)
    put(prompts, bad.prompt_id, blob=b"was changed")
    for _ in range(5):
        assert active.scorer().by.prompt_id == good.prompt_id
    (said,) = errors(caplog)
    assert said.startswith(f"prompt {bad.prompt_id} can't be used, {good.prompt_id} stays: prompt: the stored bytes of")
    assert prompts.read == [good.prompt_id, bad.prompt_id]
    clock.seconds += LOOK_AGAIN_S
    assert active.scorer().by.prompt_id == good.prompt_id
    assert prompts.read.count(bad.prompt_id) == 2
    put(prompts, bad.prompt_id, blob=word(1.0).to_bytes())
    clock.seconds += LOOK_AGAIN_S
    assert active.scorer().by.prompt_id == bad.prompt_id
    assert len(errors(caplog)) == 1


def test_the_last_good_prompt_is_not_its_own_shadow(prompts: Watched, active: ActivePrompt) -> None:
    good = add(prompts, word(), PromptState.ACTIVE, "good")
    active.scorer()
    add(prompts, word(revision="0" * 64), PromptState.ACTIVE, "bad")
    put(prompts, good.prompt_id, state=PromptState.SHADOW)
    scorer = active.scorer()
    assert (scorer.by.prompt_id, scorer.shadow) == (good.prompt_id, None)


@contextmanager
def scanning(database: Database, active: ActivePrompt, backbone: Backbone) -> Iterator[Scanner]:
    size = backbone.image_size

    def fetch(image_id: ImageId, _: int) -> Picture:
        chance = np.random.default_rng(int(image_id[-8:-4]))
        return Picture(FACTS, Views(chance.integers(0, 256, (size, size, 3), dtype=np.uint8)))

    with ThreadPoolExecutor(2) as fetchers:
        looker = Looker(fetch, active.native_crops, active.scorer, fetchers, max_attempts=3, retry_base_s=0.0)
        yield Scanner(Claims(database), Policies(database), looker, batch_size=64, lease_s=60.0)


def test_a_scan_stores_what_the_shadow_would_have_decided_and_acts_on_none_of_it(
    database: Database, prompts: Watched, active: ActivePrompt, backbone: Backbone
) -> None:
    """The active prompt allows all of them, its shadow would block all."""
    decides = add(prompts, word(-60.0), PromptState.ACTIVE)
    beside = add(prompts, word(+60.0), PromptState.SHADOW)
    names = ids(*numbered(12))
    Submissions(database).add(names, source="uploads", priority=0, force=False)
    with scanning(database, active, backbone) as scanner:
        report = scanner.scan(names)
    assert report is not None
    assert (report.images, report.scored) == (12, 12)
    with database.read() as session:
        rows = session.scalars(select(VerdictRow).order_by(VerdictRow.verdict_id)).all()
        tasks = session.scalars(select(ReviewTaskRow.reason)).all()
    by_kind = {shadow: [row for row in rows if row.shadow is shadow] for shadow in (False, True)}
    assert {row.prompt_id for row in by_kind[False]} == {decides.prompt_id}
    assert {row.prompt_id for row in by_kind[True]} == {beside.prompt_id}
    assert [row.image_id for row in by_kind[True]] == [row.image_id for row in by_kind[False]]
    assert {row.decision for row in by_kind[False]} == {Decision.ALLOW}
    assert {row.decision for row in by_kind[True]} == {Decision.BLOCK}
    for row, own in zip(by_kind[True], by_kind[False], strict=True):
        assert decide(row.probability, DEFAULT_THRESHOLDS) == row.decision
        assert (row.policy_id, row.round, row.source, row.image_sha256) == (
            own.policy_id, own.round, own.source, own.image_sha256,
        )  # fmt: skip
        assert row.margin == pytest.approx(own.margin)
        assert row.versions["calibration"] != own.versions["calibration"]
        assert row.scored_at == own.scored_at is not None
    assert set(tasks) <= {"audit"}  # the active prompt's draws; a shadow's BLOCK would be checked, too


def readers(store: Store) -> dict[str, Any]:
    """What everything says that reads verdicts."""
    long_ago = datetime.now(UTC) - timedelta(days=30)
    names = ids(*numbered(8))
    rule, other = Rule(DEFAULT_THRESHOLDS), Rule(Thresholds(0.2, 0.4))
    replay, drawn = Replay(store.database), Drawn(store.database)
    dashboard = Dashboard(store.database)
    archive = Archive(replay, drawn, Reviewers(store.database))
    moves = [(old, new) for old in Decision for new in Decision]
    evidence = archive.gather(Scope(), rule, other)
    return {
        "latest": store.verdicts.latest(names),
        "latest_with_id": [store.verdicts.latest_with_id(name) for name in names],
        "list": store.verdicts.list(limit=None),
        "of one": store.verdicts.list(image_id=names[0]),
        "blocked": store.verdicts.list(decision=Decision.BLOCK),
        "counts": store.verdicts.counts(),
        "newest prompt": (replay.newest_prompt(), replay.newest_prompt("default")),
        "replay": replay.count(Scope(), rule, other),
        "of the shadow": replay.count(Scope(prompt_id="shadow"), rule, other),
        "moving": [replay.moving(Scope(), rule, other, old=old, new=new, limit=9) for old, new in moves],
        "drawn": (drawn.list(Scope()), drawn.count(Scope())),
        "evidence": (evidence.scope, evidence.counted, evidence.drawn, evidence.labelled, evidence.kinds()),
        "by day": dashboard.decisions_by_day(long_ago),
        "scores": dashboard.scores(long_ago, 10),
        "drift": list(Drift(store.database).count(long_ago, long_ago, datetime.now(UTC) + timedelta(days=1))),
        "lessons": sorted(Labels(store.database).reviewed(), key=lambda each: each.image_id),
    }


def add_shadows(store: Store) -> int:
    """A newer verdict of a shadow for each one there is, as far from it as can be. Returns how many."""
    with store.database.write() as session:
        template = session.scalars(select(PromptRow).limit(1)).one()
        columns = {c.name: getattr(template, c.name) for c in PromptRow.__table__.columns}
        session.add(PromptRow(**{**columns, "prompt_id": "shadow", "state": "shadow", "sha256": "cd" * 32}))
        session.flush()
        rows = session.scalars(select(VerdictRow)).all()
        for row in rows:
            values = {c.name: getattr(row, c.name) for c in VerdictRow.__table__.columns if c.name != "verdict_id"}
            decision = Decision.ALLOW if row.decision == Decision.BLOCK else Decision.BLOCK
            strange = {"shadow": True, "prompt_id": "shadow", "decision": decision,
                       "probability": 1 - row.probability, "margin": -row.margin}  # fmt: skip
            session.add(VerdictRow(**{**values, **strange}))
        session.flush()
        return session.scalar(select(func.count()).where(VerdictRow.shadow.is_(True))) or 0


def test_nobody_who_reads_verdicts_sees_a_shadows(store: Store) -> None:
    store.policies.set("*", Thresholds(0.5, 0.9, audit_rate=1.0, block_check_rate=1.0), author="ann", reason="test")
    names = numbered(8)
    score(store, dict(zip(names, (0.1, 0.2, 0.45, 0.55, 0.7, 0.92, 0.95, 0.99), strict=True)))
    score(store, {names[0]: 0.15}, again=True)
    answer(store, {names[3]: Answer.FAKE, names[4]: Answer.REAL, names[6]: Answer.FAKE})
    before = readers(store)
    assert add_shadows(store) == 9
    after = readers(store)
    assert {name for name in before if before[name] != after[name]} == set()


def test_a_shadow_does_not_stand_in_the_way_of_the_same_prompts_own_verdict(store: Store) -> None:
    """Once it is active, it decides on images that it saw as a shadow."""
    store.add("a")
    claim = store.take("a")
    (image,) = claim.images
    other = store.prompts.register(
        b"another", name="other", backbone="tiny", backbone_revision="", question="Is this real?", metrics={}
    )
    by = dataclasses.replace(store.by, prompt_id=other.prompt_id)
    scored = dataclasses.replace(store.scored(image, 0.1), shadow=of_a_shadow(by))
    assert store.claims.settle(claim, [scored], store.by) == []
    store.add("a", force=True)
    store.claims.settle(again := store.take("a"), [store.scored(again.images[0], 0.8)], by)
    assert [(v.round, v.prompt_id, v.probability) for v in store.verdicts.list()] == [
        (2, other.prompt_id, 0.8),
        (1, store.by.prompt_id, 0.1),
    ]


def of_a_shadow(by: ScoredBy) -> ShadowScore:
    return ShadowScore(by, 1.0, 0.8, Decision.REVIEW)
