"""Scan: from a bell to verdicts, on real SQL, with a scorer and pictures that do as the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete

from moderation.domain.claim import ScoredBy
from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.submission import MAX_CRASHES, ImageId, State
from moderation.domain.verdict import Decision
from moderation.embedded import Server
from moderation.errors import ConfigurationError, ImageRejected, ImageUnavailable, RejectReason, ServiceDown
from moderation.flows.scanning.looker import Looker, Picture, Scores
from moderation.flows.scanning.scan import Scanner
from moderation.images import Views
from moderation.storage.tables import PolicyRow
from tests.store import FACTS, LONG_S, Store, furnish, ids, numbered, open_database
from tests.waiting import GENEROUS_S
from workers import tasks

# Long enough for a slow machine; only a failing test waits so long.
POISON = 255


@dataclass(frozen=True)
class Told:
    """A score that the picture itself told."""

    margin: float
    probability: float


@dataclass
class FakeScorer:
    """The probability is the first pixel in percent. `before` runs while the device is held."""

    by: ScoredBy
    native_crops: int = 0
    before: Callable[[], None] = lambda: None
    batches: list[int] = field(default_factory=list)
    inside: int = 0
    most_inside: int = 0

    def score_all(
        self, views: Sequence[Views], sources: Sequence[str], *, beside: bool = True
    ) -> tuple[Scores, Scores | None]:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        assert len(sources) == len(views)
        self.batches.append(len(views))
        try:
            self.before()
            values = [int(view.whole[0, 0, 0]) for view in views]
            if POISON in values:
                raise RuntimeError("the device hates this picture")
            found = [Told(-value / 10, value / 100) if value else _unscored() for value in values]
            return Scores(self.by, found), None
        finally:
            self.inside -= 1


def _unscored() -> ImageRejected:
    return ImageRejected(RejectReason.NOT_A_NUMBER, "margin nan")


@dataclass
class FakeSource:
    """Pictures by id: a pixel value, or the error that fetching it raises. Unknown ids are plain pictures."""

    pictures: dict[str, int | Exception] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    crops: list[int] = field(default_factory=list)
    before: Callable[[ImageId], None] = lambda _: None

    def __call__(self, image_id: ImageId, native_crops: int) -> Picture:
        self.before(image_id)
        self.fetched.append(image_id)
        self.crops.append(native_crops)
        found = self.pictures.get(image_id, 10)
        if isinstance(found, Exception):
            raise found
        return Picture(FACTS, Views(np.full((4, 4, 3), found, np.uint8)))


@contextmanager
def scanning(
    store: Store,
    scorer: FakeScorer,
    source: FakeSource,
    *,
    native_crops: Callable[[], int] | None = None,
    **options: float,
) -> Iterator[Scanner]:
    settings: dict[str, Any] = {"batch_size": 8, "lease_s": LONG_S, "patience_s": GENEROUS_S}
    with ThreadPoolExecutor(4) as fetchers:
        looker = Looker(
            fetch=source,
            native_crops=native_crops or (lambda: scorer.native_crops),
            scorer=lambda: scorer,
            fetchers=fetchers,
            max_attempts=3,
            retry_base_s=0.0,
        )
        yield Scanner(claims=store.claims, policies=store.policies, looker=looker, **settings | options)


@pytest.fixture
def scorer(store: Store) -> FakeScorer:
    return FakeScorer(store.by)


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def scanner(store: Store, scorer: FakeScorer, source: FakeSource) -> Iterator[Scanner]:
    with scanning(store, scorer, source) as opened:
        yield opened


def work_off(scanner: Scanner, store: Store) -> None:
    """What a worker's sweep and its bells do, until nothing is pending."""
    for _ in range(50):
        store.claims.expire()
        plain, suspects = store.claims.owed(ring_again_s=0.0, limit=64, suspects_limit=64)
        for bell in ([plain] if plain else []) + [[name] for name in suspects]:
            try:
                scanner.scan(bell)
            except RuntimeError:
                continue  # Celery logs it and goes on
        if not store.submissions.list(state=State.PENDING):
            return
    raise AssertionError(store.submissions.list(state=State.PENDING))


def test_each_image_gets_what_it_deserves(store: Store, scanner: Scanner, source: FakeSource) -> None:
    source.pictures = {
        "allow": 10,
        "review": 50,
        "block": 90,
        "gone": ImageRejected(RejectReason.NOT_FOUND, "no such file"),
        "away": ImageUnavailable("timed out"),
        "strange": 0,
    }
    store.add(*source.pictures)
    report = scanner.scan(ids("allow"))
    assert report is not None
    assert (report.images, report.scored, report.rejected, report.postponed, report.refused) == (6, 3, 2, 1, 0)
    decisions = {verdict.image_id: verdict.decision for verdict in store.verdicts.list()}
    assert decisions == {"allow": Decision.ALLOW, "review": Decision.REVIEW, "block": Decision.BLOCK}
    assert (store.row("gone").reason, store.row("gone").detail) == ("not found", "no such file")
    assert (store.row("strange").reason, store.row("strange").detail) == ("score is not a number", "margin nan")
    assert (store.row("away").state, store.row("away").detail) == (State.PENDING, "timed out")
    (verdict,) = store.verdicts.list(decision=Decision.BLOCK)
    assert (verdict.probability, verdict.margin) == (0.9, -9.0)
    assert 0 < verdict.latency_ms < 30_000


def test_nothing_to_do_touches_neither_source_nor_device(
    store: Store, scanner: Scanner, scorer: FakeScorer, source: FakeSource
) -> None:
    store.add("done")
    scanner.scan(ids("done"))
    assert scanner.scan(ids("done")) is None
    assert scanner.scan(ids("unknown")) is None
    assert scanner.scan([]) is None
    assert (scorer.batches, source.fetched) == ([1], ["done"])


def test_a_single_bell_brings_a_full_batch(store: Store, scanner: Scanner, scorer: FakeScorer) -> None:
    store.add(*numbered(20))
    for name in numbered(20):
        scanner.scan(ids(name))
    assert scorer.batches == [8, 8, 4]


def test_a_bell_for_more_than_a_batch_brings_several(
    store: Store, scanner: Scanner, scorer: FakeScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.tasks.scanner", lambda: scanner)
    store.add(*numbered(20))
    tasks.scan(numbered(20))
    assert scorer.batches == [8, 8, 4]


def test_a_bell_that_sql_does_not_answer_is_left_to_the_sweep(
    store: Store, scanner: Scanner, scorer: FakeScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ServiceDown("the SQL database", "is away")

    monkeypatch.setattr("workers.tasks.scanner", lambda: scanner)
    scorer.before = fail
    store.add("a")
    tasks.scan(["a"])
    assert store.claims.owed(ring_again_s=LONG_S, limit=8, suspects_limit=8) == (["a"], [])


def test_a_source_has_its_own_policy(store: Store, scanner: Scanner, source: FakeSource) -> None:
    own = store.policies.set("avatars", Thresholds(review_at=0.05, block_at=0.1), author="ann", reason="children")
    source.pictures = {"avatar": 20, "post": 20}
    store.add("avatar", source="avatars")
    store.add("post", source="forum")
    scanner.scan(ids("avatar", "post"))
    verdicts = {verdict.image_id: verdict for verdict in store.verdicts.list()}
    assert (verdicts[ImageId("avatar")].decision, verdicts[ImageId("avatar")].policy_id) == (
        Decision.BLOCK,
        own.policy_id,
    )
    assert (verdicts[ImageId("post")].decision, verdicts[ImageId("post")].policy_id) == (
        Decision.ALLOW,
        store.policy_id,
    )


def test_a_changed_policy_holds_for_the_next_batch_and_rewrites_nothing(store: Store, scanner: Scanner) -> None:
    store.add("before")
    scanner.scan(ids("before"))
    store.policies.set(ANY_SOURCE, Thresholds(review_at=0.0, block_at=0.05), author="ann", reason="strict")
    store.add("after")
    scanner.scan(ids("after"))
    decisions = {verdict.image_id: verdict.decision for verdict in store.verdicts.list()}
    assert decisions == {"before": Decision.ALLOW, "after": Decision.BLOCK}


def test_an_image_that_can_not_be_had_is_tried_again_and_given_up(
    store: Store, scanner: Scanner, source: FakeSource
) -> None:
    source.pictures = {"away": ImageUnavailable("timed out")}
    store.add("away", "here")
    work_off(scanner, store)
    assert source.fetched.count("away") == scanner.looker.max_attempts
    row = store.row("away")
    assert (row.state, row.reason, row.attempts) == (State.FAILED, RejectReason.GAVE_UP, scanner.looker.max_attempts)
    assert row.detail == f"{scanner.looker.max_attempts} tries, the last: timed out"
    assert store.row("here").state is State.DONE


def test_an_image_that_comes_back_is_scored(store: Store, scanner: Scanner, source: FakeSource) -> None:
    source.pictures = {"away": ImageUnavailable("timed out")}
    store.add("away")
    scanner.scan(ids("away"))
    source.pictures = {}
    scanner.scan(ids("away"))
    row = store.row("away")
    assert (row.state, row.attempts, row.detail) == (State.DONE, 2, "")


def test_only_the_guilty_image_of_a_batch_fails(store: Store, scanner: Scanner, source: FakeSource) -> None:
    source.pictures = {"guilty": POISON}
    innocent = numbered(7)
    store.add("guilty", *innocent)
    with pytest.raises(RuntimeError, match="hates"):
        scanner.scan(ids("guilty"))
    assert store.submissions.counts()["done"] == 0
    work_off(scanner, store)
    row = store.row("guilty")
    assert (row.state, row.reason, row.crashes) == (State.FAILED, RejectReason.CRASHED, MAX_CRASHES)
    assert row.detail == "RuntimeError: the device hates this picture"
    assert {store.row(name).state for name in innocent} == {State.DONE}
    assert {verdict.image_id for verdict in store.verdicts.list()} == set(innocent)


def test_an_error_nobody_foresaw_while_fetching_is_that_images_alone(
    store: Store, scanner: Scanner, source: FakeSource
) -> None:
    source.pictures = {"guilty": ZeroDivisionError("a defect in a decoder")}
    store.add("guilty", "innocent")
    with pytest.raises(ZeroDivisionError):
        scanner.scan(ids("guilty"))
    source.pictures = {"guilty": RuntimeError("a defect in a decoder")}
    work_off(scanner, store)
    assert store.states() == {"guilty": State.FAILED, "innocent": State.DONE}


@pytest.mark.parametrize("error", [ConfigurationError("prompt", "is gone"), ServiceDown("the SQL database", "is away")])
def test_what_is_no_images_fault_is_held_against_none(
    store: Store, scanner: Scanner, scorer: FakeScorer, error: Exception
) -> None:
    def fail() -> None:
        raise error

    scorer.before = fail
    store.add(*numbered(3))
    with pytest.raises(type(error)):
        scanner.scan(ids(*numbered(3)))
    for name in numbered(3):
        row = store.row(name)
        assert (row.state, row.claimed, row.attempts, row.crashes) == (State.PENDING, False, 0, 0)


def test_a_missing_default_policy_is_held_against_no_image(store: Store, scanner: Scanner) -> None:
    with store.database.write() as session:
        session.execute(delete(PolicyRow))
    store.add("a")
    with pytest.raises(ConfigurationError, match="modctl db upgrade"):
        scanner.scan(ids("a"))
    store.policies.ensure_default()
    assert scanner.scan(ids("a")) is not None
    assert (store.row("a").state, store.row("a").crashes) == (State.DONE, 0)


def test_pictures_come_with_as_many_native_crops_as_the_prompt_looks_at(
    store: Store, scanner: Scanner, scorer: FakeScorer, source: FakeSource
) -> None:
    store.add("plain")
    scanner.scan(ids("plain"))
    scorer.native_crops = 3
    store.add("closer")
    scanner.scan(ids("closer"))
    assert list(zip(source.fetched, source.crops, strict=True)) == [("plain", 0), ("closer", 3)]


def test_a_prompt_that_wants_more_crops_and_comes_between_fetch_and_device_gets_them(
    store: Store, source: FakeSource
) -> None:
    before, after = FakeScorer(store.by), FakeScorer(store.by, native_crops=4)
    gone = {"gone": ImageRejected(RejectReason.NOT_FOUND, "no such file")}
    source.pictures = dict(gone)
    store.add("a", "gone")
    with scanning(store, after, source, native_crops=lambda: before.native_crops) as scanner:
        report = scanner.scan(ids("a"))
    assert report is not None
    assert (report.images, report.scored, report.rejected) == (2, 1, 1)
    assert sorted(zip(source.fetched, source.crops, strict=True)) == [("a", 0), ("a", 4), ("gone", 0)]
    assert (before.batches, after.batches) == ([], [1])


def test_what_is_gone_at_the_second_fetch_is_no_score_of_the_first(store: Store, source: FakeSource) -> None:
    def vanish(image_id: ImageId) -> None:
        if image_id in source.fetched:
            source.pictures[image_id] = ImageUnavailable("timed out")

    source.before = vanish
    store.add("a")
    with scanning(store, FakeScorer(store.by, native_crops=2), source, native_crops=lambda: 0) as scanner:
        report = scanner.scan(ids("a"))
    assert report is not None
    assert (report.scored, report.postponed) == (0, 1)
    assert store.verdicts.list() == []


def test_the_device_is_free_while_pictures_are_fetched_again(store: Store, source: FakeSource) -> None:
    held: list[bool] = []
    store.add("a")
    with scanning(store, FakeScorer(store.by, native_crops=2), source, native_crops=lambda: 0) as opened:
        source.before = lambda _: held.append(opened.looker.device.locked())
        opened.scan(ids("a"))
    assert held == [False, False]


def test_the_device_scores_one_batch_at_a_time_while_the_next_is_fetched(
    store: Store, scanner: Scanner, scorer: FakeScorer, source: FakeSource
) -> None:
    names = numbered(24)
    store.add(*names)
    everything_fetched = threading.Event()

    def count(_: ImageId) -> None:
        if len(source.fetched) >= 23:
            everything_fetched.set()

    source.before = count
    overlapped: list[bool] = []
    scorer.before = lambda: overlapped.append(everything_fetched.wait(GENEROUS_S))
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda start: scanner.scan(ids(*names[start : start + 8])), range(0, 24, 8)))
    assert overlapped == [True] * 3
    assert scorer.most_inside == 1
    assert sorted(scorer.batches) == [8, 8, 8]
    assert store.submissions.counts()["done"] == 24


def test_a_suspect_rides_alone(store: Store, scanner: Scanner, scorer: FakeScorer, source: FakeSource) -> None:
    store.add("suspect", "other")
    store.crash("suspect")
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert leave.wait(GENEROUS_S)

    scorer.before = hold
    with ThreadPoolExecutor(2) as threads:
        alone = threads.submit(scanner.scan, ids("suspect"))
        assert entered.wait(GENEROUS_S)
        beside = threads.submit(scanner.scan, ids("other"))
        with pytest.raises(TimeoutError):
            beside.result(timeout=0.3)
        assert source.fetched == ["suspect"]
        leave.set()
        assert alone.result(GENEROUS_S) is not None
        assert beside.result(GENEROUS_S) is not None
    assert scorer.batches == [1, 1]
    assert store.row("suspect").state is State.DONE


def test_the_claim_is_listed_while_it_is_worked_on(store: Store, scanner: Scanner, scorer: FakeScorer) -> None:
    listed: list[str] = []
    scorer.before = lambda: listed.extend(scanner.under_way.tokens())
    store.add("a")
    scanner.scan(ids("a"))
    assert len(listed) == 1
    assert scanner.under_way.tokens() == []


def test_a_batch_outlives_a_restart_of_postgresql(private_postgres: Server) -> None:
    with open_database(private_postgres.url) as database:
        store = furnish(database)
        scorer = FakeScorer(store.by)

        def crash() -> None:
            private_postgres.kill()
            threading.Timer(0.5, private_postgres.start).start()

        scorer.before = crash
        store.add(*numbered(5))
        with scanning(store, scorer, FakeSource()) as scanner:
            report = scanner.scan(ids(*numbered(5)))
        assert report is not None
        assert (report.scored, report.refused) == (5, 0)
        assert scorer.batches == [5]
        assert store.submissions.counts()["done"] == 5


def test_patience_has_an_end(private_postgres: Server) -> None:
    with open_database(private_postgres.url) as database:
        store = furnish(database)
        scorer = FakeScorer(store.by, before=private_postgres.kill)
        store.add("a")
        with (
            scanning(store, scorer, FakeSource(), patience_s=0.5, lease_s=1.0) as scanner,
            pytest.raises(ServiceDown),
        ):
            scanner.scan(ids("a"))
        private_postgres.start()
        assert store.row("a").claimed  # until its lease ends
