"""Stored images scored again, on real SQL: batches under leases, the difference, and what applying does."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import select, update

from moderation.domain.claim import ScoredBy
from moderation.domain.evidence import Rule, Scope
from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.prompt import PromptId
from moderation.domain.rescore import RescoreBatch, RescoreRun, RescoreScope, RescoreState
from moderation.domain.review import Answer, Reason, Role
from moderation.domain.submission import ImageId, State
from moderation.domain.verdict import Decision
from moderation.errors import ConfigurationError, ImageRejected, ImageUnavailable, RejectReason
from moderation.flows.rescoring.backfill import Rescorer
from moderation.flows.rescoring.rescore import Comparer, apply, find_run
from moderation.flows.scanning.looker import Looker, Picture, Scores
from moderation.flows.scanning.turns import Gate, UnderWay
from moderation.images import Views
from moderation.storage.events import SYSTEM, By, Events
from moderation.storage.replay import Replay
from moderation.storage.rescoring.apply import Applying
from moderation.storage.rescoring.batches import RescoreBatches
from moderation.storage.rescoring.difference import Rescoring
from moderation.storage.rescoring.runs import Rescores
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.reviewing.tasks import ReviewTasks
from moderation.storage.tables import VerdictRow
from tests.moderated import answer, score
from tests.store import FACTS, LONG_S, OVER_S, Store, ids, numbered

AT = Thresholds(0.5, 0.9, audit_rate=0.0, block_check_rate=1.0)
ALL = RescoreScope()
ANN = By("ann", "a better prompt")
ALLOW, REVIEW, BLOCK = Decision
FAST = 100_000.0


@dataclass(frozen=True)
class Told:
    margin: float
    probability: float


@dataclass
class Lab:
    """A worker whose pictures and scores are as the test says: P(fake) by image, or the error that it raises."""

    store: Store
    by: ScoredBy
    rescores: Rescores
    batches: RescoreBatches
    rescorer: Rescorer
    found: dict[str, float | Exception] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def native_crops(self) -> int:
        return 0

    def fetch(self, image_id: ImageId, crops: int) -> Picture:
        self.fetched.append(image_id)
        value = self.found.get(image_id, 0.25)
        if isinstance(value, ImageRejected | ImageUnavailable):
            raise value
        if isinstance(value, Exception):
            value = -1.0
        facts = replace(FACTS, sha256="cd" * 32) if value > 1 else FACTS
        return Picture(facts, Views(np.full((1, 1, 1), value, np.float64)))

    def score_all(self, views: Sequence[Views], sources: Sequence[str], *, beside: bool = True) -> tuple[Scores, None]:
        assert not beside  # a shadow has no part in it
        values = [float(view.whole[0, 0, 0]) for view in views]
        self.sizes.append(len(values))
        if -1.0 in values:
            raise RuntimeError("the device hates this picture")
        return Scores(self.by, [Told(1.0, value) for value in values]), None

    def begin(self, scope: RescoreScope = ALL, rate: float = FAST) -> RescoreRun:
        return self.rescores.begin(PromptId(self.by.prompt_id), scope, rate=rate, by=ANN)

    def finish(self, run: RescoreRun) -> RescoreRun:
        """What bells and sweeps do, until the run has ended."""
        for _ in range(200):
            if not self.now(run).is_open:
                return self.now(run)
            try:
                self.rescorer.step(run.run_id)
            except RuntimeError:
                continue  # Celery logs it and goes on
        raise AssertionError(self.now(run))

    def now(self, run: RescoreRun) -> RescoreRun:
        return self.rescores.get(run.run_id)

    def take(self, run: RescoreRun, lease_s: float = LONG_S) -> RescoreBatch | None:
        return self.batches.take(run.run_id, batch_size=64, lease_s=lease_s)

    def comparer(self) -> Comparer:
        database = self.store.database
        return Comparer(Rescoring(database), self.store.policies, Reviews(database), Reviewers(database))

    def verdicts(self, *, shadow: bool) -> list[VerdictRow]:
        """Those of the prompt that scores again, by image."""
        query = select(VerdictRow).where(VerdictRow.prompt_id == self.by.prompt_id, VerdictRow.shadow.is_(shadow))
        with self.store.database.read() as session:
            return list(session.scalars(query.order_by(VerdictRow.image_id)))

    def events(self, kind: str) -> list[dict[str, object]]:
        return [dict(event.payload) for event in Events(self.store.database).list(kind=kind)][::-1]


def activate_another(store: Store, blob: bytes = b"a better prompt") -> ScoredBy:
    record = store.prompts.register(
        blob, name="better", backbone="tiny", backbone_revision="", question="Is this real?", metrics={}
    )
    store.prompts.activate(record.prompt_id)
    return ScoredBy(record.prompt_id, "tiny", {"preprocessing": "none"})


@contextmanager
def open_lab(store: Store, by: ScoredBy) -> Iterator[Lab]:
    def fetch(image_id: ImageId, crops: int) -> Picture:
        return made.fetch(image_id, crops)

    with ThreadPoolExecutor(4) as fetchers:
        looker = Looker(
            fetch=fetch,
            native_crops=lambda: 0,
            scorer=lambda: made,
            fetchers=fetchers,
            max_attempts=3,
            retry_base_s=0.0,
        )
        batches = RescoreBatches(store.database)
        rescorer = Rescorer(batches, store.policies, looker, Gate(), UnderWay(), 64, LONG_S)
        made = Lab(store, by, Rescores(store.database), batches, rescorer)
        yield made


@pytest.fixture
def lab(store: Store) -> Iterator[Lab]:
    """Forty images with verdicts of a prompt that is not active any more."""
    store.policies.set(ANY_SOURCE, AT, author="ann", reason="checks")
    score(store, dict.fromkeys(numbered(30), 0.1))
    score(store, dict.fromkeys(numbered(10, start=30), 0.95), source="web")
    with open_lab(store, activate_another(store)) as opened:
        yield opened


def test_scores_stand_beside_the_verdicts_and_decide_nothing(lab: Lab) -> None:
    before = lab.store.verdicts.list(limit=None)
    done = lab.finish(lab.begin())
    assert (done.state, done.images, done.scored, done.failed) == (RescoreState.DONE, 40, 40, 0)
    assert [row.image_id for row in lab.verdicts(shadow=True)] == list(numbered(40))
    assert {(row.decision, row.probability, row.round) for row in lab.verdicts(shadow=True)} == {("ALLOW", 0.25, 1)}
    assert lab.store.verdicts.list(limit=None) == before
    assert max(lab.sizes) <= 16
    assert [event["images"] for event in lab.events("rescore.begin") + lab.events("rescore.done")] == [40, 40]


def test_only_what_fits_and_lacks_a_score_is_scored(lab: Lab) -> None:
    lab.store.add("new")
    assert lab.begin(RescoreScope(source="web")).images == 10
    lab.finish(lab.rescores.list()[0])
    assert lab.begin().images == 30
    lab.finish(lab.rescores.list()[0])
    assert Counter(lab.fetched) == dict.fromkeys(numbered(40), 1)
    nothing = lab.begin(RescoreScope(decision=BLOCK))
    assert (nothing.images, nothing.state) == (0, RescoreState.DONE)
    score(lab.store, {"forced": 0.95}, source="web")
    lab.store.add("forced", force=True)
    assert lab.begin().images == 0


def test_a_worker_that_vanishes_is_replaced_and_its_late_scores_are_refused(lab: Lab) -> None:
    run = lab.begin()
    lab.rescorer.step(run.run_id)
    lost = lab.take(run, lease_s=OVER_S)
    assert lost is not None
    assert len(lost.images) == 16
    done = lab.finish(run)
    assert (done.state, done.scored) == (RescoreState.DONE, 40)
    assert Counter(lab.fetched) == dict.fromkeys(numbered(40), 1)
    assert lab.sizes[:1] + lab.sizes[1:17] == [16] + [1] * 16  # what it held comes one by one
    assert lab.batches.settle(lost, [], [], None) is None


def test_one_worker_at_a_time_and_doubled_bells_do_nothing(lab: Lab) -> None:
    run = lab.begin()
    held = lab.take(run)
    assert held is not None
    assert lab.take(run) is None
    lab.batches.renew([held.token], lease_s=LONG_S)
    assert lab.batches.owed(ring_again_s=0.0) == []
    lab.batches.give_back(held)
    assert lab.batches.owed(ring_again_s=LONG_S) == [run.run_id]
    assert lab.batches.owed(ring_again_s=LONG_S) == []
    assert lab.finish(run).scored == 40


def test_the_rate_is_kept_between_batches(lab: Lab) -> None:
    run = lab.begin(rate=4.0)
    delays = [lab.rescorer.step(run.run_id) for _ in range(2)]
    assert delays[0] == pytest.approx(1.0, abs=0.3)  # the second may begin a second early, and is counted then
    assert delays[1] == pytest.approx(2.0, abs=0.3)
    assert lab.rescorer.step(run.run_id) is None
    assert lab.now(run).scored == 8


def test_many_threads_score_each_image_once(lab: Lab) -> None:
    run = lab.begin()

    def ring() -> None:
        while lab.now(run).is_open:
            lab.rescorer.work(run.run_id)

    threads = [threading.Thread(target=ring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert lab.now(run).scored == 40
    assert Counter(lab.fetched) == dict.fromkeys(numbered(40), 1)


def test_what_can_not_be_scored_is_counted_with_its_reason_and_ends_nothing(lab: Lab) -> None:
    gone, away, other, hated = numbered(4, start=5)
    lab.found = {
        gone: ImageRejected(RejectReason.NOT_FOUND, "no such file"),
        away: ImageUnavailable("timed out"),
        other: 2.0,
        hated: RuntimeError(),
    }
    done = lab.finish(lab.begin())
    assert (done.state, done.scored, done.failed) == (RescoreState.DONE, 36, 4)
    told = dict(line.split(": ", 1) for line in done.failures)
    assert told[gone] == "not found (no such file)"
    assert told[away] == "timed out"
    assert told[other].startswith("other bytes than its verdict is about")
    assert told[hated] == "RuntimeError: the device hates this picture"
    assert lab.store.row(gone).state is State.DONE
    lab.found = {}
    assert lab.finish(lab.begin()).scored == 4  # a new run takes what lacks


def test_a_source_that_is_down_is_waited_for(lab: Lab) -> None:
    run = lab.begin()
    lab.found = dict.fromkeys(numbered(40), ImageUnavailable("connection refused"))
    assert lab.rescorer.step(run.run_id) == 0.0
    assert (lab.now(run).failed, lab.now(run).error) == (0, "no image can be had: connection refused")
    lab.found = {}
    done = lab.finish(run)
    assert (done.scored, done.failed, done.error) == (40, 0, "")


def test_another_active_prompt_ends_the_run_with_the_way_out(lab: Lab) -> None:
    run = lab.begin()
    lab.rescorer.step(run.run_id)
    activate_another(lab.store, b"the best prompt")
    assert lab.rescorer.step(run.run_id) is None
    ended = lab.now(run)
    assert ended.state is RescoreState.FAILED
    assert f"{lab.by.prompt_id}, whose scores it made, is not the active prompt any more" in ended.error
    assert "modctl rescore" in ended.error
    with pytest.raises(ConfigurationError, match="is not the active one of tiny any more"):
        lab.begin()


def test_a_worker_that_still_has_the_old_prompt_stores_nothing(lab: Lab) -> None:
    run = lab.begin()
    late = lab.by
    lab.by = replace(late, prompt_id=lab.store.by.prompt_id)
    assert lab.rescorer.step(run.run_id) == pytest.approx(2.0, abs=0.3)
    assert "still scores with" in lab.now(run).error
    lab.by = late
    assert lab.verdicts(shadow=True) == []
    assert (lab.now(run).scored, lab.now(run).failed) == (0, 0)


def test_there_is_one_run_at_a_time_and_a_cancelled_one_is_left_alone(lab: Lab) -> None:
    run = lab.begin()
    with pytest.raises(ConfigurationError, match=rf"run {run.run_id} is under way.*\n.*--watch.*cancel {run.run_id}"):
        lab.begin(RescoreScope(source="web"))
    held = lab.take(run)
    assert held is not None
    assert lab.rescores.cancel(run.run_id, ANN).state is RescoreState.CANCELLED
    assert lab.batches.settle(held, [], ["a: gone"], None) is None
    assert lab.take(run) is None
    with pytest.raises(ConfigurationError, match="is not under way, it is cancelled"):
        lab.rescores.cancel(run.run_id, ANN)
    assert len(lab.events("rescore.cancel")) == 1
    assert lab.begin().images == 40


def test_a_run_of_a_prompt_that_was_replaced_makes_room(lab: Lab) -> None:
    run = lab.begin()
    by = activate_another(lab.store, b"the best prompt")
    lab.by = by
    assert lab.begin().is_open
    assert lab.now(run).state is RescoreState.FAILED


def test_the_run_that_the_same_words_ask_for_is_picked_up(lab: Lab) -> None:
    prompt = PromptId(lab.by.prompt_id)
    web = RescoreScope(source="web")
    assert find_run(lab.rescores, prompt, web, to_apply=False) is None
    run = lab.begin(web)
    assert find_run(lab.rescores, prompt, web, to_apply=False) == lab.now(run)
    with pytest.raises(ConfigurationError, match=r"\(source web\) is under way"):
        find_run(lab.rescores, prompt, ALL, to_apply=False)
    lab.found = {numbered(1, start=30)[0]: ImageRejected(RejectReason.NOT_FOUND)}
    done = lab.finish(run)
    assert find_run(lab.rescores, prompt, web, to_apply=False) is None  # one lacks its score still
    assert find_run(lab.rescores, prompt, web, to_apply=True) == done
    lab.found = {}
    again = lab.finish(lab.begin(web))
    assert find_run(lab.rescores, prompt, web, to_apply=False) == again


def scored_otherwise(lab: Lab) -> RescoreRun:
    """Of the 30 allowed: 3 go to review, 2 are blocked. Of the 10 blocked: 1 is allowed."""
    lab.found = {**dict.fromkeys(numbered(3), 0.6), **dict.fromkeys(numbered(2, start=3), 0.97)}
    lab.found |= {**dict.fromkeys(numbered(10, start=30), 0.95), numbered(1, start=39)[0]: 0.05}
    return lab.finish(lab.begin())


def test_the_difference_is_told_before_anything_changes(lab: Lab) -> None:
    Reviewers(lab.store.database).save("eve", Role.SENIOR, is_trusted=True, token_sha256="", by=SYSTEM)
    answer(lab.store, {numbered(1, start=39)[0]: Answer.FAKE, numbered(1, start=38)[0]: Answer.REAL}, reviewer="eve")
    answer(lab.store, {numbered(1, start=37)[0]: Answer.REAL}, reviewer="ann")  # weak: does not count
    diff = lab.comparer().diff(scored_otherwise(lab), limit=4)
    assert (diff.images, diff.unscored, diff.changed) == (40, 0, 6)
    assert (diff.moves[ALLOW, REVIEW], diff.moves[ALLOW, BLOCK], diff.moves[BLOCK, ALLOW]) == (3, 2, 1)
    assert {name: sum(moves.values()) for name, moves in diff.by_source.items()} == {"default": 30, "web": 10}
    assert (diff.by_thresholds, diff.to_review) == (0, 3)
    assert [each.image_id for each in diff.moving] == [numbered(40)[at] for at in (39, 3, 4, 0)]
    assert (diff.moving[0].p_before, diff.moving[0].p_after, diff.moving[0].is_fake) == (0.95, 0.05, True)
    right = diff.reviewed
    assert (right.images, right.fakes, right.only_before, right.only_after, right.p_value) == (2, 1, 1, 0, 1.0)


def test_what_new_thresholds_change_is_told_apart(lab: Lab) -> None:
    run = lab.finish(lab.begin())  # all at 0.25
    lab.store.policies.set("web", Thresholds(0.2, 0.99), author="ann", reason="stricter")
    diff = lab.comparer().diff(run, limit=0)
    assert (diff.moves[BLOCK, REVIEW], diff.changed, diff.by_thresholds) == (10, 10, 10)
    assert diff.moving == []


def test_applying_gives_each_image_one_new_verdict_once(lab: Lab) -> None:
    run = scored_otherwise(lab)
    diff = lab.comparer().diff(run, limit=0)
    applying = Applying(lab.store.database)
    first = applying.apply_some(run.run_id, diff.pin, after="", by=ANN, limit=7)  # and then its process is killed
    assert (first.images, first.last) == (7, numbered(7)[-1])
    assert lab.now(run).state is RescoreState.DONE
    rest = apply(applying, lab.comparer().diff(run, limit=0), by=ANN)
    assert (rest.images, first.changed + rest.changed) == (33, 6)
    assert apply(applying, lab.comparer().diff(run, limit=0), by=ANN).images == 0
    new = lab.verdicts(shadow=False)
    assert [(row.image_id, row.round) for row in new] == [(name, 2) for name in numbered(40)]
    scores = {row.image_id: (row.margin, row.probability) for row in lab.verdicts(shadow=True)}
    assert {row.image_id: (row.margin, row.probability) for row in new} == scores
    latest = lab.store.verdicts.latest(ids(*numbered(40)))
    assert Counter(str(verdict.decision) for verdict in latest.values()) == {"ALLOW": 26, "BLOCK": 11, "REVIEW": 3}
    assert {(row.state, row.round) for row in lab.store.submissions.list(limit=None)} == {(State.DONE, 2)}
    assert (lab.now(run).state, lab.now(run).applied) == (RescoreState.APPLIED, 40)
    told = lab.events("rescore.apply")
    assert sum(int(str(event["images"])) for event in told) == 40
    assert told[0]["moves"] == {"ALLOW -> BLOCK": 2, "ALLOW -> REVIEW": 3, "ALLOW -> ALLOW": 2}
    assert lab.begin().images == 0


def test_the_load_of_a_day_is_not_that_of_the_hour_of_applying(lab: Lab) -> None:
    run = lab.finish(lab.begin())
    month = timedelta(days=30)
    with lab.store.database.write() as session:
        old = update(VerdictRow).where(VerdictRow.image_id < numbered(1, start=20)[0], VerdictRow.shadow.is_(False))
        session.execute(old.values(created_at=datetime.now(UTC) - month))
    apply(Applying(lab.store.database), lab.comparer().diff(run, limit=0), by=ANN)
    rule = Rule(AT)
    counted = Replay(lab.store.database).count(Scope(prompt_id=lab.by.prompt_id), rule, rule)
    assert sum(group.images for group in counted.groups) == 40
    assert counted.first is not None
    assert counted.last is not None
    assert abs(counted.last - counted.first - month) < timedelta(hours=1)


def test_people_are_asked_by_the_usual_draw_but_not_twice(lab: Lab) -> None:
    seen = numbered(1, start=35)[0]
    answer(lab.store, {seen: Answer.FAKE})
    tasks = ReviewTasks(lab.store.database)
    before = {task.image_id for task in tasks.list(limit=None)}
    assert before == set(numbered(10, start=30)) - {seen}
    apply(Applying(lab.store.database), lab.comparer().diff(scored_otherwise(lab), limit=0), by=ANN)
    opened = [task for task in tasks.list(limit=None) if task.image_id not in before]
    assert {(task.image_id, task.reason) for task in opened} == {
        *((name, Reason.UNSURE) for name in numbered(3)),
        *((name, Reason.BLOCK_CHECK) for name in numbered(2, start=3)),
    }
    numbers = {row.image_id: row.verdict_id for row in lab.verdicts(shadow=False)}
    assert all(task.verdict_id == numbers[task.image_id] for task in opened)


def test_images_that_moved_on_meanwhile_are_left_alone(lab: Lab) -> None:
    run = scored_otherwise(lab)
    diff = lab.comparer().diff(run, limit=0)
    pending, again = numbered(2)
    lab.store.add(pending, force=True)
    score(lab.store, {again: 0.99}, again=True)
    assert apply(Applying(lab.store.database), diff, by=ANN).images == 38
    assert (lab.store.row(pending).state, lab.store.row(pending).round) == (State.PENDING, 2)
    assert lab.store.verdicts.latest(ids(again))[ImageId(again)].probability == 0.99


def test_nothing_but_what_was_shown_is_applied(lab: Lab) -> None:
    run = lab.begin()
    applying = Applying(lab.store.database)
    with pytest.raises(ConfigurationError, match="is queued, so its scores are not complete"):
        apply(applying, lab.comparer().diff(run, limit=0), by=ANN)
    lab.finish(run)
    diff = lab.comparer().diff(run, limit=0)
    lab.store.policies.set("web", AT, author="ann", reason="the same, but another version")
    with pytest.raises(ConfigurationError, match="was changed since the difference was shown"):
        apply(applying, diff, by=ANN)
    activate_another(lab.store, b"the best prompt")
    with pytest.raises(ConfigurationError, match="is not the active prompt any more"):
        apply(applying, lab.comparer().diff(run, limit=0), by=ANN)
    assert lab.verdicts(shadow=False) == []
    assert lab.events("rescore.apply") == []


def test_after_a_rollback_the_old_prompt_scores_again(lab: Lab) -> None:
    apply(Applying(lab.store.database), lab.comparer().diff(scored_otherwise(lab), limit=0), by=ANN)
    lab.store.prompts.activate(PromptId(lab.store.by.prompt_id))
    lab.by = lab.store.by
    back = lab.finish(lab.begin())
    assert back.scored == 40
    assert lab.comparer().diff(back, limit=0).images == 40
