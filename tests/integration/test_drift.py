"""Drift in SQL: what is compared, what raises an alarm, and that one worker looks for all."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from moderation.domain.drift import MIN_IMAGES, DriftReport, SourceDrift
from moderation.domain.drift_limits import ALL_SOURCES, Limits, Measure, remedy
from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.review import Answer, Role
from moderation.domain.verdict import Decision
from moderation.flows.reviewing.evidence import Archive
from moderation.flows.watching.drift import DriftWatch
from moderation.flows.watching.turn import look_in_turn
from moderation.storage.chores import Chores
from moderation.storage.drawn import Drawn
from moderation.storage.drift import Drift
from moderation.storage.events import By, Events
from moderation.storage.replay import Replay
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.tables import ChoreRow, EventRow, SubmissionRow, VerdictRow
from tests.command import modctl, ok, refusal
from tests.moderated import answer, score
from tests.store import Store

LIMITS: Limits = {
    Measure.PSI: 0.25,
    Measure.KS: 0.2,
    Measure.FLAGGED: 0.1,
    Measure.OVERTURNED: 0.2,
    Measure.ERROR: 0.1,
}
ALL_DRAWN = Thresholds(0.5, 0.9, audit_rate=1.0, block_check_rate=1.0)
LONG_AGO, JUST_NOW = 10.0, 1.0  # days


def watch(store: Store, limits: Limits = LIMITS) -> DriftWatch:
    database = store.database
    archive = Archive(Replay(database), Drawn(database), Reviewers(database))
    return DriftWatch(Drift(database), archive, store.prompts, store.policies, "tiny", limits)


def look(store: Store, **more: Any) -> dict[str, SourceDrift]:
    return {each.source: each for each in watch(store).look(**more).sources}


def write(
    store: Store, days: float, probabilities: list[float], *, source: str = "web", name: str = "", **more: Any
) -> None:
    """Verdicts of so many days ago, written as a worker's would stand there."""
    when = datetime.now(UTC) - timedelta(days=days)
    label = name or f"{source}/{days:g}"
    submission = {
        "source": source, "uploader": "", "priority": 0, "state": "done", "round": 1, "attempts": 1, "crashes": 0,
        "not_before": when, "submitted_at": when, "finished_at": when, "reason": "", "detail": "",
    }  # fmt: skip
    verdict = {
        "round": 1, "prompt_id": store.by.prompt_id, "policy_id": store.policy_id, "shadow": False, "source": source,
        "margin": 0.0, "image_sha256": "ab" * 32, "backbone": "tiny", "versions": {}, "latency_ms": 5.0,
        "created_at": when, **more,
    }  # fmt: skip
    ids = [f"{label}/{number:05}" for number in range(len(probabilities))]
    with store.database.write() as session:
        known = more.get("round", 1) > 1 or more.get("shadow", False)
        if not known:
            session.execute(insert(SubmissionRow), [{"image_id": image_id, **submission} for image_id in ids])
        rows = [
            {"image_id": image_id, "probability": p, "decision": _decision(p), **verdict}
            for image_id, p in zip(ids, probabilities, strict=True)
        ]
        session.execute(insert(VerdictRow), rows)


def _decision(p: float) -> Decision:
    return Decision.BLOCK if p >= 0.9 else Decision.REVIEW if p >= 0.5 else Decision.ALLOW


def usual(seed: int, count: int = 400) -> list[float]:
    """Scores as on any day: few of them flagged."""
    chance = random.Random(seed)
    return [chance.betavariate(0.5, 3.0) for _ in range(count)]


def higher(seed: int, count: int = 400) -> list[float]:
    """Scores of another kind of picture."""
    chance = random.Random(seed)
    return [chance.betavariate(2.0, 2.0) for _ in range(count)]


def measures(found: SourceDrift) -> set[Measure]:
    return {broken.measure for broken in found.broken}


def test_the_same_kind_of_pictures_raises_no_alarm(store: Store) -> None:
    write(store, LONG_AGO, usual(1))
    write(store, JUST_NOW, usual(2))
    found = look(store)
    assert set(found) == {ALL_SOURCES, "web"}
    web = found["web"]
    assert (web.images, web.images_before, web.compared, web.compared_before) == (400, 400, 400, 400)
    assert web.comparison is not None
    assert web.comparison.psi.value < 0.1
    assert web.comparison.ks.value < 0.1
    assert (web.broken, web.notes) == ((), ())


def test_a_source_that_changed_is_named_and_the_others_are_not(store: Store) -> None:
    write(store, LONG_AGO, usual(1))
    write(store, JUST_NOW, higher(2))
    write(store, LONG_AGO, usual(3), source="app")
    write(store, JUST_NOW, usual(4), source="app")
    found = look(store)
    assert measures(found["web"]) == {Measure.PSI, Measure.KS, Measure.FLAGGED}
    assert measures(found["app"]) == set()
    comparison = found["web"].comparison
    assert comparison is not None
    assert comparison.flagged.count == sum(p >= 0.5 for p in higher(2))
    assert comparison.flagged_before.count == sum(p >= 0.5 for p in usual(1))
    assert comparison.flagged_change.value > 0.2
    (psi,) = [broken for broken in found["web"].broken if broken.measure is Measure.PSI]
    assert psi.setting == "MODERATION_DRIFT_MAX_PSI"
    assert "--source web" in psi.remedy
    assert set(look(store, source="app")) == {"app"}


def test_too_few_images_say_nothing_whatever_they_are(store: Store) -> None:
    write(store, LONG_AGO, usual(1))
    write(store, JUST_NOW, [0.99] * (MIN_IMAGES - 1))
    found = look(store)["web"]
    assert found.comparison is None
    assert found.broken == ()
    assert f"{MIN_IMAGES - 1} images in the window, 400 before it; {MIN_IMAGES} each are needed" in found.notes[0]


def test_a_limit_below_the_noise_raises_no_alarm_by_noise(store: Store) -> None:
    write(store, LONG_AGO, usual(1))
    write(store, JUST_NOW, usual(2))
    tight = {**LIMITS, Measure.PSI: 1e-4, Measure.KS: 1e-4, Measure.FLAGGED: 1e-4}
    assert watch(store, tight).look().broken == ()


def test_an_alarm_of_the_only_source_is_told_once(store: Store) -> None:
    write(store, LONG_AGO, usual(1))
    write(store, JUST_NOW, higher(2))
    assert {broken.source for broken in watch(store).look().broken} == {"web"}


def test_shadows_and_second_scores_do_not_count(store: Store) -> None:
    write(store, LONG_AGO, usual(1))
    write(store, JUST_NOW, usual(2))
    write(store, 0.5, [0.99] * 400, name="web/10", round=2)  # the baseline's images, scored again
    write(store, 0.5, [0.99] * 400, name="web/1", shadow=True)
    found = look(store)["web"]
    assert (found.images, found.images_before) == (400, 400)
    assert found.broken == ()


def test_scores_of_another_prompt_are_left_out_and_that_is_said(store: Store) -> None:
    old = store.prompts.register(
        b"the old one", name="old", backbone="tiny", backbone_revision="", question="Is this real?", metrics={}
    )
    write(store, LONG_AGO, higher(1), prompt_id=old.prompt_id)
    write(store, LONG_AGO + 1, usual(2))
    write(store, JUST_NOW, usual(3))
    found = look(store)["web"]
    assert (found.images_before, found.compared_before) == (800, 400)
    assert found.comparison is not None
    assert found.broken == ()
    assert found.notes == ("the prompt changed within the spans: 400 images by other prompts are left out",)
    store.prompts.activate(old.prompt_id)
    found = look(store)["web"]
    assert found.comparison is None
    assert "0 images in the window, 400 before it by the active prompt" in found.notes[0]


def test_a_new_review_threshold_is_said_and_raises_no_alarm(store: Store) -> None:
    write(store, LONG_AGO, usual(1))
    version = store.policies.set(ANY_SOURCE, Thresholds(0.1, 0.9), author="ann", reason="more eyes").policy_id
    write(store, JUST_NOW, usual(2), policy_id=version, decision=Decision.REVIEW)
    found = look(store)["web"]
    assert found.comparison is not None
    assert found.comparison.flagged_change.value > 0.5
    assert found.broken == ()
    assert "review_at changed" in found.notes[0]


def test_weak_labels_overturn_nothing_but_count_in_the_estimate(store: Store) -> None:
    store.policies.set(ANY_SOURCE, ALL_DRAWN, author="ann", reason="look at all")
    probabilities = {f"{kind}{n}": p for kind, p in (("a", 0.1), ("r", 0.7), ("b", 0.95)) for n in range(12)}
    score(store, probabilities, source="web")
    answer(store, dict.fromkeys(probabilities, Answer.REAL))
    found = look(store)["web"]
    assert found.overturned.all is None  # one answer alone is weak
    assert found.error is not None  # the estimate takes weak labels too
    assert found.error.value == pytest.approx(1 / 3)
    assert found.error.low > LIMITS[Measure.ERROR]
    assert measures(found) == {Measure.ERROR}


def test_only_what_the_machine_decided_alone_can_be_overturned(store: Store) -> None:
    store.policies.set(ANY_SOURCE, ALL_DRAWN, author="ann", reason="look at all")
    Reviewers(store.database).save("ann", Role.SENIOR, is_trusted=True, token_sha256="", by=By("root"))
    score(store, {f"r{n}": 0.7 for n in range(30)}, source="web")
    answer(store, {f"r{n}": Answer.REAL for n in range(30)})
    found = look(store)["web"]
    assert found.overturned.by_decision[Decision.REVIEW].count == 30
    assert found.overturned.alone is None
    assert found.broken == ()
    score(store, {f"b{n}": 0.95 for n in range(30)}, source="web")
    answer(store, {f"b{n}": Answer.REAL if n < 15 else Answer.FAKE for n in range(30)})
    found = look(store)["web"]
    assert found.overturned.alone is not None
    assert (found.overturned.alone.count, found.overturned.alone.of) == (15, 30)
    assert found.overturned.alone.low == pytest.approx(0.332, abs=0.001)  # Wilson
    assert measures(found) == {Measure.OVERTURNED, Measure.ERROR}


def take(store: Store, worker: str = "w1", limits: Limits = LIMITS) -> DriftReport | None:
    return look_in_turn(watch(store, limits), Chores(store.database), every=timedelta(hours=1), worker=worker)


def an_hour_passes(store: Store, hours: float = 1.0) -> None:
    with store.database.write() as session:
        for row in session.query(ChoreRow):
            row.taken_at -= timedelta(hours=hours)
        for event in session.query(EventRow):
            event.created_at -= timedelta(hours=hours)


def kinds(store: Store) -> list[str]:
    return [event.kind for event in reversed(Events(store.database).list(limit=None)) if "drift" in event.kind]


def test_one_of_all_workers_looks(store: Store) -> None:
    write(store, LONG_AGO, usual(1))
    write(store, JUST_NOW, usual(2))
    barrier = threading.Barrier(6)
    reports: list[DriftReport | None] = []

    def worker(number: int) -> None:
        barrier.wait()
        reports.append(take(store, f"w{number}"))

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report is not None for report in reports) == 1
    assert kinds(store) == ["drift.ok"]
    assert take(store) is None


def test_an_unchanged_alarm_is_repeated_once_a_day(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    write(store, LONG_AGO, usual(1))
    write(store, JUST_NOW, higher(2))
    assert take(store) is not None
    assert "the population-stability index is" in caplog.text
    (event,) = Events(store.database).list(kind="drift.alarm")
    assert event.actor == "w1"
    assert {broken["measure"] for broken in event.payload["broken"]} == {"psi", "ks", "flagged"}
    assert json.loads(json.dumps(event.payload)) == event.payload
    for _ in range(5):
        an_hour_passes(store)
        assert take(store, "w2") is not None
    assert kinds(store) == ["drift.alarm"]
    an_hour_passes(store)
    assert take(store, limits={**LIMITS, Measure.PSI: 50.0}) is not None  # not the same alarm
    assert kinds(store) == ["drift.alarm"] * 2
    an_hour_passes(store)
    assert take(store, limits=dict.fromkeys(LIMITS, 50.0)) is not None
    an_hour_passes(store, 25)
    assert take(store, limits=dict.fromkeys(LIMITS, 50.0)) is not None
    assert kinds(store) == ["drift.alarm", "drift.alarm", "drift.ok", "drift.ok"]


def test_nothing_to_say_leaves_no_event(store: Store) -> None:
    assert take(store) is not None
    assert kinds(store) == []


@pytest.fixture
def commanded(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """modctl is set to the store's database and to its prompt's backbone."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", store.database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("MODERATION_BACKBONE", "tiny")
    return store


def by_source(report: Mapping[str, Any]) -> dict[str, Any]:
    return {each["source"]: each for each in report["sources"]}


def test_the_command(commanded: Store) -> None:
    assert "No image was scored" in ok("drift").out
    assert "No image of source 'a b' was scored" in ok("drift", "--source", "a b").out
    write(commanded, LONG_AGO, usual(1))
    write(commanded, JUST_NOW, usual(2))
    fine = ok("drift")
    assert "No limit is broken." in fine.err
    tables = fine.out.splitlines()[1:]
    assert max(len(line.rstrip()) for line in tables) <= 80, fine.out
    assert by_source(ok("drift", "--json").json())["web"]["comparison"]["psi"]["value"] < 0.1
    write(commanded, JUST_NOW, higher(2, 4000), name="more")
    found = modctl("drift")
    assert found.code == 4
    assert "web: the population-stability index is" in found.err
    assert "MODERATION_DRIFT_MAX_PSI" in found.err
    assert "modctl verdicts --source web" in found.err
    report = modctl("drift", "--json", "--window", "48h", "--baseline", "4w").json()
    assert {broken["measure"] for broken in report["broken"]} == {"psi", "ks", "flagged"}
    assert report["broken"][0]["setting"] == "MODERATION_DRIFT_MAX_PSI"
    assert kinds(commanded) == []


def test_what_to_do_can_be_pasted() -> None:
    assert remedy(Measure.PSI, "my source").count("modctl verdicts --source 'my source'") == 1


@pytest.mark.parametrize("span", ["7", "0d", "soon", "-1d", "99999999999d", "999999999w"])
def test_a_wrong_span_is_refused(commanded: Store, span: str) -> None:
    assert span in refusal(modctl("drift", f"--window={span}"))


def test_a_span_before_all_time_is_refused(commanded: Store) -> None:
    assert "before the first year" in refusal(modctl("drift", "--baseline=9999w", "--window=999999d"))


def test_doctor_shows_an_alarm_until_all_is_well_again(commanded: Store) -> None:
    def found() -> list[str]:
        findings = modctl("doctor", "--json").json()["findings"]
        return [each["seen"] for each in findings if each["part"] == "drift" and each["health"] == "warning"]

    write(commanded, LONG_AGO, usual(1))
    write(commanded, JUST_NOW, higher(2))
    assert found() == []
    assert take(commanded) is not None
    assert "web: psi" in found()[0]
    an_hour_passes(commanded)
    assert take(commanded, limits=dict.fromkeys(LIMITS, 50.0)) is not None
    assert found() == []
