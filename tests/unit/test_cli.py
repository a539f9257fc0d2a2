"""modctl without services: help, options, and what it says where something is missing.

What needs a database, a broker or a backbone is in tests/integration.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from rich.console import Console

from moderation.cli import COMMANDS, shared
from moderation.cli.shared import Since
from tests.command import modctl, ok
from tests.waiting import GENEROUS_S

HEAVY = ("torch", "transformers", "sqlalchemy", "celery", "kombu", "pydantic", "rich", "numpy", "textual_image")
SCORING = ("torch", "transformers", "numpy", "safetensors", "tokenizers", "sentencepiece")


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=GENEROUS_S,
    )


def without_scoring(*arguments: str) -> subprocess.CompletedProcess[str]:
    """modctl where the packages of the `worker` extra are not installed; several commands with '+' between them."""
    script = f"""
        import sys
        sys.modules.update(dict.fromkeys({SCORING}))  # None: importing it raises ModuleNotFoundError
        from moderation.cli import main
        words = sys.argv[1:]
        while "+" in words:
            cut = words.index("+")
            try:
                main(words[:cut])
            except SystemExit as end:
                if end.code:
                    raise
            words = words[cut + 1:]
        main(words)
    """
    return python(script, *arguments)


def test_help_loads_nothing_heavy() -> None:
    script = f"""
        import sys
        from moderation.cli import main
        try:
            main()
        finally:
            print("loaded:", *sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)
    """
    done = python(script, "--help")
    assert done.returncode == 0
    assert done.stderr.strip() == "loaded:"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_that_begins_as_its_line_in_the_list(name: str) -> None:
    first = ok(name, "-h").out.split("\n\n")[1].strip()
    assert " ".join(first.split()).startswith(COMMANDS[name].rstrip(".").split(":")[0])


def test_unknown_command_is_a_usage_error() -> None:
    done = modctl("scna")
    assert (done.code, done.out) == (2, "")
    assert "No such command 'scna'" in done.err


@pytest.mark.parametrize("given", ["scan", "scan.urgent", " scan.urgent , scan ", "training", "scan,backfill"])
def test_worker_takes_its_queues_in_any_form(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, arguments: replaced.append(arguments))
    ok("worker", "--queues", given, "--concurrency", "2")
    (arguments,) = replaced
    assert arguments[-1] == "--queues=" + given.replace(" ", "")
    assert {"--pool=threads", "--concurrency=2"} <= set(arguments)


@pytest.mark.parametrize("given", ["scna", "", "scan,scna"])
def test_worker_refuses_a_wrong_queue_by_name(given: str) -> None:
    done = modctl("worker", "--queues", given)
    assert done.code == 2
    assert f"unknown queue {given.rpartition(',')[2]!r}; there are scan.urgent, scan" in done.err


def test_training_takes_a_worker_of_its_own() -> None:
    done = modctl("worker", "--queues", "scan,training")
    assert done.code == 2
    assert "training takes a worker of its own" in done.err


def test_wrong_setting_is_named_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_DEVICE", "gpu")
    done = modctl("status")
    assert (done.code, done.out) == (2, "")
    assert done.err == "Error: MODERATION_DEVICE: 'gpu' is not allowed: use auto, cpu, mps, cuda or cuda:N\n"


def test_without_the_scoring_packages_the_web_apps_commands_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", "redis://127.0.0.1:9/0")  # nobody is there
    done = without_scoring("db", "upgrade", "+", "submit", "a.jpg", "--json", "+", "status", "--json")
    assert done.returncode == 0, done.stderr
    _, receipt, status = done.stdout.splitlines()[-3:]
    assert json.loads(receipt) == {"new": 1, "known": 0, "queued": False}
    assert json.loads(status)["waiting"] == 1


@pytest.mark.parametrize("arguments", [("scan", "picture.jpg"), ("worker",)])
def test_without_the_scoring_packages_scoring_says_how_to_get_them(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").touch()
    done = without_scoring(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "so this machine can't score" in done.stderr
    assert "pip install 'antifake-moderation[worker]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (44, ["image            P(fake)  note", "a-long-name.jpg    0.500  [b]all[/] is well"]),
        (24, ["image            P(fake)", "a-long-name.jpg    0.500"]),
        (16, ["image    P(fake)", "a-long-    0.500", "name.jp", "g"]),
    ],
)
def test_a_narrow_table_lacks_its_spare_columns_and_then_folds(
    width: int, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shared, "console", lambda: Console(width=width, highlight=False))
    rows = [("a-long-name.jpg", "0.500", "[b]all[/] is well")]
    shared.print_table(("image", "P(fake)", "note"), rows, right=("P(fake)",), fold=("image",), spare=("note",))
    head, rule, *rest = (line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert set(rule) == {"─"}
    assert [head, *rest] == expected


def test_since_counts_back_or_takes_a_time() -> None:
    def since(text: str) -> datetime:
        return Since().convert(text, None, None)

    assert abs(since("90m") - (datetime.now(UTC) - timedelta(minutes=90))) < timedelta(seconds=5)
    assert since("2026-01-31T12:00+02:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert since("2026-01-31").tzinfo is not None
    for wrong in ("yesterday", "7", "-7d", "9" * 30 + "d", ""):
        with pytest.raises(click.BadParameter):
            since(wrong)
