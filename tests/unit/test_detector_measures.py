"""A backbone's measures, read without its weights, are those of the backbone when loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from moderation.detector import load_backbone
from moderation.detector.measures import measures_of
from moderation.errors import ConfigurationError
from tests import tiny_backbones


def same(name: str, language_model: str | None = None) -> bool:
    loaded = load_backbone(name, device="cpu", dtype="float32", language_model=language_model)
    measures = asdict(measures_of(name, language_model=language_model))
    return all(getattr(loaded, field) == value for field, value in measures.items())


def test_the_miniature() -> None:
    assert same("miniature")


def test_folders_with_either_language_model(tmp_path: Path) -> None:
    llama = str(tiny_backbones.llama_folder(tmp_path / "llama"))
    assert same(llama)
    assert same(str(tiny_backbones.t5_folder(tmp_path / "t5")))
    assert same(llama, str(tiny_backbones.language_model_folder(tmp_path / "words")))


def test_what_is_no_backbone_is_named(tmp_path: Path) -> None:
    words = tiny_backbones.language_model_folder(tmp_path / "words")
    with pytest.raises(ConfigurationError, match="is no InstructBLIP"):
        measures_of(str(words))
    (words / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match="can't be read"):
        measures_of(str(words))
