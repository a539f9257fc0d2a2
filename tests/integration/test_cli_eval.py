"""modctl eval on the miniature and its sample pictures, as a user calls it."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from moderation.cli.eval import PRESETS
from moderation.datasets.folders import from_folders, from_root
from moderation.datasets.labelled import manifest_sha256
from moderation.datasets.manifest import read_manifest
from moderation.datasets.presets import PRESETS as KNOWN_PRESETS
from moderation.datasets.published import published_table
from moderation.detector import Calibration, Detector, SoftPrompt, load_backbone
from moderation.images import decode, views_of
from moderation.miniature import PROMPT_FILE, samples
from moderation.training.adapter import Adapter
from moderation.training.lora import save_lora
from tests.broken_files import broken_files
from tests.command import modctl, ok

QUICK = ("--no-report", "--resamples", "40", "--batch-size", "8")
SHIPPED_ID = SoftPrompt.load(PROMPT_FILE).sha256[:12]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three photographs as three sets, 3 real and 3 fake crops each."""
    folder = tmp_path / "root"
    count: dict[tuple[str, str], int] = {}
    for sample in samples():
        number = count[sample.photograph, sample.truth] = count.get((sample.photograph, sample.truth), 0) + 1
        if number <= 3:
            place = folder / sample.photograph / sample.truth
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample.path, place / sample.path.name.replace(f"-{sample.truth}", ""))
    return folder


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "scores.parquet").to_pylist()
    return found


def test_two_prompts_side_by_side_with_everything(root: Path, tmp_path: Path) -> None:
    done = ok(
        "eval", "--data", root, "--prompt", PROMPT_FILE, "--prompt", "zero-shot", "--out", tmp_path / "out",
        "--limit", "2", "--robustness", "--robustness-sample", "1", "--shortcuts", "--format", "both",
        "--resamples", "40",
    )  # fmt: skip
    heading = done.out.splitlines()[1].split()
    assert heading == ["set", "real", "fake", "prompt", "prompt:", "AUC", "zero-shot", "zero-shot:", "AUC"]
    for name in ("astronaut", "camera", "china", "all pictures", "mean of sets", "(worst)", "McNemar", "jpeg 30"):
        assert name in done.out
    assert "\x1b" not in done.out + done.err
    out = tmp_path / "out"
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "zero-shot" in report
    assert list((out / "plots").glob("*.png"))
    with (out / "scores.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["path"] for row in written] == [row["path"] for row in rows(out)]

    backbone = load_backbone("miniature", device="cpu", dtype="float32")
    detector = Detector(backbone, SoftPrompt.load(PROMPT_FILE))
    for row in [row for row in rows(out) if row["candidate"] == "prompt" and not row["condition"]][:4]:
        picture, facts = decode(Path(row["path"]).read_bytes())
        (score,) = detector.score([views_of(picture, backbone.image_size, detector.native_crops)])
        assert not isinstance(score, Exception)
        assert row["margin"] == pytest.approx(score.margin, abs=1e-4)
        assert row["probability"] == pytest.approx(score.probability, abs=1e-4)
        assert row["sha256"] == facts.sha256
        assert row["is_fake"] is (Path(row["path"]).parent.name == "fake")


def test_json_is_one_object_and_the_same_folder_goes_on(root: Path, tmp_path: Path) -> None:
    call = ("eval", "--data", root, "--out", tmp_path / "out", *QUICK, "--json")
    found = ok(*call).json()
    (shipped,) = found["candidates"]
    assert (shipped["name"], shipped["identity"][:12], shipped["threshold"]) == ("shipped", SHIPPED_ID, 0.5)
    assert list(shipped["sets"]) == ["astronaut", "camera", "china"]
    assert {(one["n_real"], one["n_fake"]) for one in shipped["sets"].values()} == {(3, 3)}
    assert shipped["overall"]["auc"]["low"] <= shipped["overall"]["auc"]["value"] <= shipped["overall"]["auc"]["high"]
    assert found["provenance"]["command"].startswith(f"modctl eval --data {root}")
    assert found["provenance"]["backbone"] == "miniature"
    assert not Path("moderation.db").exists()

    parts = sorted((tmp_path / "out" / "parts").glob("part-*"))
    stamps = [part.stat().st_mtime_ns for part in parts]
    stricter = ok(*call, "--threshold", "0.9").json()["candidates"][0]
    assert (stricter["threshold"], stricter["overall"]["auc"]) == (0.9, shipped["overall"]["auc"])
    assert [part.stat().st_mtime_ns for part in sorted((tmp_path / "out" / "parts").glob("part-*"))] == stamps

    refused = modctl(*call, "--limit", "2")
    assert (refused.code, refused.out) == (2, "")
    assert "holds scores made otherwise: data_sha256 was" in refused.err
    assert "--fresh" in refused.err
    few = ok(*call, "--limit", "2", "--fresh").json()
    assert few["data"]["pictures"] == len(rows(tmp_path / "out")) == 6


def test_unreadable_files_are_named_and_end_nothing(root: Path, tmp_path: Path) -> None:
    kinds = {".jpg", ".png", ".webp", ".gif"}
    broken = {name: content for name, content in broken_files().items() if Path(name).suffix in kinds}
    for name, content in broken.items():
        (root / "china" / "fake" / name).write_bytes(content)
    done = ok("eval", "--data", root, "--out", tmp_path / "out", *QUICK, "--prompt", "zero-shot", "--json")
    found = done.json()
    assert {Path(item["path"]).name for item in found["unreadable"]} == set(broken)
    assert found["candidates"][0]["sets"]["china"]["n_failed"] == len(broken)
    assert found["candidates"][0]["sets"]["china"]["n_fake"] == 3
    assert f"{len(broken)} pictures could not be scored" in done.err


def test_nothing_that_could_be_scored_is_exit_1(tmp_path: Path) -> None:
    (tmp_path / "root" / "only" / "fake").mkdir(parents=True)
    (tmp_path / "root" / "only" / "fake" / "empty.png").write_bytes(b"")
    done = modctl("eval", "--data", tmp_path / "root", "--prompt", "zero-shot")
    assert done.code == 1
    assert "1 picture could not be scored" in done.err
    assert "not an image: the file is empty" in done.err


def test_the_papers_table_stands_beside_the_new_column(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = tmp_path / "paper"
    shutil.copytree(root / "astronaut" / "real", paper / "Flickr30k")
    shutil.copytree(root / "china" / "fake", paper / "SDXL")
    call = ("eval", "--data", paper, "--preset", "antifakeprompt", "--prompt", PROMPT_FILE)
    done = ok(*call, "--out", tmp_path / "out", *QUICK)
    assert "MODERATION_EXIF_ORIENTATION=false" in done.err
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    ours = found["candidates"][0]["sets"]
    table = published_table()
    for name in table.columns:
        assert f"paper {name}" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert ["SDXL", f"{100 * ours['SDXL']['accuracy_fake']['value']:.2f}", "81.10"] in [line[:3] for line in lines]
    assert ["Flickr", f"{100 * ours['Flickr']['accuracy_real']['value']:.2f}", "95.80"] in [line[:3] for line in lines]
    assert ["SD2", "-", "81.10"] in [line[:3] for line in lines]
    assert ["AVG", "-", "65.41"] in [line[:3] for line in lines]  # the mean of other sets would be another figure
    assert table.source in done.out
    missing = [name for name in table.rows if name not in ("Flickr", "SDXL")]
    assert done.out.splitlines()[-1] == f"not there: {', '.join(missing)}"
    monkeypatch.setenv("MODERATION_EXIF_ORIENTATION", "false")
    assert "EXIF" not in ok(*call, "--out", tmp_path / "as-the-original", *QUICK).err


def test_a_manifest_with_splits_is_measured_on_its_test_pictures(root: Path, tmp_path: Path) -> None:
    lines = ["path,label,split,group"]
    for number, file in enumerate(sorted((root / "china").rglob("*.jpg"))):
        lines.append(f"root/china/{file.parent.name}/{file.name},{file.parent.name},{('test', 'train')[number % 2]},")
    manifest = tmp_path / "mine.csv"
    manifest.write_text("\n".join(lines) + "\n")
    call = ("eval", "--manifest", manifest, "--prompt", "zero-shot", *QUICK, "--json")
    done = ok(*call, "--out", tmp_path / "test")
    assert done.json()["data"]["pictures"] == 3
    assert done.json()["data"]["sets"] == ["mine"]
    assert "split test: 3 of 6 pictures" in done.err
    assert ok(*call, "--out", tmp_path / "all", "--split", "all").json()["data"]["pictures"] == 6
    refused = modctl(*call, "--out", tmp_path / "val", "--split", "val")
    assert refused.code == 2
    assert "no picture of split val" in refused.err
    assert "test (3), train (3)" in refused.err


def test_a_registered_prompt_and_a_lora_leave_each_other_alone(
    root: Path, tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", sqlite_url)
    ok("db", "upgrade")
    backbone = load_backbone("miniature", device="cpu", dtype="float32")
    adapter = Adapter(backbone)
    for weight in adapter.parameters.values():
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    save_lora(
        tmp_path / "lora",
        adapter,
        name="shaken",
        normalisation=SoftPrompt.load(PROMPT_FILE).normalisation,
        calibration=Calibration(),
        metadata={"tuned_on": manifest_sha256(from_root(root))},
    )
    wanted = ("zero-shot", f"lora:{tmp_path / 'lora'}", "zero-shot", SHIPPED_ID[:6])
    prompts = [argument for each in wanted for argument in ("--prompt", each)]
    found = ok("eval", "--data", root, *prompts, "--out", tmp_path / "out", *QUICK, "--limit", "2", "--json").json()
    names = ["zero-shot", "shaken", "zero-shot #2", SHIPPED_ID]
    assert [one["name"] for one in found["candidates"]] == names
    assert [one["seen"] for one in found["candidates"]] == ["", "tuned", "", ""]
    margins = {name: [row["margin"] for row in rows(tmp_path / "out") if row["candidate"] == name] for name in names}
    assert margins["zero-shot"] == margins["zero-shot #2"]
    assert len({tuple(each) for each in margins.values()}) == 3
    alone = ok("eval", "--data", root, "--out", tmp_path / "alone", *QUICK, "--limit", "2", "--json").json()
    assert alone["candidates"][0]["name"] == SHIPPED_ID
    assert [row["margin"] for row in rows(tmp_path / "alone")] == pytest.approx(margins[SHIPPED_ID], abs=1e-5)


def test_runs_are_named_by_their_plan_and_metadata_moves_no_threshold(root: Path, tmp_path: Path) -> None:
    shipped = SoftPrompt.load(PROMPT_FILE)
    for folder, plan in (("run-1", {"name": "first"}), ("run-2", {"name": "second"})):
        (tmp_path / folder).mkdir()
        made = replace(shipped, metadata={"plan": plan, "threshold": 0.9})
        made.save(tmp_path / folder / "prompt.safetensors")
        made.save(tmp_path / "kept.safetensors")
    (tmp_path / "empty").mkdir()
    wanted = (tmp_path / "run-1", tmp_path / "run-2" / "prompt.safetensors", tmp_path / "kept.safetensors")
    call = ("eval", "--data", root, *QUICK, "--limit", "2", "--json")
    found = ok(*call, *(word for each in wanted for word in ("--prompt", each)), "--out", tmp_path / "out").json()
    names = [(one["name"], one["threshold"]) for one in found["candidates"]]
    assert names == [("first", 0.5), ("second", 0.5), ("kept", 0.5)]
    refused = modctl(*call, "--prompt", tmp_path / "empty")
    assert refused.code == 2
    assert "empty has no prompt in it" in refused.err
    assert "the folder of a run" in refused.err


def test_figures_on_what_a_prompt_was_made_on_come_with_a_warning(root: Path, tmp_path: Path) -> None:
    shipped = SoftPrompt.load(PROMPT_FILE)
    listed = from_folders([root / "china" / "real"], [root / "china" / "fake"])
    data = {"a set": manifest_sha256(listed), "all": manifest_sha256(from_root(root)), "other": 64 * "0"}
    made: dict[str, dict[str, Any]] = {
        "tuned": {"tuned_on": data["a set"]},
        "calibrated": {"tuned_on": data["other"], "calibration": {"data_sha256": data["all"]}},
        "both": {"tuned_on": data["all"], "calibrated_on": data["all"]},
        "neither": {"tuned_on": data["other"]},
    }
    for name, metadata in made.items():
        replace(shipped, metadata=metadata).save(tmp_path / f"{name}.safetensors")
    prompts = [word for name in made for word in ("--prompt", tmp_path / f"{name}.safetensors")]
    call = ("eval", "--data", root, "--limit", "2", "--resamples", "0", "--json", "--out", tmp_path / "out")
    done = ok(*call, *prompts)
    expected = [
        f"{name} was {seen} on these pictures, or on data that they are part of: its figures are too good here."
        for name, seen in (("tuned", "tuned"), ("calibrated", "calibrated"), ("both", "tuned and calibrated"))
    ]
    assert done.json()["warnings"] == expected
    assert [one["seen"] for one in done.json()["candidates"]] == ["tuned", "calibrated", "tuned and calibrated", ""]
    assert [line for line in done.err.splitlines() if "Warning" in line] == [f"Warning: {text}" for text in expected]
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(text in report for text in expected)
    assert "The threshold is frozen" not in report
    assert "--resamples 0" in done.json()["provenance"]["command"]

    clean = ok(*call, "--prompt", tmp_path / "neither.safetensors", "--fresh")
    assert clean.json()["warnings"] == []
    assert "Warning" not in clean.err
    assert "The threshold is frozen" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_test_pictures_of_a_manifest_that_was_tuned_on_are_not_seen(root: Path, tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for number, file in enumerate(sorted((root / "china").rglob("*.jpg"))):
        lines.append(f"{file},{file.parent.name},{('test', 'train', 'val')[number % 3]}")
    manifest = tmp_path / "mine.csv"
    manifest.write_text("\n".join(lines) + "\n")
    tuning = [image for image in read_manifest(manifest) if image.split != "test"]
    for name, seen in (("tuned", tuning), ("calibrated", [image for image in tuning if image.split == "val"])):
        metadata = {name: manifest_sha256(seen)} if name == "tuned" else {"calibration": {"x": manifest_sha256(seen)}}
        replace(SoftPrompt.load(PROMPT_FILE), metadata=metadata).save(tmp_path / f"{name}.safetensors")
    call = ("eval", "--manifest", manifest, *QUICK, "--json", "--prompt", tmp_path / "tuned.safetensors",
            "--prompt", tmp_path / "calibrated.safetensors")  # fmt: skip
    seen_on = {
        split: [one["seen"] for one in ok(*call, "--split", split, "--out", tmp_path / split).json()["candidates"]]
        for split in ("test", "train", "val", "all")
    }
    both = ["tuned", "calibrated"]
    assert seen_on == {"test": ["", ""], "train": ["tuned", ""], "val": both, "all": both}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "either --data ROOT or --manifest FILE"),
        (("--data", "root", "--manifest", "m.csv"), "either --data ROOT or --manifest FILE"),
        (("--manifest", "m.csv", "--preset", "genimage"), "--preset is for --data"),
        (("--data", "nowhere"), "nowhere does not exist"),
        (("--data", "root", "--prompt", "nothing.safetensors"), "nothing.safetensors is no file"),
        (("--data", "root", "--prompt", "lora:nowhere"), "lora:nowhere leads nowhere"),
        (("--data", "root", "--prompt", "README.md"), "README.md: not a prompt of this program"),
        (("--data", "root", "--preset", "cifake"), "'cifake' is not one of"),
        (("--data", "root", "--threshold", "1.5"), "1.5 is not in the range"),
    ],
)
def test_wrong_input_is_exit_2_and_says_what(arguments: tuple[str, ...], problem: str, root: Path) -> None:
    Path("README.md").write_text("# this is no prompt, and long enough to have a header\n")
    done = modctl("eval", *arguments)
    assert (done.code, done.out) == (2, ""), done
    assert problem in done.err
    assert not list(Path().glob("eval-*"))


def test_the_presets_offered_are_those_that_can_be_read() -> None:
    assert set(PRESETS) == set(KNOWN_PRESETS)
