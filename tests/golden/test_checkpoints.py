"""The original's checkpoint files: the good ones give its numbers, the malformed ones are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from moderation.detector import QUESTIONS, STATISTICS_150K, Backbone, SoftPrompt, answer_logits, margins
from moderation.detector.checkpoint import OriginalCheckpoint, read_original
from moderation.errors import ConfigurationError
from tests.golden.sets import GoldenSet, Tensors, assert_near, golden_sets, name_of

ATOL = 1e-4


def _cases(*, good: bool) -> list[Any]:
    cases = []
    for golden in golden_sets():
        folder = golden.root / "checkpoints"
        notes = golden.json("checkpoints/checkpoints.json") if (folder / "checkpoints.json").is_file() else {}
        for path in sorted(folder.glob("*.pth")):
            refused = path.name.startswith("malformed") or "refused" in notes.get(path.name, "")
            if refused != good:
                cases.append(pytest.param(golden, path, id=f"{name_of(golden)}-{path.stem}"))
    return cases


def _read(path: Path) -> OriginalCheckpoint:
    try:
        return read_original(path)
    except ConfigurationError as error:
        if "its config" not in error.problem:
            raise
    return read_original(path, question=QUESTIONS["postfix"], normalisation=STATISTICS_150K)


@pytest.mark.parametrize(("golden", "path"), _cases(good=True))
@torch.no_grad()
def test_a_good_checkpoint_gives_the_originals_numbers(golden: GoldenSet, path: Path) -> None:
    checkpoint = _read(path)
    expected = load_file(path.with_suffix(".expected.safetensors"))
    for side, key in ((checkpoint.qformer, "qformer_embedding"), (checkpoint.llm, "llm_embedding")):
        assert (side is None) == (key not in expected)
        if side is not None:
            assert torch.equal(side, expected[key].reshape(side.shape))
    numbers = {key.rpartition(".")[2]: value for key, value in expected.items()}
    if "margin" not in numbers:
        return
    backbone, pixels = _model(golden, checkpoint, numbers)
    prompt = SoftPrompt.from_bytes(checkpoint.to_prompt(backbone.name).to_bytes())
    logits = answer_logits(backbone, prompt.vectors(backbone), pixels)
    assert_near(logits[:, 0], numbers["logit_yes"], ATOL)
    assert_near(logits[:, 1], numbers["logit_no"], ATOL)
    assert_near(margins(logits), -numbers["margin"], ATOL)
    assert torch.equal((-logits).argsort(dim=1), numbers["ranks"])


@pytest.mark.parametrize(("golden", "path"), _cases(good=False))
def test_a_malformed_checkpoint_is_refused_by_name(golden: GoldenSet, path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_original(path)
    assert caught.value.setting == str(path)
    assert caught.value.problem


def _model(golden: GoldenSet, checkpoint: OriginalCheckpoint, numbers: Tensors) -> tuple[Backbone, torch.Tensor]:
    """The model at hand that the vectors fit, and the pictures that the numbers are of."""
    for letter in golden.model_letters():
        backbone = golden.backbone(letter)
        sides = ((checkpoint.qformer, backbone.qformer_width), (checkpoint.llm, backbone.llm_width))
        if any(side is not None and side.shape[1] != width for side, width in sides):
            continue
        for source in (golden, golden_sets()[0]):
            if letter in source.letters("forward_*.safetensors"):
                return backbone, source.forward(letter)[0]["pixel_values"][: len(numbers["margin"])]
    pytest.fail("no model at hand has the sizes of this checkpoint's vectors")
