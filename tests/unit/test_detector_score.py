"""The detector: a list of scores, one an image, in which a failure is the value of its image alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from moderation.detector import (
    Backbone,
    Calibration,
    Detector,
    Normalisation,
    Score,
    SoftPrompt,
    answer_logits,
    load_backbone,
    looks,
    margins,
    normalise,
    vision_features,
)
from moderation.detector.halving import halving
from moderation.errors import ImageRejected, PromptMismatch, RejectReason
from moderation.images import Views
from tests import tiny_backbones as tiny

STATISTICS = Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
CALIBRATION = Calibration(scale=2.0, bias=-0.5)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(str(tiny.llama_folder(tmp_path_factory.mktemp("backbone") / "model")), device="cpu")


@pytest.fixture
def prompt(backbone: Backbone) -> SoftPrompt:
    generator = torch.Generator().manual_seed(1)
    return SoftPrompt(
        backbone=backbone.name,
        qformer=torch.randn(1, tiny.QFORMER_WIDTH, generator=generator),
        llm=torch.randn(1, tiny.LLM_WIDTH, generator=generator),
        revision=backbone.revision,
        normalisation=STATISTICS,
        calibration=CALIBRATION,
    )


def _pictures(count: int) -> NDArray[np.uint8]:
    shape = (count, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3)
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


def _views(pictures: NDArray[np.uint8]) -> list[Views]:
    return [Views(picture) for picture in pictures]


@torch.no_grad()
def test_scores_are_margins_through_the_prompts_calibration(backbone: Backbone, prompt: SoftPrompt) -> None:
    pictures = _pictures(4)
    mean, std = (np.array(values, dtype=np.float32) for values in (STATISTICS.mean, STATISTICS.std))
    values = (pictures.astype(np.float32) / 255 - mean) / std
    pixels = torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32).copy())
    torch.testing.assert_close(normalise(torch.from_numpy(pictures), STATISTICS), pixels, atol=1e-6, rtol=1e-6)
    expected = margins(answer_logits(backbone, prompt.vectors(backbone), pixels))
    for score, margin in zip(Detector(backbone, prompt).score(_views(pictures)), expected.tolist(), strict=True):
        assert isinstance(score, Score)
        assert score.margin == pytest.approx(margin, abs=1e-5)
        assert score.probability == pytest.approx(1 / (1 + np.exp(-(2.0 * score.margin - 0.5))))


def test_any_kind_of_picture_is_taken(backbone: Backbone, prompt: SoftPrompt) -> None:
    detector, pictures = Detector(backbone, prompt), _pictures(2)
    expected = detector.score(_views(pictures))
    pictures.setflags(write=False)
    assert detector.score(tuple(_views(pictures))) == expected
    assert detector.score([]) == []


@pytest.mark.parametrize("spoil", [lambda one: one.astype(np.float32), lambda one: one[:-1], lambda one: one[0]])
def test_other_shapes_and_types_are_refused(backbone: Backbone, prompt: SoftPrompt, spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(ValueError, match="pixels must be uint8"):
        Detector(backbone, prompt).score([Views(spoil(picture)) for picture in _pictures(2)])


def test_another_prompt_on_the_same_backbone(backbone: Backbone, prompt: SoftPrompt) -> None:
    detector = Detector(backbone, prompt)
    plain = detector.with_prompt(SoftPrompt.plain(backbone.name))
    assert plain.backbone is detector.backbone
    assert plain.score(_views(_pictures(1))) != detector.score(_views(_pictures(1)))
    with pytest.raises(PromptMismatch):
        detector.with_prompt(SoftPrompt.plain("another backbone"))


def test_a_margin_that_is_no_number_is_its_images_error(
    backbone: Backbone, prompt: SoftPrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector(backbone, prompt)
    monkeypatch.setattr(detector, "margins", lambda _: torch.tensor([1.0, float("nan"), float("inf")]))
    good, *bad = detector.score(_views(_pictures(3)))
    assert good == Score(1.0, CALIBRATION.probability(1.0))
    assert [item.reason for item in bad if isinstance(item, ImageRejected)] == [RejectReason.NOT_A_NUMBER] * 2


def test_a_device_that_is_too_small_gets_smaller_batches(
    backbone: Backbone, prompt: SoftPrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, views, sizes = Detector(backbone, prompt), _views(_pictures(7)), list[int]()
    expected = detector.score(views)

    def small(loaded: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.\nmore words")
        return vision_features(loaded, pixels)

    monkeypatch.setattr(looks, "vision_features", small)
    found = detector.score(views)
    assert sizes == [7, 3, 1, 2, 4, 2, 2]
    margins = [item.margin for item in found if isinstance(item, Score)]
    assert margins == pytest.approx([item.margin for item in expected if isinstance(item, Score)], abs=1e-5)


def test_an_image_that_does_not_fit_alone_is_its_own_error() -> None:
    def picky(batch: torch.Tensor) -> list[float]:
        if bool((batch == 3).any()):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore words")
        return [float(value) for value in batch.flatten()]

    found = halving(picky, torch.arange(5).view(5, 1))
    assert [item for item in found if not isinstance(item, ImageRejected)] == [0.0, 1.0, 2.0, 4.0]
    assert isinstance(found[3], ImageRejected)
    assert found[3].reason is RejectReason.OUT_OF_MEMORY
    assert found[3].detail == "CUDA out of memory. Tried to allocate 2 GiB"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        MemoryError(),
    ],
)
def test_every_device_says_it_in_its_own_way(error: Exception) -> None:
    def full(_: torch.Tensor) -> list[float]:
        raise error

    (found,) = halving(full, torch.zeros(1))
    assert isinstance(found, ImageRejected)
    assert found.detail


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(_: torch.Tensor) -> list[float]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        halving(broken, torch.zeros(4))


def test_probabilities_follow_margins_to_the_ends() -> None:
    calibration = Calibration(scale=3.0, bias=1.0)
    assert calibration.probability(1e6) == 1.0
    assert calibration.probability(-1e6) == 0.0
    assert calibration.probability(-1 / 3) == pytest.approx(0.5)
    for scale, bias in ((0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))):
        with pytest.raises(ValueError, match="calibration"):
            Calibration(scale, bias)


def test_importing_the_packages_loads_no_torch(tmp_path: Path) -> None:
    code = "import moderation.detector, moderation.images, sys; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
