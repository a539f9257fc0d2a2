"""modctl tune on the miniature: from folders to a registered prompt, stopped, killed, resumed, refused."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from moderation.detector import Detector, Score, SoftPrompt, load_backbone
from moderation.domain.lesson import Side, unpack
from moderation.domain.prompt import PromptId
from moderation.evaluation.metrics import auc
from moderation.images import decode
from moderation.images.views import views_of
from moderation.miniature import PROMPT_FILE, samples
from moderation.settings import load_settings
from moderation.training.lora import load_lora
from moderation.training.run import RunFolder
from moderation.wiring import Wiring
from tests.command import Done, modctl, ok
from tests.training_pictures import labelled

PAIRS = 44
EXPERT_EPOCHS = 6  # of one that begins from nothing
QUICK = ("--epochs", 4, "--batch-size", 8, "--val", 0.5, "--yes")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    labelled(folder, PAIRS, size=(140, 130))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture
def folders(data: Path) -> tuple[object, ...]:
    return ("--real", data / "real", "--fake", data / "fake")


@pytest.fixture
def installed(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database with tables and the shipped prompt."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
    ok("db", "upgrade")


def the_run(folder: Path = Path("runs")) -> Path:
    (found,) = folder.iterdir()
    return found


def events(run: Path, kind: str) -> list[Any]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


def refusal(done: Done) -> str:
    assert (done.code, done.out) == (2, ""), done
    assert "Traceback" not in done.err
    return done.err


def learned_from(prompt_id: str) -> set[tuple[str, bool, Side]]:
    """The pictures that are listed with a registered prompt."""
    wiring = Wiring(load_settings())
    packed = wiring.prompts.manifest(PromptId(prompt_id))
    wiring.close()
    assert packed is not None
    return {(lesson.name, lesson.is_fake, lesson.side) for lesson in unpack(packed)}


# --- from folders to a candidate


@pytest.mark.usefixtures("installed")
def test_a_prompt_is_tuned_calibrated_and_registered(folders: tuple[object, ...]) -> None:
    shipped = ok("prompt", "list", "--json").lines()[0]
    done = ok("tune", *folders, *QUICK, "--name", "mine", "--init", f"prompt:{shipped['prompt_id']}", "--json")
    found = done.json()
    from_file = ok("tune", *folders, "--epochs", 1, "--val", 0.5, "--yes", "--init", f"prompt:{PROMPT_FILE}", "--json")
    same = ok("prompt", "show", from_file.json()["prompt_id"], "--json").json()
    assert same["parent"] == shipped["prompt_id"]
    record = ok("prompt", "show", found["prompt_id"], "--json").json()
    assert (record["name"], record["state"], record["parent"]) == ("mine", "candidate", shipped["prompt_id"])
    assert [item["state"] for item in ok("prompt", "list", "--json").lines()].count("active") == 1
    prompt = SoftPrompt.load(Path(found["artefact"]))
    assert prompt.sha256 == record["sha256"] == found["sha256"]
    assert found["prompt_id"] in {known["asked"]["prompt_id"] for known in ok("canary", "list", "--json").lines()}
    said = record["metrics"]
    assert said["validation"] == found["validation"]
    assert (said["validation"]["n_real"], said["validation"]["n_fake"]) == (PAIRS // 2, PAIRS // 2)
    assert said["training"] == {"n_real": PAIRS // 2, "n_fake": PAIRS // 2}
    assert said["plan"]["name"] == "mine"
    assert said["calibration"]["n_fake"] == PAIRS // 2
    assert prompt.calibration.described != "platt 1 0"
    run = Path(found["run"])
    facts = json.loads((run / "plan.json").read_text())
    assert facts["manifest_sha256"] == said["tuned_on"]
    assert prompt.normalisation.mean == tuple(facts["mean"])
    assert Path(found["report"]).read_text(encoding="utf-8").startswith("<!")
    assert len(events(run, "epoch")) == 4
    assert {"run", "epoch 4"} <= {line.split(":")[0] for line in done.err.splitlines()}
    with (run / "manifest.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * PAIRS
    assert not list(run.rglob("*.p*kl*")) + list(run.rglob("*.pt*"))
    assert learned_from(found["prompt_id"]) == {(str(image.path), image.is_fake, side)
                                                for side, half in zip(Side, RunFolder.open(run).images(), strict=False)
                                                for image in half}  # fmt: skip


def test_a_second_run_says_what_came_from_the_cache_and_gives_the_same_bytes(folders: tuple[object, ...]) -> None:
    artefacts = []
    for out in ("first", "second"):
        done = ok("tune", *folders, *QUICK, "--out", out)
        artefacts.append((the_run(Path(out)) / "prompt.safetensors").read_bytes())
    assert f"training: {PAIRS} of {PAIRS} came from the cache" in done.err
    assert artefacts[0] == artefacts[1]
    no_cache = ok("tune", *folders, *QUICK, "--out", "third", "--no-cache")
    assert "came from" not in no_cache.err
    assert (the_run(Path("third")) / "prompt.safetensors").read_bytes() == artefacts[0]


def test_without_a_database_the_file_is_kept_and_the_way_is_told(folders: tuple[object, ...]) -> None:
    done = ok("tune", *folders, *QUICK)
    assert "not registered: database schema" in done.err
    assert f"modctl prompt import {the_run()}/prompt.safetensors" in done.err
    assert not Path("moderation.db").exists()
    assert "report" in done.out
    assert "AUC" in done.out


@pytest.mark.usefixtures("installed")
def test_no_register_registers_nothing(folders: tuple[object, ...]) -> None:
    assert ok("tune", *folders, *QUICK, "--no-register", "--json").json()["prompt_id"] is None
    assert len(ok("prompt", "list", "--json").lines()) == 1


def test_a_dry_run_shows_the_plan_and_makes_nothing(data: Path) -> None:
    (data / "empty").mkdir(exist_ok=True)
    done = ok("tune", "--real", data / "real", "--fake", data / "fake", "--dry-run", "--json", "--batch-size", 8)
    found = done.json()
    assert found["pictures"]["train"]["class"]["fake"] + found["pictures"]["val"]["class"]["fake"] == PAIRS
    assert found["plan"]["lr"] == pytest.approx(0.03, rel=0.2)
    assert found["steps"] == found["steps_per_epoch"] * found["plan"]["epochs"] >= 400
    assert found["feature_bytes"] == 2 * PAIRS * 257 * 128 * 2
    text = ok("tune", "--real", data / "real", "--fake", data / "fake", "--dry-run").out
    assert "train by class" in text
    assert not Path("runs").exists()


def test_a_manifest_says_what_is_trained_on_and_what_is_left_out(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "manifest.csv"
    with file.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(("path", "label", "generator", "source", "split"))
        for number in range(12):
            split = ("train", "val", "test")[number % 3]
            rows.writerow((data / "real" / f"{number:03}.png", "real", "none", "web", split))
            rows.writerow((data / "fake" / f"{number:03}.png", "fake", f"maker{number % 2}", "web", split))
    found = ok("tune", "--manifest", file, "--dry-run", "--json").json()
    assert found["pictures"]["train"]["class"] == {"real": 4, "fake": 4}
    assert found["pictures"]["val"]["generator"] == {"maker0": 2, "maker1": 2}
    assert found["left_out"] == 8


@pytest.mark.parametrize("real", [("--real", "A", "B"), ("--real", "A", "--real", "B")])
def test_several_folders_a_class(tmp_path: Path, real: tuple[str, ...]) -> None:
    for number, name in enumerate("ABF"):
        labelled(tmp_path / name, 4, first=4 * number)
    Path("A").rename("all-A")
    for name in "AB":
        source = Path("all-A" if name == "A" else "B")
        (source / "real").rename(tmp_path / f"real-{name}")
    for name in "AB":
        if Path(name).exists():
            Path(name).rename(f"rest-{name}")
        Path(f"real-{name}").rename(name)
    found = ok("tune", *real, "--fake", Path("F") / "fake", "--dry-run", "--json", "--val", 0.3).json()
    assert sum(half["class"]["real"] for half in found["pictures"].values()) == 8


# --- variants


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (("--tokens", 3, "--position", "prefix", "--normalisation", "clip"), {"qformer": (3, 96), "llm": (3, 96)}),
        (("--sides", "llm", "--init", "word:blurred", "--position", "replace"), {"llm": (1, 96)}),
        (
            ("--members", 2, "--crops", 2, "--crop-pool", "max", "--augment", "robust"),
            {"qformer": (2, 1, 96), "llm": (2, 1, 96)},
        ),
    ],
)
def test_variants_score_as_what_they_are(
    folders: tuple[object, ...], options: tuple[object, ...], shape: dict[str, tuple[int, ...]]
) -> None:
    ok("tune", *folders, *QUICK, *options)
    prompt = SoftPrompt.load(the_run() / "prompt.safetensors")
    tensors = {"qformer": prompt.qformer, "llm": prompt.llm}
    assert {side: tuple(values.shape) for side, values in tensors.items() if values is not None} == shape
    named = dict(zip(options[::2], options[1::2], strict=True))
    assert prompt.position == named.get("--position", "postfix")
    assert prompt.native_crops == named.get("--crops", 0)
    Detector(load_backbone("miniature", device="cpu", dtype="float32"), prompt)
    assert ok("scan", PROMPT_FILE.parent / "samples" / "astronaut-00-real.jpg", "--prompt",
              the_run() / "prompt.safetensors").code == 0  # fmt: skip


def test_the_papers_recipe_says_what_it_set(folders: tuple[object, ...]) -> None:
    done = ok("tune", *folders, "--recipe", "paper", "--epochs", 1, "--val", 0.5, "--yes")
    for said in ("--loss answer", "--augment paper", "--batch-size 6", "--lr 1e-05", "--schedule paper", "--seed 42",
                 "--weight-decay 0.05", "--precision fp32"):  # fmt: skip
        assert said in done.err
    assert "--precision fp16" not in done.err
    assert done.err.count("MODERATION_EXIF_ORIENTATION=false") == 1
    assert "given beside it     --epochs 1" in done.err
    assert "fp16 needs CUDA and this is cpu; tuning in fp32" in done.err
    assert "so their features are not kept" in done.err
    plan = json.loads((the_run() / "plan.json").read_text())["plan"]
    assert (plan["recipe"], plan["epochs"], plan["precision"]) == ("paper", 1, "fp32")


def test_the_papers_normalisation_is_that_of_all_training_pictures(
    folders: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moderation.training.reading.SAMPLE", 3)
    monkeypatch.setenv("MODERATION_EXIF_ORIENTATION", "false")
    found = {}
    for recipe, counted in (("paper", PAIRS), ("default", 3)):
        done = ok("tune", *folders, "--recipe", recipe, *QUICK, "--epochs", 1, "--out", recipe)
        assert f"statistics of {counted} of {PAIRS} training pictures" in done.err
        assert "EXIF" not in done.err
        found[recipe] = json.loads((the_run(Path(recipe)) / "plan.json").read_text())["mean"]
    assert found["paper"] != found["default"]


@pytest.mark.usefixtures("installed")
def test_lora_is_a_baseline_in_a_folder(folders: tuple[object, ...]) -> None:
    done = ok("tune", *folders, *QUICK, "--method", "lora", "--json")
    found = done.json()
    assert "a LoRA adapter is a baseline" in done.err
    assert found["prompt_id"] is None
    detector = load_lora(Path(found["artefact"]), load_backbone("miniature", device="cpu", dtype="float32"))
    assert detector.native_crops == 0
    assert len(ok("prompt", "list", "--json").lines()) == 1


def test_tensorboard_gets_its_events(folders: tuple[object, ...]) -> None:
    ok("tune", *folders, *QUICK, "--tensorboard")
    assert list((the_run() / "tensorboard").glob("events.out.tfevents.*"))


def test_unreadable_pictures_are_named_and_left_out(tmp_path: Path) -> None:
    labelled(tmp_path, 8, size=(130, 130))
    (tmp_path / "fake" / "000.png").write_bytes(b"broken")
    done = ok("tune", "--real", tmp_path / "real", "--fake", tmp_path / "fake", "--epochs", 1, "--val", 0.5, "--yes")
    assert "left out, not readable as pictures: 1" in done.err
    assert "000.png" in events(the_run(), "unreadable")[0]["path"]


@pytest.mark.parametrize(
    "options",
    [
        ("--members", 2, "--expert"),
        ("--crops", 2, "--crop-pool", "max"),
        ("--crops", 2, "--expert"),
    ],
)
def test_the_figures_are_those_that_the_detector_gives(tmp_path: Path, options: tuple[object, ...]) -> None:
    scale = 3 if "--crops" in options else 1  # larger than the backbone's 128, so that crops show something else
    for sample in samples():
        folder = tmp_path / sample.truth
        folder.mkdir(exist_ok=True)
        with Image.open(sample.path) as picture:
            large = picture.resize((picture.width * scale, picture.height * scale))
        large.save(folder / f"{sample.path.stem.replace(f'-{sample.truth}', '')}.png")
    found = ok("tune", "--real", tmp_path / "real", "--fake", tmp_path / "fake", *QUICK, *options, "--json").json()
    prompt = SoftPrompt.load(Path(found["artefact"]))
    detector = Detector(load_backbone("miniature", device="cpu", dtype="float32"), prompt)
    assert (prompt.expert is not None) == ("--expert" in options)
    with (the_run() / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    pictures = [decode(Path(row["path"]).read_bytes())[0] for row in rows]
    views = [views_of(picture, 128, detector.native_crops) for picture in pictures]
    scores = [score for score in detector.score(views) if isinstance(score, Score)]
    fake = [row["label"] == "fake" for row in rows]
    said = found["validation"]
    for name, is_fake in (("real", False), ("fake", True)):
        right = [(one.probability >= 0.5) == truth for one, truth in zip(scores, fake, strict=True) if truth == is_fake]
        assert sum(right) / len(right) == pytest.approx(said[f"accuracy_{name}"], abs=1e-5)
    assert auc(fake, [score.margin for score in scores]) == pytest.approx(said["auc"], abs=1e-5)
    assert "loss" not in said  # of the word alone, it would say nothing about these margins
    assert prompt.metadata["validation"] == said
    if "--crops" in options:
        whole = detector.with_prompt(replace(prompt, crops=None))
        assert [one.margin for one in scores] != [
            one.margin for one in whole.score(views) if isinstance(one, Score)
        ]  # else this test would prove nothing


def test_the_report_says_what_was_trained_on_and_what_the_prompt_holds(folders: tuple[object, ...]) -> None:
    done = ok("tune", *folders, *QUICK, "--crops", 2, "--json").json()
    report = Path(done["report"]).read_text(encoding="utf-8")
    prompt = SoftPrompt.load(Path(done["artefact"]))
    for words in (
        "training pictures by generator",
        f"{PAIRS // 2} fake, {PAIRS // 2} real",
        f"{prompt.normalisation.mean[0]:.4g}",
        prompt.calibration.described,
        "2, mean with the whole",
        "ECE after calibration, held out",
        f"{prompt.metadata['calibration']['after']['ece']:.4g}",
    ):
        assert words in report, words


# --- stopped and resumed


def test_ctrl_c_among_the_features_tells_how_to_go_on(folders: tuple[object, ...], tmp_path: Path) -> None:
    cache = tmp_path / "own-cache"

    def press() -> None:
        while not list(cache.rglob("*.safetensors")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    done = modctl("tune", *folders, *QUICK, "--no-register", "--cache", cache)
    presser.join()
    assert (done.code, done.out) == (1, "")
    assert f"go on with: modctl tune --resume {the_run()}" in done.err
    assert not (the_run() / "member-0").exists()
    ok("tune", "--resume", the_run(), "--no-register", "--cache", cache)


def test_ctrl_c_keeps_the_best_so_far_and_resume_goes_on(folders: tuple[object, ...]) -> None:
    def press() -> None:
        log = Path("runs")
        while not any(file.read_text().count('"epoch"') for file in log.glob("*/log.jsonl")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    done = ok("tune", *folders, "--epochs", 500, "--val", 0.5, "--yes", "--no-register", "--json")
    presser.join()
    assert done.json()["ended"] == ["interrupted"]
    assert "the best so far is kept" in done.err
    run = the_run()
    finished = len(events(run, "epoch"))
    assert 1 <= finished < 500
    assert SoftPrompt.load(run / "prompt.safetensors").calibration.scale > 0
    text = modctl("tune", "--resume", run, "--lr", 0.5).err
    assert "--lr: is 0.5 now and was" in text


def test_a_killed_run_resumes_to_the_same_bytes(folders: tuple[object, ...]) -> None:
    arguments = [*folders, "--epochs", 8, "--val", 0.5, "--yes", "--no-register", "--members", 2, "--name", "k"]
    ok("tune", *arguments, "--out", "whole")
    process = subprocess.Popen(
        [sys.executable, "-m", "moderation", "tune", *map(str, arguments), "--out", "killed"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not any("epoch" in file.read_text() for file in Path("killed").glob("*/log.jsonl")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    run = the_run(Path("killed"))
    assert not (run / "prompt.safetensors").exists()
    ok("tune", "--resume", run, "--no-register")
    assert (run / "prompt.safetensors").read_bytes() == (the_run(Path("whole")) / "prompt.safetensors").read_bytes()


def test_a_run_that_is_stopped_at_its_expert_goes_on_from_that_epoch(tmp_path: Path) -> None:
    for sample in samples():
        folder = tmp_path / sample.truth
        folder.mkdir(exist_ok=True)
        shutil.copy(sample.path, folder / f"{sample.path.stem.replace(f'-{sample.truth}', '')}.jpg")
    for number in range(6):  # of these some are training pictures, whatever half the others are in
        (tmp_path / "fake" / f"broken-{number}.jpg").write_bytes(b"broken")

    ended = threading.Event()

    def press() -> None:
        while not ended.wait(0.005):
            if list(Path().glob("runs/*/expert/last.safetensors")):
                os.kill(os.getpid(), signal.SIGINT)
                return

    presser = threading.Thread(target=press)
    presser.start()
    options = ("--epochs", 1, "--val", 0.5, "--expert", "--augment", "robust", "--yes", "--no-register")
    done = modctl("tune", "--real", tmp_path / "real", "--fake", tmp_path / "fake", *options)
    ended.set()
    presser.join()
    assert (done.code, "left out, not readable as pictures: " in done.err) == (1, True), done.err
    run = the_run()
    epochs = RunFolder(run).load_expert()[0].epochs
    assert 1 <= epochs < EXPERT_EPOCHS
    text = ok("tune", "--resume", run, "--no-register").err
    assert f"expert: goes on after epoch {epochs}\n" in text
    assert re.findall(r"expert, epoch (\d+):", text) == [str(each) for each in range(epochs + 1, EXPERT_EPOCHS + 1)]
    assert SoftPrompt.load(run / "prompt.safetensors").expert is not None

    last = run / "expert" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:1000])
    assert "expert/last.safetensors: can't be read" in refusal(modctl("tune", "--resume", run))


def test_resume_refuses_changed_data_by_name(tmp_path: Path) -> None:
    labelled(tmp_path, 6, size=(130, 130))
    ok("tune", "--real", tmp_path / "real", "--fake", tmp_path / "fake", "--epochs", 1, "--val", 0.5, "--yes")
    run = the_run()
    changed = tmp_path / "fake" / "003.png"
    changed.write_bytes(changed.read_bytes() + b"x")
    assert f"the data changed: {changed} has" in refusal(modctl("tune", "--resume", run))
    assert "leave the others out" in refusal(modctl("tune", "--resume", run, "--real", tmp_path / "real"))
    assert "is no run: it has no plan.json" in refusal(modctl("tune", "--resume", tmp_path / "real"))


# --- refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tokens", 17), "--tokens"),
        (("--position", "middle"), "--position"),
        (("--init", "word:zyzzyva"), "--init: the Q-Former does not know the word 'zyzzyva'"),
        (("--init", "word:"), "--init: 'word:' is not allowed"),
        (("--init", "prompt:nowhere"), "--init: 'nowhere' is no file"),
        (("--normalisation", "imagenet"), "--normalisation: 'imagenet' is not allowed"),
        (("--lr", "-1"), "--lr: -1.0 must be above 0"),
        (("--lr", "fast"), "--lr"),
        (("--weight-decay", "-1"), "--weight-decay"),
        (("--epochs", 0), "--epochs"),
        (("--batch-size", 0), "--batch-size"),
        (("--patience", 0), "--patience"),
        (("--members", 17), "--members"),
        (("--seed", -1), "--seed"),
        (("--val", "nowhere"), "--val: nowhere is no share, manifest or folder"),
        (("--val", "1.5"), "--val: 1.5 is no share"),
        (("--val", "0"), "--val: 0 is no share"),
        (("--method", "lora", "--members", 2), "--members: is for --method prompt"),
        (("--name", "a/b"), "--name: 'a/b' can't be a folder's name"),
        (("--cache", "c", "--no-cache"), "not both"),
        (("--manifest", __file__), "--manifest or --real and --fake, not both"),
        (("--crops", 99), "--crops"),
    ],
)
def test_a_wrong_option_is_named(folders: tuple[object, ...], options: tuple[object, ...], said: str, sqlite_url: str,
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    if "prompt:nowhere" in options:
        monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
        ok("db", "upgrade")
    for asked in ("--yes", "--dry-run"):
        assert said in refusal(modctl("tune", *folders, *options, asked))
    assert not Path("runs").exists()


@pytest.mark.parametrize("package", ["sklearn", "scipy", "matplotlib", "jinja2", "pyarrow", "peft"])
def test_a_missing_extra_is_told_before_anything_is_done(
    folders: tuple[object, ...], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def find_others(name: str, parent: str | None = None) -> ModuleSpec | None:
        return None if name == package else find(name, parent)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    said = refusal(modctl("tune", *folders, *QUICK))
    assert f"{package} is missing, so this machine can't tune or measure" in said
    assert "antifake-moderation[train]" in said
    assert len(said.splitlines()) == 2
    assert not Path("runs").exists()


def test_wrong_pictures_are_named(data: Path, tmp_path: Path) -> None:
    assert "give --real DIR and --fake DIR" in refusal(modctl("tune", "--real", data / "real"))
    assert "nowhere" in refusal(modctl("tune", "--real", tmp_path / "nowhere", "--fake", data / "fake"))
    (tmp_path / "empty").mkdir()
    assert "empty" in refusal(modctl("tune", "--real", tmp_path / "empty", "--fake", data / "fake", "--yes"))
    said = refusal(modctl("tune", "--real", data / "real", "--fake", data / "fake", "--val", data, "--yes"))
    assert "is among the training pictures too" in said


def test_a_place_for_runs_that_is_none_is_named(folders: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "--out: can't make the folder" in refusal(
        modctl("tune", *folders, "--yes", "--out", tmp_path / "file" / "runs")
    )


def test_without_a_terminal_it_asks_for_yes(folders: tuple[object, ...]) -> None:
    assert "add --yes" in refusal(modctl("tune", *folders))
    assert not Path("runs").exists()


def test_a_rate_that_blows_up_says_so_and_keeps_what_there_is(folders: tuple[object, ...]) -> None:
    done = modctl("tune", *folders, "--val", 0.5, "--yes", "--weight-decay", 1e36, "--epochs", 3)
    assert "--lr: the" in refusal(done)
    assert "lower --lr" in done.err
