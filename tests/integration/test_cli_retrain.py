"""`modctl retrain` as an operator meets it: what it would learn from, what it refuses, and a run in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation.domain.prompt import PromptId
from moderation.domain.training_run import RunState
from moderation.storage.database import Database
from moderation.storage.training.holdout import Holdout
from tests.command import modctl, ok, refusal
from tests.store import open_database
from tests.taught import School, label, open_school, pictures

NOWHERE = "redis://127.0.0.1:9/0"
ENOUGH = ("--no-replay", "--min-labels", "10")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PromptId]:
    """A database with ninety-six images that have a trusted label, to be copied, and its active prompt."""
    file = tmp_path_factory.mktemp("labelled") / "moderation.db"
    with open_database(f"sqlite:///{file}") as database:
        parent = open_school(database).parent
        assert label(database, parent) == 96
    return file, parent


@pytest.fixture
def school(labelled: tuple[Path, PromptId], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[School]:
    """An operator's settings: many of the images judge, and there is no broker."""
    file = tmp_path / "moderation.db"
    shutil.copy(labelled[0], file)
    settings = {
        "DATABASE_URL": f"sqlite:///{file}", "BROKER_URL": NOWHERE, "IMAGES": str(pictures()),
        "RUNS": str(tmp_path / "runs"), "HOLDOUT_SHARE": "0.6", "GATE_MARGIN": "0.5", "ACTOR": "eve", "DEVICE": "cpu",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"MODERATION_{name}", value)
    database = Database(f"sqlite:///{file}")
    yield School(database, labelled[1])
    database.dispose()


def test_a_dry_run_shows_the_manifest_and_changes_nothing(school: School) -> None:
    found = ok("retrain", "--dry-run", "--json", *ENOUGH).json()
    assert (found["images"], found["parent"], found["missing"]) == (96, school.parent, [])
    assert found["label"] == {"fake": 48, "real": 48}
    assert sum(sum(side.values()) for side in found["side"].values()) == 96
    shown = ok("retrain", "--dry-run", *ENOUGH)
    for expected in ("held out", "48 fake, 48 real", "96 uploads", "trusted", found["sha256"]):
        assert expected in shown.out
    assert Holdout(school.database).sides() == {}
    assert school.runs.list() == []


def test_too_few_labels_are_refused_with_what_is_missing(school: School) -> None:
    for extra in (("--dry-run",), ("--yes",)):
        done = modctl("retrain", "--no-replay", *extra)
        assert done.code == 4, done
        assert "real: 48 images with a trusted label; 50 are needed" in done.err
        assert "fake: 48 images with a trusted label; 50 are needed" in done.err
    assert "--no-replay" in modctl("retrain", "--dry-run").err  # of the word that was tuned nothing is known
    assert school.runs.list() == []


def test_options_that_do_not_go_together_are_named(school: School) -> None:
    assert "--activate changes what decides: add --reason" in modctl("retrain", "--activate", "--yes").err
    assert "--local" in modctl("retrain", "--local", "--no-watch").err
    assert "options go after status" in modctl("retrain", "--yes", "status").err
    assert "add --yes" in modctl("retrain", *ENOUGH).err
    for name in ("", " x", "a/b"):
        assert f"--name {name!r} can't be a name" in modctl("retrain", "--name", name).err


def test_a_run_waits_for_its_worker_is_the_only_one_and_can_be_cancelled(school: School) -> None:
    done = ok("retrain", *ENOUGH, "--yes", "--no-watch", "--reason", "a new camera")
    assert "The run is stored, and a worker's sweep finds it later" in done.err
    (run,) = school.runs.list()
    assert (run.state, run.actor, run.reason) == (RunState.QUEUED, "eve", "a new camera")
    assert run.config.name == f"retrained-{run.manifest_sha256[:8]}"
    assert len(Holdout(school.database).sides()) == 96
    again = refusal(modctl("retrain", *ENOUGH, "--yes"))
    assert f"run {run.run_id} of the backbone miniature is queued" in again
    assert "a new camera" in ok("retrain", "status", run.run_id).out
    assert "has no report: it is queued" in refusal(modctl("retrain", "report", run.run_id, "--out", "r.html"))
    assert ok("retrain", "cancel", run.run_id, "--yes").out == f"Run {run.run_id} is cancelled.\n"
    assert "has ended already" in refusal(modctl("retrain", "cancel", run.run_id, "--yes"))
    assert [found["state"] for found in ok("retrain", "status", "--json").lines()] == ["cancelled"]
    assert modctl("retrain", "status", run.run_id, "--watch").code == 1
    assert "there is none of this number" in refusal(modctl("retrain", "status", 99))


def test_a_run_here_ends_with_the_gates_word_and_the_candidate_active_if_asked(school: School, tmp_path: Path) -> None:
    done = modctl("retrain", *ENOUGH, "--local", "--epochs", "2", "--yes", "--activate", "--reason", "a new camera")
    assert done.code == 0, done
    (run,) = school.runs.list()
    assert run.state is RunState.PASSED
    assert f"PASSED: {run.prompt_id} ({run.config.name}) against {school.parent}" in done.out
    assert f"Prompt {run.prompt_id} is active." in done.err
    assert "judging" in done.err
    shown = ok("retrain", "status", run.run_id)
    assert "holdout" in shown.out
    assert "lost, won: newly wrong, newly right" in shown.out
    assert done.out in shown.out
    assert f"{run.prompt_id}" in ok("retrain", "status").out
    page = tmp_path / "report.html"
    ok("retrain", "report", run.run_id, "--out", page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "validation, all parts together" in text
    assert "this file exists" in refusal(modctl("retrain", "report", run.run_id, "--out", page))
    assert ok("retrain", "resume", run.run_id, "--json").json()["run_id"] == run.run_id  # it has ended: told again
