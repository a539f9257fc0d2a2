"""`modctl demo` for real: a private broker, a worker process, the sample pictures; nothing left of it afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from moderation.miniature import samples
from tests.command import modctl, ok
from tests.waiting import GENEROUS_S, wait_until

LIMIT_S = 2 * GENEROUS_S  # a worker is started in it
DEMO = [sys.executable, "-m", "moderation", "demo"]


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a demo puts its temporary files, so that what is left of it can be seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def left(folder: Path) -> list[str]:
    """Files in `folder`, and processes that work there or name it in their command."""
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    named = [line.strip() for line in listed.splitlines() if str(folder) in line]
    working = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):  # matches nothing on macOS
        try:
            place = str(entry.readlink())
        except OSError:  # ended meanwhile, a zombie, or not ours to see
            continue
        if place.startswith(str(folder)):
            working.append(f"{entry.parent.name} works in {place}")
    return [*named, *working, *(path.name for path in folder.iterdir())]


def nothing_is_left(folder: Path) -> None:
    with suppress(AssertionError):
        wait_until(lambda: not left(folder), "nothing of the demo is left")
    assert left(folder) == []


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *options], capture_output=True, text=True, check=False, timeout=LIMIT_S)


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has its broker and has begun to start its worker."""
    # A group of its own, as a terminal gives it: Ctrl-C reaches all of the group.
    process = subprocess.Popen(
        [*DEMO, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(lambda: list(folder.glob("antifake-worker-*/worker.log")), "the demo's worker is starting")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What `modctl demo --json` prints, run once in an empty folder; it must leave nothing but the database."""
    folder, temporary = tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("temporary")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODERATION_")}
    done = subprocess.run(
        [*DEMO, "--json"],
        cwd=folder,
        env={**kept, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.startswith("broker     ")
    nothing_is_left(temporary)
    database = {f"moderation-demo.db{end}" for end in ("", "-wal", "-shm")}
    assert {path.name for path in folder.iterdir()} <= {*database, "moderation-demo-images"}
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_every_picture_gets_a_verdict(figures: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(figures) == [
        "images", "verdicts", "failed", "auc", "accuracy", "images_per_s", "broker", "database", "backbone",
    ]  # fmt: skip
    assert figures["images"] == figures["verdicts"] == len(samples())
    assert figures["failed"] == 0
    assert figures["backbone"] == "miniature"
    assert isinstance(figures["images_per_s"], float)
    assert figures["images_per_s"] > 0
    assert "private" in str(figures["broker"])

    monkeypatch.setenv("MODERATION_DATABASE_URL", str(figures["database"]))
    verdicts = ok("verdicts", "--all", "--json").lines()
    assert {verdict["image_id"] for verdict in verdicts} == {
        f"upload-{number:02}.jpg" for number in range(1, len(samples()) + 1)
    }
    assert ok("status", "--json").json()["done"] == len(samples())


def test_the_miniature_tells_fakes_from_photographs(figures: dict[str, object]) -> None:
    auc = figures["auc"]
    assert isinstance(auc, float)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    told = re.search(r"^AUC +([\d.]+)$", readme, re.MULTILINE)
    assert told is not None
    assert auc == pytest.approx(float(told[1]), abs=0.005)  # processors round differently


def test_kept_services_go_on_until_the_printed_commands_end_them(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = demo("--keep")
    shown = done.stdout
    worker = re.search(r"The worker runs on as process (\d+) \(log: (.*)\); end it: (.*)", shown)
    broker = re.search(r"The broker runs on at (.*); end it: (.*)", shown)
    variables = re.search(r"To use both: export (.*)", shown)
    try:
        assert done.returncode == 0, done.stderr
        assert "verdicts, from the most to the least suspicious" in shown
        assert re.search(r"truth +ALLOW +REVIEW +BLOCK\nreal( +\d+){3}\nfake( +\d+){3}\n", shown)
        assert re.search(r"AUC +[01]\.\d{3}\n", shown)
        assert "Where time went" in shown
        assert "What to try next:" in shown
        assert "\x1b" not in shown
        assert worker is not None
        assert broker is not None
        assert variables is not None
        os.kill(int(worker[1]), 0)
        assert Path(worker[2]).is_file()
        with redis.Redis.from_url(broker[1]) as client:
            client.ping()
        for word in variables[1].split():
            name, _, value = word.partition("=")
            monkeypatch.setenv(name, value)
        assert ok("queue", "status", "--json").json()["workers"]
        again = ok("submit", "upload-01.jpg", "--force", "--json").json()
        assert again == {"new": 1, "known": 0, "queued": True}
        wait_until(lambda: not ok("status", "--json").json()["waiting"], "the kept worker has scored")
        wait_until(lambda: len(ok("verdicts", "upload-01.jpg", "--json").lines()) == 2, "its second verdict is there")
    finally:
        for found in (worker, broker):
            if found is not None:
                subprocess.run(found[found.re.groups], shell=True, check=True, timeout=GENEROUS_S)  # as the user would
    nothing_is_left(temporary_folder)


def test_ctrl_c_leaves_nothing(temporary_folder: Path) -> None:
    with started(temporary_folder) as process:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 1
        assert out == ""
        assert err.rstrip().endswith("Aborted!")
        assert "Traceback" not in err
        assert not left(temporary_folder)  # at once: the demo waited for them


def test_kill_9_leaves_nothing(temporary_folder: Path) -> None:
    with started(temporary_folder) as process:
        (log,) = temporary_folder.glob("antifake-worker-*/worker.log")
        wait_until(lambda: '"event": "ready"' in log.read_text(), "the worker is ready", LIMIT_S)
        process.kill()
    nothing_is_left(temporary_folder)


def test_a_named_broker_that_is_down_is_exit_3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", "redis://:secret@127.0.0.1:9/0")
    done = modctl("demo", "--json")
    assert (done.code, done.out) == (3, "")
    assert "MODERATION_BROKER_URL (redis://:***@127.0.0.1:9/0) does not answer" in done.err
    assert "without the variable a private server is started" in done.err
    assert "secret" not in done.err
    assert list(tmp_path.iterdir()) == []
