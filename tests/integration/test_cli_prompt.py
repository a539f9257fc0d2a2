"""modctl prompt: list, show, import, export, calibrate, with the miniature backbone."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from moderation.datasets import from_root, manifest_sha256
from moderation.detector import QUESTIONS, Calibration, Crops, SoftPrompt
from moderation.detector.checkpoint import LLM_KEY, QFORMER_KEY
from moderation.miniature import PROMPT_FILE, samples
from moderation.miniature.canary import shipped_answers
from tests.command import Done, modctl, ok, refusal
from tests.waiting import GENEROUS_S

CHECKPOINTS = Path(__file__).parents[1] / "golden" / "data" / "checkpoints"
PAIRS = 22  # of pictures to calibrate on; two more than must be
SHIPPED_ID = hashlib.sha256(PROMPT_FILE.read_bytes()).hexdigest()[:12]


def another_prompt(folder: Path, number: float = 0.25) -> Path:
    """The shipped prompt with its last number replaced."""
    file = folder / "another.safetensors"
    file.write_bytes(PROMPT_FILE.read_bytes()[:-4] + struct.pack("<f", number))
    return file


def prompts() -> dict[str, str]:
    return {record["prompt_id"]: record["state"] for record in ok("prompt", "list", "--json").lines()}


def answered() -> list[str]:
    """The prompts whose answers to the canary pictures are on record."""
    return [known["asked"]["prompt_id"] for known in ok("canary", "list", "--json").lines()]


def shown(prompt_id: str) -> dict[str, str]:
    """What `prompt show` prints, by name."""
    pairs = (line.strip().partition("  ") for line in ok("prompt", "show", prompt_id).out.splitlines())
    return {name: value.strip().strip('"') for name, _, value in pairs}


def test_prompts_are_listed_and_shown(installed: None) -> None:
    (record,) = ok("prompt", "list", "--json").lines()
    assert (record["prompt_id"], record["name"], record["state"]) == (SHIPPED_ID, "shipped", "active")
    shown_record = ok("prompt", "show", SHIPPED_ID[:4], "--json").json()
    assert {name: shown_record[name] for name in record} == record
    shown = [line.split() for line in ok("prompt", "show", SHIPPED_ID).out.splitlines()]
    assert ["sha256", record["sha256"]] in shown
    assert SHIPPED_ID in ok("prompt", "list").out
    said = refusal(modctl("prompt", "show", "zz"))
    assert said == "prompt: 'zz' is not a registered id\n  see: modctl prompt list"


def test_a_prompt_is_registered_once_and_activated_when_asked(installed: None, tmp_path: Path) -> None:
    again = ok("prompt", "import", PROMPT_FILE).out
    assert again == f"{SHIPPED_ID} (shipped) is registered as active.\n"

    file = another_prompt(tmp_path)
    record = ok("prompt", "import", file, "--json").json()
    assert (record["name"], record["state"], record["backbone"]) == ("another", "candidate", "miniature")
    other = record["prompt_id"]
    assert answered() == [other]
    refused = modctl("prompt", "import", file, "--activate")
    assert "no terminal to ask on; add --yes" in refusal(refused)
    assert f"active on miniature: {SHIPPED_ID} (shipped) -> {other} (another)" in refused.err
    assert prompts() == {SHIPPED_ID: "active", other: "candidate"}

    assert ok("prompt", "import", file, "--activate", "--yes").out == f"{other} (another) is registered as active.\n"
    assert prompts() == {SHIPPED_ID: "retired", other: "active"}
    ok("db", "upgrade")  # puts nothing in the place of what a person chose
    assert prompts() == {SHIPPED_ID: "retired", other: "active"}
    ok("prompt", "import", PROMPT_FILE, "--activate", "--yes")
    assert prompts() == {SHIPPED_ID: "active", other: "retired"}


def test_a_machine_that_answers_otherwise_than_the_workers_records_nothing(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = shipped_answers(exif_orientation=True)
    wrong = [replace(each, answers=(0.9,) * len(each.answers)) for each in shipped]
    monkeypatch.setattr("moderation.miniature.canary.shipped_answers", lambda **_: wrong)
    done = ok("prompt", "import", another_prompt(tmp_path))
    assert "is registered as candidate" in done.out
    assert "Warning: this machine does not answer as the workers of its kind do: nothing is known of" in done.err
    assert answered() == []


def cut(data: bytes) -> bytes:
    return data[:-40]


def with_nan(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<f", float("nan"))


def for_another_revision(data: bytes) -> bytes:
    return data.replace(str(SoftPrompt.from_bytes(data).revision).encode(), 64 * b"0")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: bytes(range(256)) * 9, "not a prompt of this program"),
        (lambda _: b"", "not a prompt of this program"),
        (cut, "not a safetensors file"),
        (with_nan, "holds numbers that are not finite"),
        (for_another_revision, "it does not fit: tuned on miniature at revision 0000"),
    ],
)
def test_a_file_that_is_no_prompt_is_refused_by_name(
    installed: None, tmp_path: Path, spoil: Callable[[bytes], bytes], message: str
) -> None:
    (tmp_path / "mine.safetensors").write_bytes(spoil(PROMPT_FILE.read_bytes()))
    said = refusal(modctl("prompt", "import", "mine.safetensors", "--activate", "--yes"))
    assert said.startswith("mine.safetensors: ")
    assert message in said
    assert prompts() == {SHIPPED_ID: "active"}


def test_an_original_checkpoint_for_another_backbone_is_refused(installed: None) -> None:
    done = modctl("prompt", "import", CHECKPOINTS / "original_both.pth")
    said = refusal(done)
    assert "original_both.pth: it does not fit: its qformer vectors hold 24 numbers" in said
    assert "--no-check" in said
    assert "Q-Former: [1, 24] numbers" in done.err
    assert prompts() == {SHIPPED_ID: "active"}


@pytest.mark.parametrize("name", ["malformed_no_embeddings.pth", "malformed_no_model_key.pth"])
def test_a_malformed_checkpoint_is_refused_by_name(installed: None, name: str) -> None:
    assert name in refusal(modctl("prompt", "import", CHECKPOINTS / name))
    assert prompts() == {SHIPPED_ID: "active"}


def test_import_without_check_registers_for_a_backbone_that_is_not_here(installed: None) -> None:
    record = ok("prompt", "import", CHECKPOINTS / "original_both.pth", "--no-check", "--name", "tiny", "--json").json()
    assert (record["name"], record["state"]) == ("tiny", "candidate")


def test_show_says_what_a_prompt_holds(installed: None, tmp_path: Path) -> None:
    facts = shown(SHIPPED_ID)
    assert facts["pseudo-word"] == "1 token in the Q-Former, 1 token in the language model"
    assert facts["position"] == "postfix"
    assert facts["calibration"] == SoftPrompt.load(PROMPT_FILE).calibration.described
    assert facts["native crops"] == "none"
    assert facts["pixel expert"].startswith("residual-1, 16145 numbers, weight ")
    assert facts["pixel expert"].endswith(", on 1 crop")
    assert facts["parent"] == "none registered; made from: not said"

    prompt = SoftPrompt.load(PROMPT_FILE)
    assert prompt.qformer is not None
    rich = replace(
        prompt,
        qformer=torch.stack([prompt.qformer.repeat(2, 1)] * 3),
        llm=None,
        crops=Crops(4, "max"),
        calibration=Calibration(2.0, 0.5, ((-1.0, 0.2), (1.0, 0.9)), {"forum": 0.25, "app": -0.5}),
        metadata={"validation": {"auc": 0.9, "by_set": [1, 2]}, "parent": SHIPPED_ID},
    )
    rich.save(tmp_path / "rich.safetensors")
    done = ok("prompt", "import", "rich.safetensors", "--json")
    record = done.json()
    assert record["parent"] == SHIPPED_ID
    assert record["holds"]["tokens"] == {"qformer": 2}
    assert record["holds"]["source_bias"] == {"forum": 0.25, "app": -0.5}
    facts = shown(record["prompt_id"])
    assert facts["pseudo-word"] == "3 words (an ensemble) of 2 tokens in the Q-Former"
    assert facts["native crops"] == "4, max with the whole, where P(fake) lies in 0.2..0.8"
    assert facts["calibration"] == "isotonic 2 knots, platt 2 0.5, 2 source biases"
    assert facts["source bias"] == "app -0.50, forum +0.25"
    assert (facts["parent"], facts["format"]) == (SHIPPED_ID, "2")
    assert (facts["validation.auc"], facts["validation.by_set"]) == ("0.9", "[1, 2]")
    assert all(f"  {name}: {facts[name]}\n" in done.err for name in ("native crops", "source bias", "tuned on"))


def test_list_show_and_export_need_no_torch(installed: None, tmp_path: Path) -> None:
    script = """
import sys
sys.modules.update(dict.fromkeys(("torch", "numpy", "safetensors", "transformers")))
from moderation.cli import main
for arguments in (["list"], ["show", sys.argv[1]], ["export", sys.argv[1], "out.safetensors"]):
    try:
        main(["prompt", *arguments])
    except SystemExit as end:
        assert not end.code
"""
    command = [sys.executable, "-c", script, SHIPPED_ID]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GENEROUS_S)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.safetensors").read_bytes() == PROMPT_FILE.read_bytes()


# --- checkpoints of the original


def checkpoint(path: Path, **changes: Any) -> Path:
    """A checkpoint whose vectors have the miniature's sizes."""
    prompt = SoftPrompt.load(PROMPT_FILE)
    config = {
        "model": {"prompt": QUESTIONS["prefix"], "llm_model": "/data/vicuna-7b-v1.3"},
        "datasets": {"textinv": {"vis_processor": {"eval": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}}},
    }
    vectors = {QFORMER_KEY: prompt.qformer, LLM_KEY: prompt.llm}
    torch.save({"model": vectors, "config": config, "epoch": 3, **changes}, path)
    return path


def test_import_says_what_a_checkpoint_holds_and_whether_the_backbone_matches(installed: None, tmp_path: Path) -> None:
    done = ok("prompt", "import", checkpoint(tmp_path / "mine.pth", optimizer={"state": {}}), "--json")
    notes = done.json()["notes"]
    assert notes[2:] == [
        "question: '[*] Is this photo real?' (prefix)",
        "normalisation: mean 0.1 0.2 0.3, std 0.4 0.5 0.6, from datasets.textinv.vis_processor.eval",
        "left aside: optimizer, of use only to go on tuning",
        "epoch: 3",
        "language model: tuned on vicuna-7b-v1.3; that of miniature: can't be told from its name",
    ]
    assert all(f"  {note}\n" in done.err for note in notes)
    assert "set MODERATION_LANGUAGE_MODEL=lmsys/vicuna-7b-v1.3" in done.err
    facts = shown(done.json()["prompt_id"])
    assert facts["normalisation"] == "mean 0.1 0.2 0.3, std 0.4 0.5 0.6"
    assert facts["calibration"] == "none: P(fake) is the model's own belief"
    assert (facts["position"], facts["language_model"]) == ("prefix", "vicuna-7b-v1.3")


@pytest.mark.parametrize(("language_model", "verdict"), [("", "differs"), ("lmsys/vicuna-7b-v1.3", "matches")])
def test_import_without_check_goes_by_the_settings_and_loads_no_backbone(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language_model: str, verdict: str
) -> None:
    monkeypatch.setenv("MODERATION_BACKBONE", "Salesforce/instructblip-vicuna-7b")
    if language_model:
        monkeypatch.setenv("MODERATION_LANGUAGE_MODEL", language_model)
    done = ok("prompt", "import", checkpoint(tmp_path / "mine.pth"), "--no-check", "--json")
    assert done.json()["notes"][-1].endswith(f": {verdict}")
    assert done.json()["backbone"] == "Salesforce/instructblip-vicuna-7b" + f"+{language_model}" * bool(language_model)
    assert ("Warning: " in done.err) == (verdict == "differs") == bool(done.json()["warnings"])


def test_a_stripped_checkpoint_takes_its_question_and_statistics_from_options(installed: None, tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "bare.pth", config=None)
    assert "--question 'Is this photo real [*]?'" in refusal(modctl("prompt", "import", file))
    question = ("--question", QUESTIONS["replace"])
    assert "--normalisation 150k" in refusal(modctl("prompt", "import", file, *question))
    said = refusal(modctl("prompt", "import", file, *question, "--normalisation", "0.1,0.2/0.3"))
    assert "none of 150k, 150k-lama, clip and no R,G,B/R,G,B" in said
    for named, mean in (("150k-lama", [0.4722, 0.449, 0.4117]), ("0.1,0.2,0.3/0.4,0.5,0.6", [0.1, 0.2, 0.3])):
        holds = ok("prompt", "import", file, *question, "--normalisation", named, "--json").json()["holds"]
        assert (holds["position"], holds["question"], holds["mean"]) == ("replace", QUESTIONS["replace"], mean)
    assert "are for checkpoints" in refusal(modctl("prompt", "import", PROMPT_FILE, *question))


class _Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("was_run",)


@pytest.mark.parametrize("name", ["bomb.pth", "bomb.safetensors"])
def test_code_in_a_file_is_not_run(installed: None, tmp_path: Path, name: str) -> None:
    checkpoint(tmp_path / name, scaler=_Bomb())
    said = refusal(modctl("prompt", "import", name, "--activate", "--yes"))
    assert said.startswith(f"{name}: it holds more than tensors and plain values")
    (tmp_path / name).write_bytes(pickle.dumps({"model": _Bomb()}))
    assert refusal(modctl("prompt", "import", name)).startswith(f"{name}: ")
    assert not (tmp_path / "was_run").exists()
    assert prompts() == {SHIPPED_ID: "active"}


# --- export


def test_what_is_exported_is_what_was_registered(installed: None, tmp_path: Path) -> None:
    done = ok("prompt", "export", SHIPPED_ID[:5], "mine.safetensors", "--json").json()
    data = (tmp_path / "mine.safetensors").read_bytes()
    assert data == PROMPT_FILE.read_bytes()
    assert (done["format"], done["bytes"], done["lost"]) == ("safetensors", len(data), [])
    assert ok("prompt", "import", "mine.safetensors").out == f"{SHIPPED_ID} (shipped) is registered as active.\n"


def test_the_originals_format_brings_the_vectors_back_to_the_bit(installed: None, tmp_path: Path) -> None:
    done = ok("prompt", "export", PROMPT_FILE, "mine.pth")
    assert "Lost: the calibration (" in done.err
    assert "Lost: the pixel expert" in done.err
    assert done.out.endswith("the original code's format\n")
    record = ok("prompt", "import", "mine.pth", "--json").json()
    ok("prompt", "export", record["prompt_id"], "back.safetensors")
    before, after = SoftPrompt.load(PROMPT_FILE), SoftPrompt.load(tmp_path / "back.safetensors")
    for side in ("qformer", "llm"):
        assert getattr(before, side).numpy().tobytes() == getattr(after, side).numpy().tobytes()
    assert (after.question, after.normalisation) == (before.question, before.normalisation)


def test_export_overwrites_only_when_told_and_writes_all_or_nothing(installed: None, tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").write_text("mine")
    assert "--force" in refusal(modctl("prompt", "export", SHIPPED_ID, "there.safetensors"))
    assert (tmp_path / "there.safetensors").read_text() == "mine"
    ok("prompt", "export", SHIPPED_ID, "there.safetensors", "--force")
    assert (tmp_path / "there.safetensors").read_bytes() == PROMPT_FILE.read_bytes()
    assert "there is no folder nowhere" in refusal(modctl("prompt", "export", SHIPPED_ID, "nowhere/x.safetensors"))
    assert "it is a folder" in refusal(modctl("prompt", "export", SHIPPED_ID, tmp_path))
    assert "is not a registered id" in refusal(modctl("prompt", "export", "zz", "x.safetensors"))
    assert "no such file" in refusal(modctl("prompt", "export", "zz.safetensors", "x.safetensors"))
    plain = tmp_path / "plain.safetensors"
    SoftPrompt.plain("miniature").save(plain)
    assert "no pseudo-word to write" in refusal(modctl("prompt", "export", plain, "x.pth"))
    assert {each.name for each in tmp_path.iterdir()} == {"moderation.db", "there.safetensors", "plain.safetensors"}


# --- calibrate


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/samples/{real,fake}: PAIRS sample pictures of each class, in pairs of the same name."""
    root = tmp_path_factory.mktemp("labelled")
    taken = dict.fromkeys((False, True), 0)
    for sample in samples():
        is_fake = "-fake" in sample.path.name
        if taken[is_fake] < PAIRS:
            taken[is_fake] += 1
            folder = root / "samples" / ("fake" if is_fake else "real")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample.path, folder / sample.path.name.replace("-fake", "").replace("-real", ""))
    assert set(taken.values()) == {PAIRS}
    return root


def failed_bar(done: Done) -> str:
    """The message of a missed bar: exit 4 with nothing on standard output."""
    assert (done.code, done.out) == (4, ""), done
    return done.err.partition("Error: ")[2].strip()


def test_calibrate_makes_a_new_candidate_and_leaves_the_prompt_alone(installed: None, labelled: Path) -> None:
    done = ok("prompt", "calibrate", SHIPPED_ID, "--data", labelled, "--json")
    made = done.json()
    assert (made["state"], made["parent"], made["name"]) == ("candidate", SHIPPED_ID, "shipped calibrated")
    assert prompts() == {SHIPPED_ID: "active", made["prompt_id"]: "candidate"}
    assert answered() == [made["prompt_id"]]
    figures = made["figures"]
    assert (figures["n_real"], figures["n_fake"], figures["held_out"]) == (PAIRS, PAIRS, True)
    assert 0 < figures["after"]["nll"] < math.log(2)  # what knowing nothing costs
    told = made["metrics"]["calibration"]
    assert told["data_sha256"] == manifest_sha256(from_root(labelled))
    assert told["after"] == figures["after"]
    assert shown(made["prompt_id"])["calibration"] == made["calibration"]

    ok("prompt", "export", made["prompt_id"], "new.safetensors")
    before, after = SoftPrompt.load(PROMPT_FILE), SoftPrompt.load(Path("new.safetensors"))
    picture = next(labelled.rglob("*.jpg"))
    (old,) = ok("scan", picture, "--json", "--prompt", PROMPT_FILE).lines()
    (new,) = ok("scan", picture, "--json", "--prompt", "new.safetensors").lines()
    assert new["margin"] == old["margin"]
    assert new["probability"] == after.calibration.probability(old["margin"]) != old["probability"]
    assert before.qformer is not None
    assert after.qformer is not None
    assert torch.equal(before.qformer, after.qformer)


def test_calibrate_tells_of_a_missing_extra_before_it_scores(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_others(name: str, parent: str | None = None) -> ModuleSpec | None:
        return None if name == "scipy" else find(name, parent)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    done = modctl("prompt", "calibrate", PROMPT_FILE, "--data", labelled, "--out", "new.safetensors")
    assert refusal(done).startswith("installation: scipy is missing")
    assert "scoring" not in done.err
    assert not Path("new.safetensors").exists()


def test_calibrate_shows_figures_before_and_after(installed: None, labelled: Path) -> None:
    done = ok("prompt", "calibrate", SHIPPED_ID, "--data", labelled, "--name", "honest", "--prevalence", "0.1")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["before", "after", "(held", "out)"]
    assert [line[0] for line in lines[2:5]] == ["ECE", "NLL", "Brier"]
    assert f"on {PAIRS} real and {PAIRS} fake; fakes weighed to a share of 0.1" in done.out
    assert done.out.endswith(f"(honest), made from {SHIPPED_ID}, is registered as candidate.\n")
    assert f"isotonic takes more than 1000 labels, here are {2 * PAIRS}" in done.err
    assert "tuned on this data" not in done.err
    assert "modctl eval --prompt" in done.err


def test_calibrate_activates_when_asked(installed: None, labelled: Path) -> None:
    command = ("prompt", "calibrate", SHIPPED_ID, "--data", labelled, "--activate", "--json")
    refused = modctl(*command)
    assert "no terminal to ask on; add --yes" in refusal(refused)
    assert prompts() == {SHIPPED_ID: "active"}
    made = ok(*command, "--yes").json()
    assert f"active on miniature: {SHIPPED_ID} (shipped) -> {made['prompt_id']} (shipped calibrated)" in refused.err
    assert prompts() == {SHIPPED_ID: "retired", made["prompt_id"]: "active"}


def test_calibrate_takes_a_file_and_needs_no_database(labelled: Path, tmp_path: Path) -> None:
    shutil.copy(PROMPT_FILE, tmp_path / "mine.safetensors")
    (labelled / "samples" / "fake" / "broken.jpg").write_bytes(b"no picture")
    try:
        done = ok("prompt", "calibrate", "mine.safetensors", "--data", labelled)
    finally:
        (labelled / "samples" / "fake" / "broken.jpg").unlink()
    assert "left out, could not be scored: 1 picture (broken.jpg)\n" in done.err
    made = SoftPrompt.load(tmp_path / "mine.calibrated.safetensors")
    assert made.metadata["parent"] == SHIPPED_ID
    assert made.metadata["calibration"]["unscored"] == 1
    assert (tmp_path / "mine.safetensors").read_bytes() == PROMPT_FILE.read_bytes()
    assert "--force" in refusal(modctl("prompt", "calibrate", "mine.safetensors", "--data", labelled))
    ok("prompt", "calibrate", "mine.safetensors", "--data", labelled, "--out", "x.safetensors")
    assert SoftPrompt.load(tmp_path / "x.safetensors").calibration == made.calibration


def test_calibrate_scores_twice_where_its_result_decides_about_crops(labelled: Path, tmp_path: Path) -> None:
    """The calibration moves the band that crops are looked at in, and must fit the margins that it then meets."""
    prompt = replace(SoftPrompt.load(PROMPT_FILE), crops=Crops(1, "max"), calibration=Calibration(1e-6, 0.0))
    prompt.save(tmp_path / "crops.safetensors")
    done = ok("prompt", "calibrate", "crops.safetensors", "--data", labelled, "--json")
    assert "scoring twice" in done.err
    assert done.json()["figures"]["before"]["ece"] > done.json()["figures"]["after"]["ece"]


def test_calibrating_on_the_tuning_data_is_warned_about(labelled: Path, tmp_path: Path) -> None:
    tuned_on = {"tuned_on": manifest_sha256(from_root(labelled))}
    replace(SoftPrompt.load(PROMPT_FILE), metadata=tuned_on).save(tmp_path / "mine.safetensors")
    assert "tuned on this data" in ok("prompt", "calibrate", "mine.safetensors", "--data", labelled).err


def test_too_few_labels_or_the_wrong_way_round_is_exit_four(installed: None, labelled: Path, tmp_path: Path) -> None:
    few = tmp_path / "few" / "set"
    for label in ("real", "fake"):
        (few / label).mkdir(parents=True)
        for file in sorted((labelled / "samples" / label).iterdir())[: 19 if label == "real" else PAIRS]:
            shutil.copy(file, few / label)
    said = failed_bar(modctl("prompt", "calibrate", SHIPPED_ID, "--data", few.parent))
    assert said == f"too few labels: 19 real and {PAIRS} fake, and a calibration takes 20 of each"
    swapped = tmp_path / "swapped" / "set"
    for label, other in (("real", "fake"), ("fake", "real")):
        shutil.copytree(labelled / "samples" / label, swapped / other)
    said = failed_bar(modctl("prompt", "calibrate", SHIPPED_ID, "--data", swapped.parent))
    assert "fakes do not score higher than real pictures" in said
    assert prompts() == {SHIPPED_ID: "active"}


def test_calibrate_takes_a_manifest_and_its_split(installed: None, labelled: Path, tmp_path: Path) -> None:
    kept = [file.name for file in sorted(labelled.rglob("real/*"))[: PAIRS - 2]]
    rows = ["path,label,split"]
    rows += [
        f"{file},{file.parent.name},{'val' if file.name in kept else 'test'}"
        for file in sorted(labelled.rglob("*.jpg"))
    ]
    manifest = tmp_path / "data.csv"
    manifest.write_text("\n".join(rows))
    made = ok("prompt", "calibrate", SHIPPED_ID, "--manifest", manifest, "--json").json()
    assert (made["figures"]["n_real"], made["metrics"]["calibration"]["split"]) == (PAIRS - 2, "val")
    assert failed_bar(modctl("prompt", "calibrate", SHIPPED_ID, "--manifest", manifest, "--split", "test"))
    said = refusal(modctl("prompt", "calibrate", SHIPPED_ID, "--manifest", manifest, "--split", "train"))
    assert said == f"{manifest}: no picture of split train\n  it holds test (4), val ({2 * PAIRS - 4}); choose: --split"


def test_calibrate_refuses_by_name_what_it_can_not_use(installed: None, labelled: Path, tmp_path: Path) -> None:
    def said(*arguments: object) -> str:
        return refusal(modctl("prompt", "calibrate", *arguments))

    assert "either --data ROOT or --manifest FILE" in said(SHIPPED_ID)
    assert "either --data ROOT or --manifest FILE" in said(SHIPPED_ID, "--data", labelled, "--manifest", "x.csv")
    assert "is not a registered id" in said("zz", "--data", labelled)
    assert "modctl prompt import" in said(CHECKPOINTS / "original_both.pth", "--data", labelled)
    assert "there is no such file" in said("mine.safetensors", "--data", labelled)
    assert "neither a share between 0 and 1 nor 'data'" in said(SHIPPED_ID, "--data", labelled, "--prevalence", "2")
    assert "prompt export" in said(SHIPPED_ID, "--data", labelled, "--out", "x.safetensors")
    assert "import the file first" in said(PROMPT_FILE, "--data", labelled, "--activate")
    assert "nowhere" in said(SHIPPED_ID, "--data", "nowhere")
    replace(SoftPrompt.load(PROMPT_FILE), revision="0" * 64).save(tmp_path / "other.safetensors")
    assert said("other.safetensors", "--data", labelled).startswith("other.safetensors: it does not fit")
    assert prompts() == {SHIPPED_ID: "active"}


def test_imports_and_activations_are_events_with_actor_and_reason(installed: None, tmp_path: Path) -> None:
    file = another_prompt(tmp_path)
    ok("prompt", "import", file, "--activate", "--yes", "--actor", "eve", "--reason", "it was better in autumn")
    ok("prompt", "import", PROMPT_FILE, "--activate", "--yes")
    newest, second, *_ = ok("audit", "log", "--kind", "prompt.activate", "--json").lines()
    assert (second["actor"], second["reason"]) == ("eve", "it was better in autumn")
    assert newest["actor"] not in ("", "antifake-moderation")
    assert newest["reason"] == "imported from prompt.safetensors"
    assert ok("audit", "log", "--kind", "prompt.register", "--json").lines()[0]["actor"] == "eve"
