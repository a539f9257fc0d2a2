"""modctl on a real database and a real broker: db, submit, status, verdicts, threshold, queue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moderation.domain.prompt import PromptId
from moderation.domain.rescore import RescoreScope
from moderation.domain.training_run import RunConfig
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.rescoring.runs import Rescores
from moderation.storage.training.runs import TrainingRuns
from tests.command import Done, modctl, ok
from tests.store import OVER_S, Store, furnish, ids, numbered, rejected

DEAD_BROKER = "redis://:secret@127.0.0.1:9/0"


@pytest.fixture
def empty_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """modctl is set to a database without tables, on SQLite and on PostgreSQL."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def ready(sqlite_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """modctl is set to a broker, a database with tables, and the folder of images that is returned."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("MODERATION_BROKER_URL", broker_url)
    monkeypatch.setenv("MODERATION_IMAGES", str(folder))
    ok("db", "upgrade")
    return folder


@pytest.fixture
def filled(ready: Path, sqlite_url: str) -> Iterator[Store]:
    """What is in SQL, as its owner sees it: a.jpg and b.jpg done, c.jpg failed, d.jpg waiting."""
    database = Database(sqlite_url)
    store = furnish(database)
    store.add("a.jpg", source="web")
    store.score(store.take("a.jpg"), 0.95)
    store.add("b.jpg", "c.jpg")
    claim = store.take("b.jpg", "c.jpg")
    good, bad = sorted(claim.images, key=lambda image: image.image_id)
    store.claims.settle(claim, [store.scored(good, 0.25), rejected(bad)], store.by)
    store.add("d.jpg")
    yield store
    database.dispose()


def waiting() -> list[str]:
    return sorted(item["image_id"] for item in ok("status", "--pending", "--json", "--limit", 100_000).lines())


def usage(done: Done) -> str:
    """What a usage error says; nothing else may be on standard output."""
    assert (done.code, done.out) == (2, ""), done
    assert "Usage: modctl" in done.err
    return done.err.partition("Error: ")[2].strip()


def test_tables_come_and_go(empty_database: str) -> None:
    assert ok("db", "current", "--json").json()["found"] is None
    refused = modctl("db", "check")
    assert refused.code == 2
    assert refused.err.endswith("create them: modctl db upgrade\n")

    made = ok("db", "upgrade").out
    assert "is now on revision 0003 (before: no tables)" in made
    assert "is active for the miniature backbone" in made
    assert "was up to date already (revision 0003)" in ok("db", "upgrade").out
    assert ok("db", "upgrade", "--json").json() == {"before": "0003", "after": "0003", "activated": None}
    assert ok("db", "current", "--json").json()["found"] == "0003"
    assert "the tables are what this code needs" in ok("db", "check").out
    assert ok("db", "check", "--json").json()["needed"] == "0003"

    assert "no terminal to ask on; add --yes" in usage(modctl("db", "downgrade", "base"))
    wrong = modctl("db", "downgrade", "nonsense", "--yes")
    assert wrong.code == 2
    assert wrong.err == "Error: revision: Can't locate revision identified by 'nonsense'\n  'base', or one up to 0003\n"
    ok("db", "check")
    assert ok("db", "downgrade", "base", "--yes", "--json").json() == {"before": "0003", "after": None}
    assert modctl("status").code == 2


def test_looking_into_a_folder_without_a_database_leaves_none_there(tmp_path: Path) -> None:
    for command in (["status"], ["db", "check"], ["db", "current"], ["verdicts"]):
        modctl(*command)
    refused = modctl("status")
    assert refused.code == 2
    assert f"there is no file {tmp_path / 'moderation.db'}" in refused.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("status",), ("verdicts",), ("submit", "a"), ("threshold", "show")])
def test_a_database_that_is_down_is_exit_3_and_shows_no_password(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", "postgresql://someone:secret@127.0.0.1:9/moderation")
    done = modctl(*command)
    assert (done.code, done.out) == (3, "")
    assert "Error: the SQL database does not answer: " in done.err
    assert "MODERATION_DATABASE_URL" in done.err
    assert "secret" not in done.err


def test_submit_takes_files_folders_and_ids(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.jpg", "album/two.PNG", "album/deep/three.webp", "album/notes.txt", "é [x] 100%.jpg"):
        (ready / name).parent.mkdir(parents=True, exist_ok=True)
        (ready / name).touch()
    done = ok("submit", ready / "one.jpg", "album", "é [x] 100%.jpg", "later.jpg")
    assert done.out == "5 submitted, 0 known already.\n"
    assert done.err == f"note: there is no later.jpg below {ready} (MODERATION_IMAGES) yet\n"
    assert waiting() == ["album/deep/three.webp", "album/two.PNG", "later.jpg", "one.jpg", "é [x] 100%.jpg"]

    monkeypatch.chdir(ready / "album")
    assert ok("submit", "two.PNG", "--json").json() == {"new": 0, "known": 1, "queued": True}
    assert ok("submit", "two.PNG", "--force", "--json").json() == {"new": 1, "known": 0, "queued": True}
    assert ok("submit", "notes.txt", "--json").json()["new"] == 1  # named by a person: the worker will say what it is
    monkeypatch.chdir(tmp_path)

    (tmp_path / "outside.jpg").touch()
    assert usage(modctl("submit", "outside.jpg")) == (
        f"outside.jpg lies outside the image folder {ready} (MODERATION_IMAGES); nothing was submitted"
    )
    (ready / "nothing").mkdir()
    done = ok("submit", "nothing")
    assert (done.out, done.err) == ("0 submitted, 0 known already.\n", "note: there is no picture in nothing\n")


def test_submit_needs_one_way_of_asking(ready: Path) -> None:
    for arguments in ((), ("a", "--stdin"), ("--stdin", "--csv", "-"), ("", "a")):
        assert usage(modctl("submit", *arguments))
    assert "-1000<=x<=1000" in usage(modctl("submit", "a", "--priority", 1001))
    assert "a source has 1 to 200 printable characters" in usage(modctl("submit", "a", "--source", ""))
    assert "No such file" in usage(modctl("submit", "--csv", "nowhere.csv"))
    assert waiting() == []


def test_submit_reads_lines(ready: Path) -> None:
    assert ok("submit", "--stdin", stdin="a.jpg\n\nwith space.jpg\r\na.jpg\nlast.jpg").out == (
        "3 submitted, 0 known already.\n"
    )
    assert waiting() == ["a.jpg", "last.jpg", "with space.jpg"]
    assert ok("submit", "--stdin", "--json").json() == {"new": 0, "known": 0, "queued": True}


def test_submit_reads_a_csv_as_spreadsheets_write_it(ready: Path, tmp_path: Path) -> None:
    file = tmp_path / "ids.csv"
    file.write_bytes('\ufeffimage_id,who\r\na.jpg,x\r\n\r\n,nobody\r\n"b, c.jpg",é\r\n \r\nd.jpg\r\n'.encode())
    done = ok("submit", "--csv", file)
    assert done.out == "3 submitted, 0 known already.\n"
    assert done.err == "note: 2 rows without image_id passed over, the first in line 4\n"
    assert waiting() == ["a.jpg", "b, c.jpg", "d.jpg"]
    assert ok("submit", "--csv", file, "--column", "who", "--json").json()["new"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the CSV has no column 'image_id': it is empty"),
        (b"id,who\n1,2\n", "the CSV has no column 'image_id': it has id, who; name one: --column"),
        (b"image_id\ncaf\xe9.jpg\n", "the ids must be UTF-8 text; nothing was submitted"),
        (b"image_id\ngood.jpg\na\x07b\n", r"line 3: an image id holds no control characters: 'a\x07b'"),
        (b"image_id\n" + 513 * b"x" + b"\n", "line 2: an image id has 1 to 512 characters, this one has 513"),
        (b'image_id\n"' + 200_000 * b"x" + b"\n", "field larger than field limit"),
    ],
)
def test_submit_says_what_is_wrong_with_a_csv(ready: Path, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "ids.csv").write_bytes(content)
    assert usage(modctl("submit", "--csv", "ids.csv")).startswith(message)
    assert waiting() == []


def test_a_huge_list_goes_in_parts_and_a_wrong_id_says_what_was_taken(ready: Path) -> None:
    names = numbered(25_000)
    names = [*names[:20_500], "wrong\x00", *names[20_500:]]
    said = usage(modctl("submit", "--stdin", stdin="\n".join(names)))
    assert said == (r"line 20501: an image id holds no control characters: 'wrong\x00'; the first 20000 ids were taken")
    assert ok("status", "--json").json()["waiting"] == 20_000
    receipt = ok("submit", "--stdin", "--json", stdin="\n".join(numbered(25_000))).json()
    assert receipt == {"new": 5_000, "known": 20_000, "queued": True}
    assert sum(ok("queue", "status", "--json").json()["bells"].values()) == 393  # ceil(10,000 / 64) twice, then 79


def test_without_its_broker_submit_keeps_the_images_and_the_rest_is_exit_3(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", DEAD_BROKER)
    done = ok("submit", "a.jpg", "--json")
    assert done.json() == {"new": 1, "known": 0, "queued": False}
    assert "MODERATION_BROKER_URL" in done.err
    assert waiting() == ["a.jpg"]
    for command in ("status", "sweep"):
        down = modctl("queue", command)
        assert (down.code, down.out) == (3, "")
        assert down.err.startswith("Error: the broker does not answer: ")
        assert "MODERATION_BROKER_URL" in down.err
        assert "secret" not in down.err


def test_queue_says_what_waits_and_sweeps_what_was_left_behind(filled: Store) -> None:
    assert ok("queue", "status", "--json").json() == {
        "bells": {"scan.urgent": 0, "scan": 0, "backfill": 0, "training": 0},
        "images": {"waiting": 1, "claimed": 0, "retrying": 0},
        "runs": {"training": [], "rescoring": []},
        "workers": [],
    }
    assert "none answers; start one: modctl worker" in ok("queue", "status").out
    filled.claims.take(ids("d.jpg"), limit=1, lease_s=OVER_S)  # a worker that vanished
    done = ok("queue", "sweep")
    assert done.out == "Rang for 1 images; 1 came back from vanished workers, 0 given up.\n"
    assert ok("queue", "status", "--json").json()["bells"]["scan"] == 1
    assert ok("queue", "sweep", "--json").json() == {"freed": 0, "given_up": 0, "rung": 0}


def test_status_counts_and_lists(filled: Store) -> None:
    counts = ok("status", "--json").json()
    assert counts.pop("oldest_waits_s") < 60
    assert counts == {
        "waiting": 1, "claimed": 0, "retrying": 0, "done": 2, "failed": 1,
        "failures": {"truncated": 1}, "verdicts": {"ALLOW": 2, "REVIEW": 0, "BLOCK": 0},
        "runs": {"training": [], "rescoring": []},
    }  # fmt: skip
    shown = ok("status").out
    assert "\x1b" not in shown
    assert "waiting                    1, the oldest for 0 s" in shown
    assert "  truncated                1" in shown

    (item,) = ok("status", "--failed", "--json").lines()
    assert (item["image_id"], item["reason"], item["detail"]) == ("c.jpg", "truncated", "its second half is missing")
    assert "its second half is missing" in ok("status", "--failed").out
    assert waiting() == ["d.jpg"]
    assert usage(modctl("status", "--failed", "--pending")) == "--failed or --pending, not both"


def test_open_runs_are_told_of(filled: Store) -> None:
    assert " run " not in ok("status").out
    prompt_id, by = PromptId(filled.by.prompt_id), By("eve")
    training = TrainingRuns(filled.database).begin(
        backbone="tiny", parent=prompt_id, config=RunConfig("x", 42, 0.01), manifest=b"", manifest_sha256="", sides={},
        counts={}, by=by,
    )  # fmt: skip
    again = RescoreScope(again_until=datetime.now(UTC) + timedelta(hours=1))
    rescoring = Rescores(filled.database).begin(prompt_id, again, rate=1.0, by=by)
    for command in (("status",), ("queue", "status")):
        shown = [line.split(maxsplit=3) for line in ok(*command).out.splitlines() if " run " in line]
        assert shown == [["training", "run", "1", "queued"], ["rescoring", "run", "1", "queued, 0 of 2 scored"]]
        found = ok(*command, "--json").json()["runs"]
        assert [run["run_id"] for run in found["training"]] == [training.run_id]
        assert [run["run_id"] for run in found["rescoring"]] == [rescoring.run_id]
    Rescores(filled.database).cancel(rescoring.run_id, by)
    TrainingRuns(filled.database).cancel(training.run_id, by)
    assert ok("status", "--json").json()["runs"] == {"training": [], "rescoring": []}


def test_status_of_nothing(ready: Path) -> None:
    assert ok("status", "--failed").out == "No image has failed.\n"
    assert ok("status", "--pending").out == "No image is waiting.\n"
    assert ok("status", "--failed", "--json").out == ""
    assert ok("status", "--json").json()["oldest_waits_s"] is None


def test_verdicts_by_what_is_asked(filled: Store) -> None:
    def found(*arguments: object) -> list[str]:
        return [verdict["image_id"] for verdict in ok("verdicts", "--json", *arguments).lines()]

    assert found() == ["b.jpg", "a.jpg"]
    assert found("--limit", 1) == ["b.jpg"]
    assert found("--limit", 1, "--all") == ["b.jpg", "a.jpg"]
    assert found("--source", "web") == ["a.jpg"]
    assert found("--decision", "allow") == ["b.jpg", "a.jpg"]
    assert found("--decision", "BLOCK") == []
    assert found("--since", "1h") == ["b.jpg", "a.jpg"]
    assert found("--since", (datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []
    assert found("a.jpg") == ["a.jpg"]
    (verdict,) = ok("verdicts", "a.jpg", "--json").lines()
    assert (verdict["probability"], verdict["backbone"], verdict["prompt_id"]) == (0.95, "tiny", filled.by.prompt_id)
    assert datetime.fromisoformat(verdict["created_at"]).tzinfo is not None

    assert "a.jpg" in ok("verdicts").out
    assert "\x1b" not in ok("verdicts").out
    assert ok("verdicts", "--source", "nowhere").out == "No verdict fits.\n"


def test_one_image_without_a_verdict_says_why(filled: Store) -> None:
    assert ok("verdicts", "d.jpg").out == "No verdict yet.\n"
    failed = modctl("verdicts", "c.jpg")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == "Error: c.jpg: truncated (its second half is missing)\n"
    unknown = modctl("verdicts", "nobody.jpg")
    assert (unknown.code, unknown.err) == (1, "Error: nobody.jpg: never submitted\n")
    assert "an image id has 1 to 512 characters" in usage(modctl("verdicts", ""))
    assert "neither a span such as 90m" in usage(modctl("verdicts", "--since", "yesterday"))


def test_thresholds_are_shown_set_for_all_and_set_for_one(ready: Path) -> None:
    (shipped,) = ok("threshold", "show", "--json").lines()
    assert (shipped["source"], shipped["policy_id"]) == ("*", 1)
    change = ("threshold", "set", "--review-at", 0.4, "--reason", "a test")

    assert "no terminal to ask on; add --yes" in usage(modctl(*change))
    assert len(ok("threshold", "show", "--json").lines()) == 1

    done = ok(*change, "--audit-rate", 0.2, "--yes", "--json")
    policy = done.json()
    assert (policy["policy_id"], policy["parent"], policy["reason"]) == (2, 1, "a test")
    assert policy["thresholds"] == {"review_at": 0.4, "block_at": 0.9, "audit_rate": 0.2, "block_check_rate": 0.05}
    assert done.err.splitlines() == [
        "source *",
        "review_at         0.5 -> 0.4",
        "block_at          0.9, as before",
        "audit_rate        0.01 -> 0.2",
        "block_check_rate  0.05, as before",
    ]
    assert ok("threshold", "set", "--block-at", 0.7, "--source", "web", "--reason", "x", "--yes").out == (
        "Version 3 holds for web.\n"
    )
    (web,) = ok("threshold", "show", "--source", "web", "--json").lines()
    assert (web["thresholds"]["review_at"], web["thresholds"]["block_at"]) == (0.4, 0.7)
    shown = ok("threshold", "show")
    assert "\x1b" not in shown.out
    assert all(word in shown.out for word in ("web", "a test", "review at"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to set: give --review-at, --block-at, --audit-rate or --block-check-rate"),
        (("--review-at", "0.95"), "review_at 0.95 lies above block_at 0.9"),
        (("--block-at", "nan"), "block_at is nan, must lie in 0..1"),
        (("--audit-rate", "-1"), "audit_rate is -1.0, must lie in 0..1"),
        (("--review-at", "0.4", "--source", ""), "--source has 1 to 200 printable characters: ''"),
        (("--review-at", "0.4", "--reason", " "), "--reason is empty; say in a few words why"),
    ],
)
def test_thresholds_that_cannot_be(ready: Path, arguments: tuple[str, ...], message: str) -> None:
    assert usage(modctl("threshold", "set", "--yes", "--reason", "x", *arguments)).startswith(message)
    assert len(ok("threshold", "show", "--json").lines()) == 1
