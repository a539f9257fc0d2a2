"""modctl with the miniature backbone: scan, doctor."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import struct
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from moderation.detector import SoftPrompt
from moderation.domain.policy import DEFAULT_THRESHOLDS, decide
from moderation.miniature import PROMPT_FILE, SAMPLES_DIR, WEIGHTS_DIR, samples
from tests.broken_files import broken_files
from tests.command import Done, modctl, ok, refusal

SHIPPED_ID = hashlib.sha256(PROMPT_FILE.read_bytes()).hexdigest()[:12]
PICTURE = samples()[0].path
DEAD_BROKER = "redis://:secret@127.0.0.1:9/0"


def another_prompt(folder: Path, number: float = 0.25) -> Path:
    """The shipped prompt with its last number replaced."""
    file = folder / "another.safetensors"
    file.write_bytes(PROMPT_FILE.read_bytes()[:-4] + struct.pack("<f", number))
    return file


# --- scan


def test_scan_scores_a_folder_as_json_lines() -> None:
    done = ok("scan", SAMPLES_DIR, "--json")
    found = done.lines()
    assert [item["path"] for item in found] == [str(path) for path in sorted(SAMPLES_DIR.glob("*.jpg"))]
    for item in found:
        assert item["decision"] == decide(item["probability"], DEFAULT_THRESHOLDS)
        assert set(item) == {"path", "decision", "probability", "margin", "reason", "detail"}
    looks = SoftPrompt.load(PROMPT_FILE).looks
    assert done.err == f"backbone miniature, prompt {SHIPPED_ID} ({looks}), {len(found)} files\n"


def test_scan_says_of_each_broken_file_why_and_scores_the_others(tmp_path: Path) -> None:
    kinds = {".jpg", ".png", ".webp", ".gif"}
    broken = {name: content for name, content in broken_files().items() if Path(name).suffix in kinds}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    shutil.copy(PICTURE, tmp_path / "a [red]good[.] one.jpg")

    done = modctl("scan", tmp_path, "--json")
    found = {Path(item["path"]).name: item for item in done.lines()}
    assert done.code == 1
    assert set(found) == {*broken, "a [red]good[.] one.jpg"}
    assert all(found[name]["reason"] and found[name]["decision"] is None for name in broken)
    assert done.err.splitlines()[-1] == f"{len(broken)} of {len(found)} could not be scored"

    done = modctl("scan", tmp_path)
    assert done.code == 1
    assert "\x1b" not in done.out + done.err
    assert len(done.out.splitlines()) == len(found)
    assert f"   -    -      {tmp_path / 'empty.jpg'}: not an image (the file is empty)" in done.out
    assert any(line.endswith("/a [red]good[.] one.jpg") for line in done.out.splitlines())


def test_scan_takes_thresholds_and_a_prompt(tmp_path: Path) -> None:
    (shipped,) = ok("scan", PICTURE, "--json").lines()
    score = shipped["probability"]
    for below, above, expected in ((score, 1, "REVIEW"), (0, score, "BLOCK"), (1, 1, "ALLOW")):
        done = ok("scan", PICTURE, "--review-at", below, "--block-at", above)
        assert done.out == f"{score:6.3f}  {expected:<6} {PICTURE}\n"
        assert done.err.endswith(", 1 file\n")
    (other,) = ok("scan", PICTURE, "--json", "--prompt", another_prompt(tmp_path, 1000.0)).lines()
    assert other["margin"] != shipped["margin"]


def test_scan_refuses_by_name_what_it_can_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(modctl("scan")) == "Missing argument 'PATH...'."
    assert "nowhere" in refusal(modctl("scan", "nowhere"))
    (tmp_path / "nothing").mkdir()
    assert refusal(modctl("scan", "nothing")) == "no picture in nothing (.gif .jpeg .jpg .png .webp)"
    assert "lies above block_at 0.9" in refusal(modctl("scan", PICTURE, "--review-at", 0.95))
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(200)))
    said = refusal(modctl("scan", PICTURE, "--prompt", "noise.safetensors"))
    assert said.startswith("noise.safetensors: not a prompt of this program")
    monkeypatch.setenv("MODERATION_BACKBONE", str(tmp_path / "elsewhere"))
    assert refusal(modctl("scan", PICTURE)).startswith("MODERATION_BACKBONE: ")
    monkeypatch.setenv("MODERATION_BACKBONE", str(WEIGHTS_DIR))
    said = refusal(modctl("scan", PICTURE))
    assert "no prompt is active for the backbone" in said
    assert "--prompt FILE" in said


# --- doctor


def healths(done: Done) -> dict[str, str]:
    return {finding["part"]: finding["health"] for finding in done.json()["findings"]}


def finding(done: Done, part: str) -> dict[str, Any]:
    (found,) = (each for each in done.json()["findings"] if each["part"] == part)
    assert isinstance(found, dict)
    return found


def test_doctor_finds_all_well(installed: None, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", broker_url)
    Path(".env").write_text("MODERATION_BATCH_SIZE=8\n")
    done = ok("doctor", "--json")
    assert healths(done) == {
        "variables": "ok", "SQL": "ok", "schema": "ok", "registry": "ok", "broker": "ok", "workers": "warning",
        "images": "ok", "backbone": "ok", "device": "ok", "prompt": "ok", "disk": "ok",
    }  # fmt: skip
    assert finding(done, "workers")["remedy"] == "start one: modctl worker"
    assert str(Path.cwd()) in finding(done, "images")["seen"]
    settings = {each["name"]: (each["value"], each["origin"]) for each in done.json()["settings"]}
    assert settings["MODERATION_BROKER_URL"] == (broker_url, "environment")
    assert settings["MODERATION_BATCH_SIZE"] == ("8", ".env")
    assert settings["MODERATION_DEVICE"] == ("auto", "default")
    shown = ok("doctor").out
    assert "\x1b" not in shown
    assert f"ok       prompt     {SHIPPED_ID} is active and fits" in shown


def test_doctor_on_a_fresh_machine_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", DEAD_BROKER)
    monkeypatch.setenv("MODERATION_BROKER_UR", "redis://127.0.0.1")
    monkeypatch.setenv("MODERATION_QWERTZUIOP", "1")
    monkeypatch.setenv("MODERATION_IMAGES", "nowhere")
    done = modctl("doctor", "--json")
    assert done.code == 3  # a service is down, which goes before what has failed
    found = healths(done)
    assert (found["variables"], found["SQL"], found["schema"]) == ("warning", "failed", "skipped")
    assert (found["broker"], found["workers"], found["images"]) == ("down", "skipped", "failed")
    assert (found["backbone"], found["prompt"]) == ("ok", "skipped")
    assert finding(done, "variables")["seen"] == (
        "unknown: MODERATION_BROKER_UR (did you mean MODERATION_BROKER_URL?), MODERATION_QWERTZUIOP"
    )
    assert "modctl db upgrade" in finding(done, "SQL")["remedy"]
    assert "MODERATION_BROKER_URL" in finding(done, "broker")["remedy"]
    assert "secret" not in done.out
    assert list(Path.cwd().iterdir()) == []


def test_doctor_names_the_command_for_missing_tables(
    sqlite_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("MODERATION_BROKER_URL", broker_url)
    ok("db", "upgrade")
    ok("db", "downgrade", "base", "--yes")
    done = modctl("doctor", "--json")
    assert done.code == 1
    assert finding(done, "schema")["health"] == "failed"
    assert "modctl db upgrade" in finding(done, "schema")["seen"]
    assert finding(done, "prompt")["health"] == "skipped"


def test_doctor_where_torch_is_not_installed(installed: None, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_others(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "torch" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    monkeypatch.setenv("MODERATION_BROKER_URL", broker_url)
    done = ok("doctor", "--json")
    assert finding(done, "scoring")["health"] == "warning"
    assert "antifake-moderation[worker]" in finding(done, "scoring")["remedy"]
    assert "backbone" not in healths(done)
