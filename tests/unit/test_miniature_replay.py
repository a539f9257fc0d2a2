"""The replay pictures that ship: balanced, of tuning and validation alone, and made by the committed script."""

from __future__ import annotations

from pathlib import Path

from moderation.datasets.labelled import LabelledImage
from moderation.datasets.manifest import read_manifest
from moderation.miniature import decoders, photographs
from moderation.miniature.photographs import Split
from moderation.miniature.replay import MANIFEST, REPLAY_DIR, SMOKE, write


def _shipped() -> list[LabelledImage]:
    return read_manifest(REPLAY_DIR / MANIFEST)


def test_every_listed_picture_is_there_and_no_other() -> None:
    assert sorted(image.path for image in _shipped()) == sorted(REPLAY_DIR.glob("*/*.jpg"))


def test_both_halves_hold_as_many_reals_as_fakes_and_share_no_crop() -> None:
    halves = {name: [image for image in _shipped() if image.split == name] for name in ("train", "val")}
    for half in halves.values():
        assert sum(image.is_fake for image in half) * 2 == len(half) >= 150
    assert not {image.group for image in halves["train"]} & {image.group for image in halves["val"]}


def test_no_photograph_and_no_family_that_measures_is_among_them() -> None:
    kept_back = (Split.TEST, Split.FINAL)
    families = {family.name for family in decoders.FAMILIES if family.split in kept_back}
    scenes = {photograph.name for photograph in photographs.PHOTOGRAPHS if photograph.split in kept_back}
    for image in _shipped():
        assert image.generator not in families
        assert not scenes & set(image.path.stem.split("-"))
    validation = {photograph.name for photograph in photographs.of_split(Split.VALIDATION)}
    trained = [image for image in _shipped() if image.split == "train"]
    assert not any(validation & set(image.path.stem.split("-")) for image in trained)


def test_every_photograph_is_named_with_its_licence() -> None:
    told = (REPLAY_DIR / "SOURCES.md").read_text(encoding="utf-8")
    for image in _shipped():
        scene = image.path.stem.split("-")[-2]
        assert f"| {scene} |" in told


def test_the_script_writes_the_same_pictures_again(tmp_path: Path) -> None:
    for out in ("a", "b"):
        assert write(tmp_path / out, SMOKE, 20, tmp_path / "decoders", lambda _: None) == 18
    files = [file.relative_to(tmp_path / "a") for file in sorted((tmp_path / "a").rglob("*")) if file.is_file()]
    assert len(files) == 20
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
