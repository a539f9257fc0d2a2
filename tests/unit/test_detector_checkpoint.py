"""The original's checkpoint files in the shapes they come in. What the original itself wrote is in the golden tests."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from moderation.detector import QUESTIONS, STATISTICS_150K, Backbone, load_backbone
from moderation.detector.checkpoint import LLM_KEY, QFORMER_KEY, read_original
from moderation.errors import ConfigurationError
from tests import tiny_backbones as tiny

STATISTICS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


def _content(**model: Any) -> dict[str, Any]:
    sides = {QFORMER_KEY: torch.ones(1, tiny.QFORMER_WIDTH), LLM_KEY: torch.ones(1, tiny.LLM_WIDTH)}
    config = {
        "model": {"prompt": QUESTIONS["postfix"], "llm_model": "/data/vicuna-7b-v1.3"},
        "preprocess": {"vis_processor": {"eval": {"mean": [0.9] * 3, "std": [0.9] * 3}}},
        "datasets": {"textinv": {"vis_processor": {"eval": dict(STATISTICS)}}},
    }
    return {"model": {**sides, "Qformer.bert.embeddings.position_ids": torch.arange(4), **model}, "config": config}


def _write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pth"


def test_what_was_found_is_said(path: Path) -> None:
    checkpoint = read_original(_write(path, {**_content(extra=torch.zeros(2)), "epoch": 4}))
    assert checkpoint.normalisation.mean == (0.1, 0.2, 0.3)  # those that trained it, not the other ones in the file
    assert (checkpoint.position, checkpoint.question, checkpoint.epoch) == ("postfix", QUESTIONS["postfix"], 4)
    assert checkpoint.ignored == ("Qformer.bert.embeddings.position_ids", "extra")
    assert "left aside, not known: extra" in checkpoint.notes


@pytest.mark.parametrize("position", ["prefix", "replace", "postfix"])
def test_positions_are_told_by_the_question(path: Path, position: str) -> None:
    content = _content()
    content["config"]["model"]["prompt"] = QUESTIONS[position]
    assert read_original(_write(path, content)).position == position


def test_nesting_prefixes_and_half_precision_are_understood(path: Path) -> None:
    content = _content()
    model = {f"module.{key}": value.half() for key, value in content["model"].items()}
    for nested in ({"model": model}, {"state_dict": model}, model, {"model": {"model": model}}):
        checkpoint = read_original(_write(path, {**nested, "config": content["config"]}))
        assert checkpoint.qformer is not None
        assert checkpoint.llm is not None
        assert (checkpoint.qformer.dtype, checkpoint.llm.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize(("missing", "named"), [(QFORMER_KEY, "Q-Former"), (LLM_KEY, "language model")])
def test_a_one_sided_file_becomes_a_one_sided_prompt(path: Path, missing: str, named: str) -> None:
    content = _content()
    del content["model"][missing]
    checkpoint = read_original(_write(path, content))
    assert any(note.startswith(f"{named}: not trained") for note in checkpoint.notes)
    prompt = checkpoint.to_prompt("somewhere")
    assert [prompt.qformer is None, prompt.llm is None] == [missing == QFORMER_KEY, missing == LLM_KEY]


def test_a_stripped_config_must_be_made_up_for(path: Path) -> None:
    content = _content()
    del content["config"]
    with pytest.raises(ConfigurationError, match=r"model\.prompt"):
        read_original(_write(path, content))
    with pytest.raises(ConfigurationError, match=r"vis_processor\.eval\.mean"):
        read_original(path, question=QUESTIONS["prefix"])
    checkpoint = read_original(path, question=QUESTIONS["prefix"], normalisation=STATISTICS_150K)
    assert (checkpoint.position, checkpoint.normalisation) == ("prefix", STATISTICS_150K)
    told = read_original(_write(path, _content()), question=QUESTIONS["prefix"], normalisation=STATISTICS_150K)
    assert (told.position, told.normalisation.mean) == ("postfix", (0.1, 0.2, 0.3))  # the file counts


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({QFORMER_KEY: torch.full((1, 4), float("nan"))}, "not finite"),
        ({LLM_KEY: torch.ones(4)}, r"float tensor \[K, H\]"),
        ({LLM_KEY: torch.ones(1, 4, dtype=torch.int64)}, r"float tensor \[K, H\]"),
        ({LLM_KEY: "text"}, r"float tensor \[K, H\]"),
        ({f"copy.{LLM_KEY}": torch.ones(1, 4)}, "2 times"),
    ],
)
def test_vectors_that_can_not_be_are_refused(path: Path, change: dict[str, Any], problem: str) -> None:
    content = _content()
    content["model"] |= change
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_original(_write(path, content))
    assert caught.value.setting == str(path)


@pytest.mark.parametrize("prompt", ["Is this photo real?", "[*] or [*]?", "Is this [*] photo real?", None, 7])
def test_a_question_without_one_place_is_refused(path: Path, prompt: object) -> None:
    content = _content()
    content["config"]["model"]["prompt"] = prompt
    with pytest.raises(ConfigurationError):
        read_original(_write(path, content))


@pytest.mark.parametrize("statistics", [{"mean": [0.1, 0.2]}, {"std": "abc"}, {"std": [0.0, 0.0, 0.0]}, {"mean": None}])
def test_normalisation_that_can_not_be_is_refused(path: Path, statistics: dict[str, Any]) -> None:
    content = _content()
    content["config"]["datasets"]["textinv"]["vis_processor"]["eval"] |= statistics
    with pytest.raises(ConfigurationError, match="mean"):
        read_original(_write(path, content))


class _Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("was_run",)


def test_code_in_a_pickle_is_never_run(path: Path, tmp_path: Path) -> None:
    content = {**_content(), "optimizer": _Bomb()}
    for write in (lambda: torch.save(content, path), lambda: path.write_bytes(pickle.dumps(content))):
        write()
        with pytest.raises(ConfigurationError, match=r"more than tensors and plain values|not a whole torch file"):
            read_original(path)
    assert not (tmp_path / "was_run").exists()


def test_files_that_are_no_checkpoint_are_refused(path: Path) -> None:
    whole = _write(path, _content()).read_bytes()
    for data in (b"", b"hello, world", whole[:100], whole[: len(whole) // 2], whole[:-40]):
        path.write_bytes(data)
        with pytest.raises(ConfigurationError, match="not a whole torch file"):
            read_original(path)
    with pytest.raises(ConfigurationError, match="holds a list"):
        read_original(_write(path, [1]))
    with pytest.raises(ConfigurationError, match="no such file"):
        read_original(path.with_name("missing.pth"))


def test_another_language_model_is_warned_about(path: Path, tmp_path: Path) -> None:
    checkpoint = read_original(_write(path, _content()))
    backbone: Backbone = load_backbone(str(tiny.llama_folder(tmp_path / "model")), device="cpu")
    (warning,) = checkpoint.warnings(backbone)
    assert "MODERATION_LANGUAGE_MODEL=lmsys/vicuna-7b-v1.3" in warning
    vicuna = tiny.language_model_folder(tmp_path / "vicuna-7b-v1.3")
    swapped = load_backbone(str(tmp_path / "model"), device="cpu", language_model=str(vicuna))
    assert checkpoint.warnings(swapped) == []
