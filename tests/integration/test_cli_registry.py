"""modctl prompt activate, rollback, shadow, unshadow, diff, verify, show and doctor, with the miniature backbone."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import update

from moderation.detector import Calibration, SoftPrompt
from moderation.domain.lesson import Lesson, Origin, Side, pack
from moderation.domain.prompt import PromptId, prompt_id_of
from moderation.domain.training_run import RunConfig
from moderation.flows.registry.prompt import register
from moderation.miniature import PROMPT_FILE
from moderation.storage.database import Database
from moderation.storage.registry.prompts import Prompts
from moderation.storage.registry.states import PromptStates
from moderation.storage.tables import PromptRow, TrainingRunRow
from tests.command import Done, modctl, ok, refusal

SHIPPED_ID = hashlib.sha256(PROMPT_FILE.read_bytes()).hexdigest()[:12]
WHY = ("--reason", "better on landscapes")


@pytest.fixture
def database(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """modctl's database, with tables and the shipped prompt."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
    ok("db", "upgrade")
    opened = Database(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture
def either(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The same, on SQLite and on PostgreSQL."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", database_url)
    ok("db", "upgrade")
    opened = Database(database_url)
    yield opened
    opened.dispose()


def blob(number: float = 0.25) -> bytes:
    """The shipped prompt with its last number replaced."""
    return PROMPT_FILE.read_bytes()[:-4] + struct.pack("<f", number)


def add(database: Database, data: bytes, name: str = "other", **more: Any) -> PromptId:
    """Registers these bytes without a question."""
    return register(Prompts(database), data, name=name, **more).prompt_id


def damage(database: Database, prompt_id: str, **values: Any) -> None:
    with database.write() as session:
        session.execute(update(PromptRow).where(PromptRow.prompt_id == prompt_id).values(values or {"blob": b"evil"}))


def refused_by_gate(database: Database, prompt_id: str, state: str = "refused") -> None:
    now = datetime.now(UTC)
    with database.write() as session:
        session.add(
            TrainingRunRow(
                state=state, backbone="miniature", parent=SHIPPED_ID, config=RunConfig("x", 42, 0.01).to_json(),
                manifest=b"", manifest_sha256="",
                progress={}, metrics={"gate": {"reasons": ["source web: worse by 0.04"]}}, prompt_id=prompt_id,
                error="", attempts=1, cancel_requested=False, actor="eve", reason="", created_at=now, finished_at=now,
            )
        )  # fmt: skip


def states() -> dict[str, str]:
    return {record["prompt_id"]: record["state"] for record in ok("prompt", "list", "--json").lines()}


def events(kind: str) -> list[Any]:
    """The newest first."""
    return ok("audit", "log", "--kind", kind, "--json").lines()


def act(*arguments: object) -> Done:
    return modctl("prompt", *arguments, *WHY, "--yes", "--actor", "eve")


def test_a_prompt_goes_through_its_life(either: Database) -> None:
    other = add(either, blob())
    assert act("shadow", other).out == f"{other} is the shadow on miniature.\n"
    assert states() == {SHIPPED_ID: "active", other: "shadow"}
    done = act("activate", other[:5])
    assert (done.code, done.out) == (0, f"{other} is active on miniature.\n")
    assert f"active on miniature: {SHIPPED_ID} (shipped) -> {other} (other)" in done.err
    assert "it is the shadow now, and will be so no more" in done.err
    assert states() == {SHIPPED_ID: "retired", other: "active"}
    assert act("activate", other).out == f"{other} is active on miniature already.\n"
    assert len(events("prompt.activate")) == 2  # the shipped one's and this

    assert act("rollback").out == f"{SHIPPED_ID} is active on miniature.\n"
    assert states() == {SHIPPED_ID: "active", other: "retired"}
    again = act("rollback")
    assert f"nothing was active on miniature before {SHIPPED_ID}" in refusal(again)
    act("shadow", other)
    assert act("unshadow").out == f"{other} is the shadow no more; it is retired.\n"
    assert act("unshadow").out == "No prompt is the shadow on miniature.\n"
    for kind in ("prompt.activate", "prompt.rollback", "prompt.shadow", "prompt.unshadow"):
        assert (events(kind)[0]["actor"], events(kind)[0]["reason"]) == ("eve", WHY[1]), kind
    ok("audit", "verify")


def test_two_activations_at_once_come_one_after_the_other(either: Database) -> None:
    made = [add(either, blob(number / 8), f"number {number}") for number in range(1, 5)]
    change = PromptStates(either)
    with ThreadPoolExecutor(4) as operators:
        done = list(operators.map(change.activate, made))
    assert {each.happened for each in done} == {True}
    assert sorted(states().values()) == ["active", *["retired"] * 4]
    ok("prompt", "verify", "--no-check")


def test_without_a_reason_or_a_terminal_nothing_is_changed(database: Database) -> None:
    other = add(database, blob())
    for verb in (("activate", other), ("rollback",)):
        assert modctl("prompt", *verb, "--yes").code == 2
        assert "--reason is empty" in refusal(modctl("prompt", *verb, "--reason", " ", "--yes"))
    for asking in (("activate", other, *WHY), ("shadow", other)):
        assert "no terminal to ask on; add --yes" in refusal(modctl("prompt", *asking))
    assert states() == {SHIPPED_ID: "active", other: "candidate"}


def test_a_prompt_for_another_backbone_is_refused_by_name(database: Database) -> None:
    other = add(database, replace(SoftPrompt.load(PROMPT_FILE), backbone="elsewhere/vicuna").to_bytes())
    for verb in (("activate", other), ("shadow", other), ("activate", other, "--no-check")):
        said = refusal(act(*verb))
        assert said.startswith(f"prompt {other}: it is for the backbone elsewhere/vicuna; MODERATION_BACKBONE is mini")
    assert states() == {SHIPPED_ID: "active", other: "candidate"}


def test_a_prompt_with_wrong_shapes_is_refused_by_name(database: Database, tmp_path: Path) -> None:
    shipped = SoftPrompt.load(PROMPT_FILE)
    narrow = add(database, replace(shipped, llm=torch.ones(1, 24)).to_bytes(), "narrow")
    stranger = add(database, replace(shipped, revision="0" * 64).to_bytes(), "stranger")
    said = refusal(act("activate", narrow))
    assert f"prompt {narrow}: it does not fit: its llm vectors hold 24 numbers" in said
    assert f"prompt {stranger}: it does not fit: tuned on miniature at revision 0000" in refusal(
        act("shadow", stranger)
    )
    assert states() == {SHIPPED_ID: "active", narrow: "candidate", stranger: "candidate"}
    # What nobody looks at is not refused; workers will not take it, and verify says so.
    assert act("activate", narrow, "--no-check").code == 0
    done = modctl("prompt", "verify", "--json")
    found = {each["prompt_id"]: each for each in done.json()["prompts"]}
    assert done.code == 4
    assert "does not fit miniature" in found[narrow]["problems"][0]
    assert found[stranger]["good"]  # a candidate for weights of long ago is no damage
    assert "does not fit miniature" in found[stranger]["notes"][0]


def test_a_damaged_prompt_is_refused_and_told_of_everywhere(
    database: Database, broker_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", broker_url)
    other = add(database, blob())
    damage(database, other)
    for verb in ("activate", "shadow"):
        assert f"the stored bytes of {other} were changed" in refusal(act(verb, other))
    assert states() == {SHIPPED_ID: "active", other: "candidate"}
    done = modctl("prompt", "show", other)
    assert done.code == 2
    assert f"the stored bytes of {other} were changed" in done.err
    assert "history" in done.out  # what is known is told all the same
    done = modctl("prompt", "verify")
    assert done.code == 4
    assert f"damaged: {other}" in done.err
    assert "were changed: their sha256" in done.out
    assert finding("registry")["health"] == "warning"
    assert f"damaged: {other}" in finding("registry")["seen"]

    # The same file once more mends it.
    (tmp_path / "other.safetensors").write_bytes(blob())
    ok("prompt", "import", "other.safetensors")
    ok("prompt", "verify", "--no-check")
    assert [event["payload"]["prompt"] for event in events("prompt.mend")] == [other]
    assert act("activate", other).code == 0
    assert ok("prompt", "import", "other.safetensors").out == f"{other} (other) is registered as active.\n"
    assert len(events("prompt.mend")) == 1


def finding(part: str) -> dict[str, str]:
    (found,) = (each for each in modctl("doctor", "--json").json()["findings"] if each["part"] == part)
    assert isinstance(found, dict)
    return found


def test_doctor_is_loud_about_a_damaged_active_prompt(
    database: Database, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", broker_url)
    first, second, beside = (add(database, blob(number), f"at {number}") for number in (0.25, 0.5, 0.75))
    for prompt_id in (first, second):
        act("activate", prompt_id)
    act("shadow", beside)
    seen = finding("registry")
    assert seen["health"] == "ok"
    assert f"active {second}" in seen["seen"]
    assert f"shadow {beside}" in seen["seen"]
    refused_by_gate(database, beside)
    assert f"refused by the gate: {beside}" in finding("registry")["seen"]

    damage(database, second)
    done = modctl("doctor")
    assert done.code == 1
    assert f"THE ACTIVE PROMPT {second} (at 0.5) IS DAMAGED" in done.out
    assert "keep the last good prompt" in done.out
    assert f"activate another: modctl prompt rollback --to {first} --reason WHY" in done.out
    damage(database, first)
    assert f"modctl prompt rollback --to {SHIPPED_ID}" in finding("registry")["remedy"]
    said = refusal(act("rollback"))
    assert f"the stored bytes of {first} were changed" in said
    assert f"modctl prompt rollback --to {SHIPPED_ID} --reason" in said
    assert act("rollback", "--to", SHIPPED_ID).code == 0
    assert states()[SHIPPED_ID] == "active"
    assert finding("registry")["health"] == "warning"  # the damaged ones are still there, and decide nothing


def test_a_refused_candidate_needs_force(database: Database) -> None:
    other = add(database, blob())
    refused_by_gate(database, other)
    done = act("activate", other)
    assert (done.code, done.out) == (4, "")
    assert f"prompt {other}: the gate of training run 1 refused it: source web: worse by 0.04" in done.err
    assert f"modctl prompt activate {other} --force --reason" in done.err
    assert states() == {SHIPPED_ID: "active", other: "candidate"}
    assert "--reason is empty" in refusal(modctl("prompt", "activate", other, "--force", "--reason", "", "--yes"))
    done = act("activate", other, "--force", "--json")
    assert done.json() == {
        "prompt_id": other, "before": SHIPPED_ID, "happened": True, "forced": True, "backbone": "miniature",
    }  # fmt: skip
    assert "Warning: the gate of training run 1 refused it" in done.err
    event = events("prompt.activate")[0]
    assert (event["payload"]["forced"], event["payload"]["refused_by_run"]) == (True, 1)
    shown = ok("prompt", "show", other).out
    assert f"its gate REFUSED it against {SHIPPED_ID}: source web: worse by 0.04" in shown
    assert f"activated in the place of {SHIPPED_ID}, though the gate of run 1 refused it, by eve: {WHY[1]}" in shown


def test_a_gate_that_compared_with_another_prompt_than_the_active_one_is_warned_of(database: Database) -> None:
    late, other = add(database, blob()), add(database, blob(0.5), "meanwhile")
    refused_by_gate(database, late, "passed")
    assert {each["name"]: each["gate"] for each in ok("prompt", "list", "--json").lines()} == {
        "shipped": None, "other": "passed", "meanwhile": None,
    }  # fmt: skip
    assert act("activate", other).code == 0
    done = act("activate", late)
    assert done.code == 0
    assert f"Warning: the gate of training run 1 compared it with {SHIPPED_ID}, not with the one that is active" in (
        done.err
    )
    ok("prompt", "rollback", "--to", SHIPPED_ID, *WHY, "--yes")
    assert "Warning" not in act("activate", late).err


def test_an_import_does_not_get_past_the_gate(database: Database, tmp_path: Path) -> None:
    refused_by_gate(database, add(database, blob()))
    (tmp_path / "other.safetensors").write_bytes(blob())
    assert modctl("prompt", "import", "other.safetensors", "--activate", "--yes").code == 4
    assert sorted(states().values()) == ["active", "candidate"]


def recalibrated(data: bytes, scale: float = 2.0) -> bytes:
    """What `prompt calibrate` makes: the same numbers under another header, which names the parent."""
    prompt = SoftPrompt.from_bytes(data)
    parent = prompt_id_of(prompt.sha256)
    return replace(prompt, calibration=Calibration(scale, 0.0), metadata={"parent": parent}).to_bytes()


def test_what_was_refused_stays_refused_when_it_is_recalibrated(either: Database, tmp_path: Path) -> None:
    other = add(either, blob())
    refused_by_gate(either, other)
    child = add(either, recalibrated(blob()), "child", parent=other)
    grandchild = tmp_path / "grandchild.safetensors"
    grandchild.write_bytes(recalibrated(recalibrated(blob()), 3.0))
    done = act("activate", child)
    assert (done.code, done.out) == (4, "")
    said = f"the gate of training run 1 refused {other} (this is its recalibration): source web: worse by 0.04"
    assert f"prompt {child}: {said}" in done.err
    assert f"modctl prompt activate {child} --force --reason" in done.err
    done = modctl("prompt", "import", grandchild, "--activate", "--yes")
    assert (done.code, said in done.err) == (4, True)
    assert sorted(states().values()) == ["active", "candidate", "candidate", "candidate"]  # its id can be named now
    assert {each["gate"] for each in ok("prompt", "list", "--json").lines()} == {None, "refused"}
    assert f"its gate REFUSED {other} (this is its recalibration)" in ok("prompt", "show", child).out

    assert f"Warning: the gate of training run 1 refused {other}" in modctl("prompt", "import", grandchild).err
    damage(either, other)  # a refusal stays, where what was refused can't be read any more
    done = act("activate", child, "--force")
    assert (done.code, f"Warning: {said}" in done.err) == (0, True)
    payload = events("prompt.activate")[0]["payload"]
    assert (payload["forced"], payload["refused_by_run"], payload["refused"]) == (True, 1, other)


def test_a_refusal_is_of_these_numbers_alone(database: Database) -> None:
    other = add(database, blob())
    refused_by_gate(database, other)
    assert act("activate", add(database, blob(0.5), "tuned from it", parent=other)).code == 0
    mended = add(database, recalibrated(blob()), "judged itself", parent=other)
    refused_by_gate(database, mended, "passed")
    assert act("activate", mended).code == 0


def test_an_import_tells_that_its_gate_compared_with_another_prompt(database: Database, tmp_path: Path) -> None:
    refused_by_gate(database, add(database, blob()), "passed")
    assert act("activate", add(database, blob(0.5), "meanwhile")).code == 0
    (tmp_path / "other.safetensors").write_bytes(blob())
    done = ok("prompt", "import", "other.safetensors", "--activate", "--yes")
    assert f"Warning: the gate of training run 1 compared it with {SHIPPED_ID}, not with the one that is" in done.err


def test_an_import_for_another_backbone_is_not_activated(database: Database) -> None:
    replace(SoftPrompt.load(PROMPT_FILE), backbone="elsewhere").save(Path("other.safetensors"))
    done = modctl("prompt", "import", "other.safetensors", "--activate", "--no-check", "--yes")
    assert "it is for the backbone elsewhere; MODERATION_BACKBONE is miniature" in refusal(done)
    assert states() == {SHIPPED_ID: "active"}


def test_a_shadow_in_the_way_is_named(database: Database) -> None:
    first, second = add(database, blob(0.25), "first"), add(database, blob(0.5), "second")
    act("shadow", first)
    done = modctl("prompt", "shadow", second)
    assert done.code == 2
    assert f"shadow on miniature: {first} (first) -> {second} (second)" in done.err
    assert act("shadow", second).code == 0
    assert states() == {SHIPPED_ID: "active", first: "candidate", second: "shadow"}
    done = act("shadow", SHIPPED_ID)
    assert "is active: as its own shadow it would tell nothing" in refusal(done)
    assert "->" not in done.err, "refused before a change is shown"


def test_show_tells_where_a_prompt_comes_from_and_what_became_of_it(database: Database) -> None:
    lessons = [
        Lesson(
            Origin.REVIEWED, f"uploads/{number}.jpg", is_fake=number % 2 == 0, side=Side.TRAIN if number else Side.VAL
        )
        for number in range(5)
    ]
    parent = add(database, blob(0.25), "parent", parent=PromptId(SHIPPED_ID), manifest=pack(lessons))
    child = add(database, blob(0.5), "child", parent=parent)
    act("activate", parent)
    act("activate", child)
    act("rollback")
    shown = ok("prompt", "show", parent).out
    assert "5 pictures (4 to train, 1 to validate, 0 held out)" in shown
    lines = [line.partition("  ")[2].partition(",")[0].strip() for line in shown.partition("history\n")[2].splitlines()]
    assert [line.split("  ")[-1] for line in lines] == [
        "registered", f"activated in the place of {SHIPPED_ID}", f"replaced by {child}",
        "activated again",
    ]  # fmt: skip
    told = ok("prompt", "show", child, "--json").json()
    assert told["ancestors"] == [parent, SHIPPED_ID]
    assert [event["kind"] for event in told["history"]] == ["prompt.register", "prompt.activate", "prompt.rollback"]
    assert (told["manifest"], told["gate"], told["damage"]) == (None, None, "")
    assert f"{parent} <- {SHIPPED_ID}" in ok("prompt", "show", child).out


def test_diff_says_what_is_different(database: Database, tmp_path: Path) -> None:
    shipped = SoftPrompt.load(PROMPT_FILE)
    assert shipped.llm is not None
    other = replace(
        shipped, llm=2 * shipped.llm, qformer=None, question="Is it real [*]?", expert=None,
        calibration=replace(shipped.calibration, isotonic=(), scale=2.0, bias=0.0), metadata={"auc": 0.5},
    )  # fmt: skip
    other_id = add(database, other.to_bytes(), parent=PromptId(SHIPPED_ID))
    told = ok("prompt", "diff", SHIPPED_ID, other_id, "--json").json()
    assert told["fields"]["question"] == ["Is this photo real [*]?", "Is it real [*]?"]
    assert told["fields"]["metadata.auc"] == [None, 0.5]
    assert "position" not in told["fields"]
    llm = told["vectors"]["llm"]
    assert llm["cosine"] == pytest.approx(1.0, abs=1e-6)
    assert llm["norms"][1] == pytest.approx(2 * llm["norms"][0])
    assert told["vectors"]["qformer"]["cosine"] is None
    assert not told["expert_equal"]
    assert told["probabilities"][3] == {
        "margin": 0.0, "a": shipped.calibration.probability(0.0), "b": 0.5,
    }  # fmt: skip
    assert told["lineage"] == {"a": [SHIPPED_ID], "b": [other_id, SHIPPED_ID], "common": SHIPPED_ID}

    replace(other, metadata={"parent": SHIPPED_ID}).save(tmp_path / "mine.safetensors")
    shown = ok("prompt", "diff", other_id, "mine.safetensors").out
    assert "language model: the same vectors" in shown
    assert f"Both were made from {SHIPPED_ID}." in shown
    assert "Their headers say" not in shown
    assert "auc" in shown
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    assert refusal(modctl("prompt", "diff", SHIPPED_ID, "no.safetensors")).startswith("no.safetensors: not a prompt")
    damage(database, other_id)
    assert f"the stored bytes of {other_id} were changed" in refusal(modctl("prompt", "diff", SHIPPED_ID, other_id))


def test_verify_finds_what_was_changed_in_a_row(database: Database) -> None:
    found = ok("prompt", "verify", "--json").json()
    assert (found["good"], found["problems"], len(found["prompts"])) == (True, [], 1)
    assert "All is well: 1 prompt." in ok("prompt", "verify").out
    spoiled: dict[str, tuple[dict[str, Any], str]] = {
        "blob": ({"blob": b""}, "were changed"),
        "numbers": ({"blob": b"evil", "sha256": hashlib.sha256(b"evil").hexdigest()}, "not a prompt of this program"),
        "backbone": ({"backbone": "elsewhere"}, "its row says elsewhere"),
        "manifest": ({"manifest": b"\x1f\x8bnonsense"}, "its manifest can't be read"),
    }
    ids = {}
    for place, (name, (values, _)) in enumerate(spoiled.items()):
        ids[name] = add(database, blob(place / 16), name)
        damage(database, ids[name], **values)
    done = modctl("prompt", "verify", "--json")
    problems = {each["prompt_id"]: json.dumps(each["problems"]) for each in done.json()["prompts"]}
    assert done.code == 4
    for name, (_, expected) in spoiled.items():
        assert expected in problems[ids[name]], name
    assert problems[SHIPPED_ID] == "[]"
