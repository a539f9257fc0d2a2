"""A training run worked on in this process, on the miniature: what comes of it, and what ends it before."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from moderation.domain.lesson import Origin, unpack
from moderation.domain.training_run import RunId, RunState, TrainingRun
from moderation.errors import ServiceDown
from moderation.flows.retraining.retrain import Teacher
from moderation.images.canary import pictures as canary_pictures
from moderation.settings import load_settings
from moderation.storage.database import Database
from moderation.storage.events import Events
from moderation.storage.registry.prompts import Prompts
from moderation.storage.tables import TrainingRunRow
from moderation.storage.training.claims import Held, TrainingClaims
from moderation.wiring import Wiring
from tests.store import open_database
from tests.taught import BY, School, open_school, pictures, samples

LEASE_S = 1.0
ALL_REVIEWED = samples(replayed="")  # then the holdout has more than the 20 of a class that the gate needs


class PowerCut(BaseException):
    """This worker is no more."""


class Shaken(TrainingClaims):
    """The real thing; at the first checkpoint something happens."""

    def __init__(self, database: Database, happens: Callable[[], None]) -> None:
        super().__init__(database)
        self._happens: Callable[[], None] | None = happens
        self.dead = False

    def keep_checkpoint(self, held: Held, checkpoint: bytes) -> bool:
        kept = super().keep_checkpoint(held, checkpoint)
        if self._happens is not None:
            happens, self._happens = self._happens, None
            happens()
        return kept

    def release(self, held: Held) -> None:
        if self.dead:
            raise ServiceDown("the SQL database", "this worker is dead")
        super().release(held)


@dataclass(frozen=True)
class Ended:
    """Two runs on the same lessons: one undisturbed and activated; one in another folder, whose worker died."""

    school: School
    first: TrainingRun
    second: TrainingRun
    folders: tuple[Path, Path]
    kept: bytes | None  # the second's checkpoint when its worker had died


@pytest.fixture(scope="module")
def wiring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    """One backbone for all of these tests."""
    folder = tmp_path_factory.mktemp("teaching")
    url = f"sqlite:///{folder / 'moderation.db'}"
    with open_database(url):
        settings = load_settings(
            database_url=url, images=str(pictures()), runs=str(folder / "runs"), device="cpu", lease_s=LEASE_S
        )
        parts = Wiring(settings)
        try:
            yield parts
        finally:
            parts.close()


@pytest.fixture(scope="module")
def school(wiring: Wiring) -> School:
    return open_school(wiring.database)


@pytest.fixture(autouse=True)
def nothing_open(wiring: Wiring, school: School) -> Iterator[None]:
    """After each test its run has ended, whoever held it."""
    yield
    run = school.runs.open_run("miniature")
    if run is not None and school.runs.cancel(run.run_id, BY).is_open:
        with wiring.database.write() as session:
            session.get_one(TrainingRunRow, run.run_id).lease_until = run.created_at
        assert wiring.training_claims.claim(run.run_id, backbone="miniature", lease_s=60) is None


@pytest.fixture(scope="module")
def ended(wiring: Wiring, school: School, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folders = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    for name, when in (("unused", 1000.0), ("used", time.time())):
        entry = folders[0] / "features" / "key" / "aa" / f"{name}.safetensors"
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.touch()
        os.utime(entry, (when, when))
    first = school.begin(lessons=ALL_REVIEWED, replay=False, epochs=4, activate=True)
    done = teacher(wiring, folders[0]).work(first.run_id)
    assert done is not None, "nobody took the run"

    second = school.begin(lessons=ALL_REVIEWED[::-1], replay=False, epochs=4, activate=True)
    with pytest.raises(PowerCut):
        dying(wiring, folders[0]).work(second.run_id)
    kept = school.runs.checkpoint(second.run_id)
    time.sleep(LEASE_S)
    again = teacher(wiring, folders[1]).work(second.run_id)
    assert again is not None, "nobody took the run up"
    return Ended(school, done, again, folders, kept)


def teacher(wiring: Wiring, folder: Path, claims: TrainingClaims | None = None) -> Teacher:
    plain = wiring.teacher()
    return replace(plain, folder=folder, claims=claims or plain.claims)


def dying(wiring: Wiring, folder: Path) -> Teacher:
    def dies() -> None:
        claims.dead = True
        raise PowerCut

    claims = Shaken(wiring.database, dies)
    return teacher(wiring, folder, claims)


def test_a_run_ends_with_a_candidate_that_the_gate_let_pass(ended: Ended) -> None:
    run = ended.first
    assert (run.state, run.error, run.attempts) == (RunState.PASSED, "", 1)
    gate = run.metrics["gate"]
    assert gate["passed"]
    (whole,) = [line for line in gate["lines"] if line["slice"] == "all"]
    assert (whole["part"], whole["n"], whole["n_fake"]) == ("holdout", 48, 24)
    assert run.metrics["counts"] == {"images": len(ALL_REVIEWED)}
    assert {"torch", "transformers"} <= set(run.metrics["versions"])
    prompts = Prompts(ended.school.database)
    record = prompts.find(str(run.prompt_id))
    assert (record.parent, record.name) == (ended.school.parent, "taught")
    assert unpack(prompts.manifest(record.prompt_id) or b"") == ALL_REVIEWED
    assert record.metrics["tuned_on"] == run.manifest_sha256


def test_the_same_lessons_give_the_same_bytes_elsewhere_and_after_a_death(ended: Ended) -> None:
    assert ended.kept, "the death left nothing to go on from"
    assert ended.second.attempts == 2
    assert ended.second.prompt_id == ended.first.prompt_id  # an id is the head of the bytes' hash
    assert ended.second.metrics["epochs"] == ended.first.metrics["epochs"] == 4
    lines = [run.metrics["gate"]["lines"] for run in (ended.first, ended.second)]
    assert lines[0] == lines[1]


def test_what_passed_is_activated_if_that_was_asked_for_and_nothing_else_is_active(ended: Ended) -> None:
    active = Prompts(ended.school.database).active("miniature")
    assert active is not None
    assert active.prompt_id == ended.first.prompt_id
    activations = [
        event for event in Events(ended.school.database).list(kind="prompt.activate") if event.actor == "eve"
    ]
    assert [event.reason for event in activations] == [f"a new camera (training run {ended.first.run_id})"]
    # The second began from a prompt that was no longer active when it ended.
    assert ended.second.state is RunState.PASSED
    assert f"{active.prompt_id} was activated meanwhile" in ended.second.metrics["gate"]["reasons"][-1]
    assert not any("meanwhile" in reason for reason in ended.first.metrics["gate"]["reasons"])


def test_the_report_is_one_page_with_the_run_in_it(ended: Ended) -> None:
    page = gzip.decompress(ended.school.runs.report(ended.first.run_id) or b"").decode()
    for expected in ("PASSED", ended.first.manifest_sha256, "a new camera", "data:image/png;base64,"):
        assert expected in page
    assert str(ended.folders[0]) not in page


def test_workers_are_measured_by_what_was_recorded_where_the_candidate_was_made(wiring: Wiring, ended: Ended) -> None:
    (known,) = [each for each in wiring.canaries.list() if each.asked.prompt_id == ended.first.prompt_id]
    assert str(known.machine) == "cpu in float32"
    (event,) = [event for event in wiring.events.list(kind="canary.recorded") if event.actor == known.worker]
    assert event.payload["answers"] == pytest.approx(known.answers)


def test_a_broken_device_teaches_nothing(wiring: Wiring, school: School, tmp_path: Path) -> None:
    run = school.begin()
    witness = wiring.witness()
    blind = replace(witness, prepare=lambda _, crops: witness.prepare(canary_pictures()[0], crops))
    found = replace(teacher(wiring, tmp_path), witness=lambda: blind).work(run.run_id)
    assert found is not None
    assert (found.state, found.prompt_id) == (RunState.FAILED, None)
    assert "canary: picture" in found.error
    assert not list(tmp_path.glob("**/plan.json"))


def test_no_picture_stays_behind(ended: Ended) -> None:
    for folder in ended.folders:
        assert list(folder.glob("retrain-*/*/*/plan.json"))
        assert not list(folder.glob("**/pictures"))


def test_features_that_no_run_uses_go(ended: Ended) -> None:
    assert [entry.stem for entry in ended.folders[0].glob("features/*/*/*")] == ["used"]


def test_a_run_that_is_cancelled_under_way_stops(wiring: Wiring, school: School, tmp_path: Path) -> None:
    run = school.begin(epochs=1000)

    def cancel() -> None:
        school.runs.cancel(run.run_id, BY)
        time.sleep(LEASE_S)  # within it the lease's keeper hears of it

    found = teacher(wiring, tmp_path, Shaken(wiring.database, cancel)).work(run.run_id)
    assert found is not None
    assert (found.state, found.prompt_id, found.progress["stage"]) == (RunState.CANCELLED, None, "tuning")
    assert not list(tmp_path.glob("**/pictures"))


def test_a_worker_that_is_told_to_end_gives_its_run_back(wiring: Wiring, school: School, tmp_path: Path) -> None:
    run = school.begin(epochs=1000)
    told: list[Teacher] = []
    told.append(teacher(wiring, tmp_path, Shaken(wiring.database, lambda: told[0].stop())))  # noqa: PLW0108 - not yet in it
    found = told[0].work(run.run_id)
    assert found is not None
    assert (found.state, found.attempts, found.progress["stage"]) == (RunState.QUEUED, 0, "tuning")
    assert school.runs.checkpoint(run.run_id)
    assert told[0].work(run.run_id) is None
    assert school.runs.get(run.run_id).state is RunState.QUEUED


def test_a_bell_that_rings_again_is_answered_in_vain(wiring: Wiring, school: School, tmp_path: Path) -> None:
    run = school.begin()
    assert wiring.training_claims.claim(run.run_id, backbone="miniature", lease_s=60) is not None
    assert teacher(wiring, tmp_path).work(run.run_id) is None
    assert teacher(wiring, tmp_path).work(RunId(10_000)) is None


def test_pictures_that_are_elsewhere_fail_the_run_with_a_way_out(
    wiring: Wiring, school: School, tmp_path: Path
) -> None:
    wrong = [replace(one, name=f"gone/{one.name}") if one.origin is Origin.REVIEWED else one for one in samples()]
    run = school.begin(lessons=wrong)
    found = teacher(wiring, tmp_path).work(run.run_id)
    assert found is not None
    assert found.state is RunState.FAILED
    assert "64 of 64 reviewed images are missing: 64 not found" in found.error
    assert "does MODERATION_IMAGES of this worker lead where" in found.error
    assert not list(tmp_path.iterdir())  # an attempt that came to nothing leaves nothing
    assert Events(school.database).list(kind="training.failed")[0].payload["error"] == found.error


def test_a_picture_that_changed_since_it_was_reviewed_does_not_teach(
    wiring: Wiring, school: School, tmp_path: Path
) -> None:
    changed = [replace(one, sha256="00" * 32) if one.origin is Origin.REVIEWED else one for one in samples()]
    run = school.begin(lessons=changed)
    found = teacher(wiring, tmp_path).work(run.run_id)
    assert found is not None
    assert "64 changed since it was reviewed" in found.error
