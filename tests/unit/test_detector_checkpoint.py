"""The original's checkpoint files in the shapes they come in. What the original itself wrote is in the golden tests."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from moderation.detector import QUESTIONS, STATISTICS_150K, Backbone, Calibration, Crops, SoftPrompt, load_backbone
from moderation.detector.checkpoint import LLM_KEY, QFORMER_KEY, read_original
from moderation.detector.checkpoint_export import lost_in_original, write_original
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
    assert checkpoint.notes == (
        f"Q-Former: [1, {tiny.QFORMER_WIDTH}] numbers",
        f"language model: [1, {tiny.LLM_WIDTH}] numbers",
        "question: 'Is this photo real [*]?' (postfix)",
        "normalisation: mean 0.1 0.2 0.3, std 0.4 0.5 0.6, from datasets.textinv.vis_processor.eval",
        "left aside: preprocess.vis_processor.eval says mean [0.9, 0.9, 0.9], std [0.9, 0.9, 0.9], "
        "which did not train it",
        "left aside: 1 buffers that every model rebuilds",
        "left aside, not known: extra",
    )


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
    assert sum("is not used: the file" in note for note in told.notes) == 2


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
    assert checkpoint.compared(backbone.name).endswith("can't be told from its name")
    vicuna = tiny.language_model_folder(tmp_path / "vicuna-7b-v1.3")
    swapped = load_backbone(str(tmp_path / "model"), device="cpu", language_model=str(vicuna))
    assert checkpoint.warnings(swapped) == []
    assert checkpoint.compared(swapped.name).endswith("vicuna-7b-v1.3: matches")


HUB = "Salesforce/instructblip-vicuna-7b"


@pytest.mark.parametrize(
    ("trained_on", "backbone", "verdict"),
    [
        ("/data/vicuna-7b-v1.3", HUB, "differs"),
        ("/data/vicuna-7b-v1.3/", f"{HUB}+lmsys/vicuna-7b-v1.3", "matches"),
        ("lmsys/vicuna-7b-v1.1", HUB, "matches"),
        ("lmsys/vicuna-7b-v1.1", f"{HUB}+lmsys/vicuna-7b-v1.3", "differs"),
        ("/data/vicuna-7b", HUB, "differs"),
        ("/data/vicuna-7b", "/models/my-vicuna-7b", "can't be told from its name"),
        ("miniature", "miniature", "matches"),
        ("/data/vicuna-7b-v1.3", "/models/instructblip-vicuna-7b-v1.3", "matches"),
        ("/data/vicuna-7b-v1.3", "miniature", "can't be told from its name"),
    ],
)
def test_language_models_are_compared_by_name(path: Path, trained_on: str, backbone: str, verdict: str) -> None:
    content = _content()
    content["config"]["model"]["llm_model"] = trained_on
    checkpoint = read_original(_write(path, content))
    assert checkpoint.compared(backbone).endswith(f": {verdict}")
    assert bool(checkpoint.warnings(backbone)) == (verdict != "matches")


def test_an_unnamed_language_model_is_that_of_the_released_ones(path: Path) -> None:
    content = _content()
    del content["config"]["model"]["llm_model"]
    line = read_original(_write(path, content)).compared(HUB)
    assert line == (
        "language model: tuned on vicuna-7b-v1.3 (not said in the file; the released ones were); "
        f"{HUB} holds vicuna-7b-v1.1: differs"
    )


def test_a_nested_copy_of_both_is_refused(path: Path) -> None:
    content = _content()
    with pytest.raises(ConfigurationError, match=r"train_word_embeddings\.weight 2 times"):
        read_original(_write(path, {**content, "state_dict": content["model"]}))


# --- written in the original's format


def _prompt(**changes: Any) -> SoftPrompt:
    numbers = torch.Generator().manual_seed(0)
    fields: dict[str, Any] = {
        "backbone": f"{HUB}+lmsys/vicuna-7b-v1.3",
        "qformer": torch.randn(1, 768, generator=numbers),
        "llm": torch.cat((torch.randn(1, 4094, generator=numbers), torch.tensor([[1e-42, -0.0]])), dim=1),
        "normalisation": STATISTICS_150K,
    }
    return SoftPrompt(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qformer": None},
        {"llm": None},
        {"position": "prefix", "question": QUESTIONS["prefix"]},
        {"position": "replace", "question": QUESTIONS["replace"], "metadata": {"epoch": 7}},
    ],
)
def test_a_round_trip_through_the_originals_format_keeps_every_bit(path: Path, changes: dict[str, Any]) -> None:
    prompt = _prompt(**changes)
    path.write_bytes(write_original(prompt))
    again = read_original(path)
    back = again.to_prompt(prompt.backbone)
    for side in ("qformer", "llm"):
        before, after = getattr(prompt, side), getattr(back, side)
        assert (before is None) == (after is None)
        assert before is None or before.numpy().tobytes() == after.numpy().tobytes()
    assert (back.position, back.question, back.normalisation) == (prompt.position, prompt.question, STATISTICS_150K)
    assert again.trained_on == "vicuna-7b-v1.3"
    path.write_bytes(write_original(_prompt(**{**changes, "backbone": HUB})))
    assert read_original(path).compared(HUB).endswith("vicuna-7b-v1.1: matches")
    assert again.epoch == prompt.metadata.get("epoch", 0)
    assert again.ignored == ()


def test_what_is_written_has_the_originals_shape(path: Path) -> None:
    path.write_bytes(write_original(_prompt()))
    content = torch.load(path, weights_only=True)
    assert list(content) == ["model", "optimizer", "config", "scaler", "epoch"]
    assert {key: tuple(value.shape) for key, value in content["model"].items()} == {
        QFORMER_KEY: (1, 768),
        LLM_KEY: (1, 4096),
    }
    assert sum(value.numel() for value in content["model"].values()) == 4864
    assert content["config"]["datasets"]["textinv"]["vis_processor"]["eval"]["mean"] == [0.473, 0.4499, 0.4129]
    assert content["config"]["model"]["prompt"] == QUESTIONS["postfix"]


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        (SoftPrompt.plain(HUB), "plain question"),
        (_prompt(qformer=torch.ones(3, 768)), "3 tokens"),
        (_prompt(llm=torch.ones(2, 4096), qformer=None), "2 tokens"),
        (_prompt(qformer=torch.ones(2, 1, 768), llm=torch.ones(2, 1, 4096)), "ensemble of 2"),
    ],
)
def test_what_the_original_would_misread_is_not_written(prompt: SoftPrompt, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        write_original(prompt)


def test_what_gets_lost_is_named() -> None:
    assert lost_in_original(_prompt()) == []
    lost = lost_in_original(_prompt(calibration=Calibration(2.0, 0.5), crops=Crops(4), metadata={"run": 1}))
    assert [text.partition(" ")[2].partition(" ")[0] for text in lost] == ["calibration", "4", "metadata"]
