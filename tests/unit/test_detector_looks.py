"""What a detector looks at: ensembles, native crops where it is unsure, the pixel expert, several prompts together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from moderation.detector import (
    Backbone,
    Calibration,
    Crops,
    Detector,
    ExpertWeights,
    Normalisation,
    PixelExpert,
    Score,
    SoftPrompt,
    load_backbone,
    looks,
    score_together,
    vision_features,
)
from moderation.detector.expert import flops
from moderation.errors import ImageRejected, RejectReason
from moderation.images import Views
from tests import tiny_backbones as tiny

SIZE = tiny.IMAGE_SIZE
EVERYTHING = {"low": 0.0, "high": 1.0}
TERA = 1e12


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(str(tiny.llama_folder(tmp_path_factory.mktemp("backbone") / "model")), device="cpu")


def _prompt(backbone: Backbone, seed: int = 1, members: int = 0, **changes: Any) -> SoftPrompt:
    generator = torch.Generator().manual_seed(seed)
    shape = (members, 1) if members else (1,)
    fields: dict[str, Any] = {
        "backbone": backbone.name,
        "qformer": torch.randn(*shape, tiny.QFORMER_WIDTH, generator=generator),
        "llm": torch.randn(*shape, tiny.LLM_WIDTH, generator=generator),
        "revision": backbone.revision,
    }
    return SoftPrompt(**{**fields, **changes})


def _expert(crops: int = 2, weight: float = 0.5) -> ExpertWeights:
    torch.manual_seed(5)
    tensors = PixelExpert().tensors()
    return ExpertWeights({**tensors, "head.weight": tensors["head.weight"] * 20}, weight, crops)


def _views(count: int, crops: int = 4, seed: int = 2) -> list[Views]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, crops + 1, SIZE, SIZE, 3), dtype=np.uint8)
    return [Views(of_one[0], of_one[1:]) for of_one in pixels]


def _margins(scores: Sequence[Score | ImageRejected]) -> list[float]:
    assert all(isinstance(score, Score) for score in scores), scores
    return [score.margin for score in scores if isinstance(score, Score)]


def _crop_margins(detector: Detector, views: Sequence[Views], count: int) -> list[list[float]]:
    """Each picture's margins of its first native crops, scored as if they were pictures of their own."""
    plain = detector.with_prompt(dataclasses.replace(detector.prompt, crops=None, expert=None))
    return [
        _margins(plain.score([Views(crop) for crop in view.native[:count]]))
        for view in views
        if view.native is not None
    ]


def test_an_ensemble_answers_with_the_mean_of_its_members(backbone: Backbone) -> None:
    together, views = _prompt(backbone, members=3), _views(4)
    assert together.qformer is not None
    assert together.llm is not None
    alone = [
        _margins(Detector(backbone, dataclasses.replace(together, qformer=qformer, llm=llm)).score(views))
        for qformer, llm in zip(together.qformer, together.llm, strict=True)
    ]
    assert _margins(Detector(backbone, together).score(views)) == pytest.approx(np.mean(alone, axis=0), abs=1e-5)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_crops_are_pooled_with_the_whole(backbone: Backbone, pool: Literal["mean", "max"]) -> None:
    detector, views = Detector(backbone, _prompt(backbone, crops=Crops(3, pool, **EVERYTHING))), _views(5)
    wholes = _margins(detector.with_prompt(_prompt(backbone)).score(views))
    rule = max if pool == "max" else fmean
    crops = _crop_margins(detector, views, 3)
    expected = [rule([whole, *more]) for whole, more in zip(wholes, crops, strict=True)]
    assert _margins(detector.score(views)) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(wholes, abs=1e-3)


def test_only_pictures_in_the_unsure_band_are_looked_at_again(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, plain = _views(6), Detector(backbone, _prompt(backbone))
    wholes = plain.score(views)
    ranked = sorted(score.probability for score in wholes if isinstance(score, Score))
    low, high = (ranked[1] + ranked[2]) / 2, (ranked[3] + ranked[4]) / 2  # two of six, in the middle
    sizes: list[int] = []

    def counted(loaded: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return vision_features(loaded, pixels)

    monkeypatch.setattr(looks, "vision_features", counted)
    detector = Detector(backbone, _prompt(backbone, crops=Crops(3, "mean", low, high)))
    found = detector.score(views)
    assert sizes == [6, 6], "the wholes, and three crops of two pictures in one pass"
    crops = _crop_margins(plain, views, 3)
    for whole, score, more in zip(wholes, found, crops, strict=True):
        assert isinstance(whole, Score)
        assert isinstance(score, Score)
        if low <= whole.probability <= high:
            assert score.margin == pytest.approx(fmean([whole.margin, *more]), abs=1e-5)
        else:
            assert score.margin == pytest.approx(whole.margin, abs=1e-5)
    sizes.clear()
    nobody = Detector(backbone, _prompt(backbone, crops=Crops(3, "mean", 0.0, 0.0)))
    nobody.score(views)
    assert sizes == [6], "pictures outside the band cost nothing"


def test_a_second_look_is_no_larger_than_the_callers_batch(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(loaded: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return vision_features(loaded, pixels)

    monkeypatch.setattr(looks, "vision_features", counted)
    detector = Detector(backbone, _prompt(backbone, crops=Crops(4, "mean", **EVERYTHING)))
    detector.score(_views(5))
    assert sizes == [5, 5, 5, 5, 5]
    sizes.clear()
    detector.score(_views(1))
    assert sizes == [1, 4]


def test_the_band_is_that_of_the_images_own_source(backbone: Backbone) -> None:
    view = _views(1)
    (whole,) = _margins(Detector(backbone, _prompt(backbone)).score(view))
    calibration = Calibration(1.0, -whole, source_bias={"sure": 9.0})  # the whole's P(fake) is one half
    detector = Detector(backbone, _prompt(backbone, calibration=calibration, crops=Crops(2)))
    unsure, sure = detector.score(view * 2, ["elsewhere", "sure"])
    assert _margins([sure]) == pytest.approx([whole], abs=1e-5)
    assert _margins([unsure]) != pytest.approx([whole], abs=1e-4)


def test_a_crop_without_a_margin_is_its_pictures_error_alone(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = _views(3)
    detector = Detector(backbone, _prompt(backbone, crops=Crops(2, "max", **EVERYTHING)))
    expected = detector.score(views)
    true_margins = detector.margins

    def spoilt(features: torch.Tensor) -> torch.Tensor:
        found = true_margins(features)
        return found.index_fill(0, torch.tensor([2]), float("nan")) if sizes.pop(0) else found

    sizes = [False, True, False]  # the wholes; crops of pictures 0 and 1, of which the third belongs to picture 1
    monkeypatch.setattr(detector, "margins", spoilt)
    found = detector.score(views)
    assert isinstance(found[1], ImageRejected)
    assert found[1].reason is RejectReason.NOT_A_NUMBER
    assert _margins([found[0], found[2]]) == pytest.approx(_margins([expected[0], expected[2]]), abs=1e-5)


def test_a_picture_whose_whole_has_no_margin_gets_no_second_look(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector(backbone, _prompt(backbone, crops=Crops(2, "mean", **EVERYTHING), expert=_expert()))
    monkeypatch.setattr(detector, "margins", lambda features: torch.full((len(features),), float("nan")))
    assert [isinstance(item, ImageRejected) for item in detector.score(_views(2))] == [True, True]


def test_second_looks_are_halved_where_the_device_is_small(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector(backbone, _prompt(backbone, crops=Crops(4, "mean", **EVERYTHING)))
    views = _views(3)
    expected = _margins(detector.score(views))

    def small(loaded: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return vision_features(loaded, pixels)

    monkeypatch.setattr(looks, "vision_features", small)
    assert _margins(detector.score(views)) == pytest.approx(expected, abs=1e-5)


def test_the_experts_share_is_its_mean_logit_times_its_weight(backbone: Backbone) -> None:
    weights, views = _expert(crops=3, weight=0.5), _views(5)
    expert = weights.build(torch.device("cpu"))
    with torch.no_grad():
        logits = [float(expert(torch.from_numpy(view.native[:3])).mean()) for view in views if view.native is not None]
    plain = _margins(Detector(backbone, _prompt(backbone)).score(views))
    found = _margins(Detector(backbone, _prompt(backbone, expert=weights)).score(views))
    assert found == pytest.approx([margin + 0.5 * logit for margin, logit in zip(plain, logits, strict=True)], abs=1e-5)
    assert np.ptp(logits) > 1e-2, "the pictures must matter, or this test proves little"


def test_the_band_is_read_with_the_experts_share(backbone: Backbone) -> None:
    """What the expert is sure of needs no second look."""
    views, expert = _views(1), dataclasses.replace(_expert(), weight=1e4)
    sure = _margins(Detector(backbone, _prompt(backbone, expert=expert)).score(views))
    again = _margins(Detector(backbone, _prompt(backbone, expert=expert, crops=Crops(4))).score(views))
    assert abs(sure[0]) > 10
    assert again == sure


def test_crops_and_expert_add_up(backbone: Backbone) -> None:
    expert, views, crops = _expert(), _views(4), Crops(2, "mean", **EVERYTHING)
    parts = [
        np.array(_margins(Detector(backbone, _prompt(backbone, **what)).score(views)))
        for what in ({"crops": crops, "expert": expert}, {"crops": crops}, {"expert": expert}, {})
    ]
    assert parts[0] - parts[1] == pytest.approx(parts[2] - parts[3], abs=1e-5)


def test_the_expert_runs_in_float32_beside_a_half_precision_backbone(backbone: Backbone) -> None:
    half = load_backbone(backbone.name, device="cpu", dtype="bfloat16")
    views, weights = _views(2), _expert()
    exact = Detector(backbone, _prompt(backbone, expert=weights)).expert_logits(views)
    assert Detector(half, _prompt(backbone, expert=weights)).expert_logits(views) == exact


def test_the_experts_batches_are_halved_too(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, views = Detector(backbone, _prompt(backbone, expert=_expert())), _views(5)
    expected = detector.expert_logits(views)
    forward = PixelExpert.forward

    def small(self: PixelExpert, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, pixels)

    monkeypatch.setattr(PixelExpert, "forward", small)
    assert detector.expert_logits(views) == pytest.approx(expected, abs=1e-5)


def test_the_expert_costs_less_than_a_hundredth_of_the_backbone() -> None:
    """An InstructBLIP of 7.9 billion parameters takes 1.07 TFLOP for a picture at 224 px; 16 crops are the most."""
    counted = FlopCounterMode(display=False)
    with counted, torch.no_grad():
        PixelExpert()(torch.zeros(1, 224, 224, 3, dtype=torch.uint8))
    assert flops(224) == pytest.approx(counted.get_total_flops(), rel=0.01)
    assert 16 * flops(224) < 0.01 * 1.07 * TERA


@pytest.mark.parametrize("native", [None, 1])
def test_views_without_the_crops_that_the_prompt_looks_at_are_refused(backbone: Backbone, native: int | None) -> None:
    (view,) = _views(1)
    poor = Views(view.whole, None if native is None or view.native is None else view.native[:native])
    for what in ({"crops": Crops(3)}, {"expert": _expert(crops=3)}):
        with pytest.raises(ValueError, match=f"looks at 3 native crops, these views hold {native or 0}"):
            Detector(backbone, _prompt(backbone, **what)).score([view, poor])


def test_prompts_score_together_as_they_score_alone(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Normalisation((0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
    detectors = [
        Detector(backbone, prompt)
        for prompt in (
            _prompt(backbone),
            _prompt(backbone, seed=2, crops=Crops(2, "max", **EVERYTHING)),
            _prompt(backbone, seed=3, normalisation=other, expert=_expert()),
            _prompt(backbone, seed=4, members=2, crops=Crops(4)),
            SoftPrompt.plain(backbone.name, calibration=Calibration(source_bias={"forum": 3.0})),
        )
    ]
    views, sources = _views(6), ["forum", ""] * 3
    alone = [detector.score(views, sources) for detector in detectors]
    passes: list[int] = []

    def counted(loaded: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        passes.append(len(pixels))
        return vision_features(loaded, pixels)

    monkeypatch.setattr(looks, "vision_features", counted)
    together = score_together(detectors, views, sources)
    for one, found in zip(alone, together, strict=True):
        assert _margins(found) == pytest.approx(_margins(one), abs=1e-5)
        assert [item.probability for item in found if isinstance(item, Score)] == pytest.approx(
            [item.probability for item in one if isinstance(item, Score)], abs=1e-5
        )
    assert passes.count(6) >= 2, "the wholes once for each normalisation"
    assert sum(passes) <= 6 + 6 + 6 * 4, "and each crop once at most"


def test_nothing_scored_together_is_nothing(backbone: Backbone) -> None:
    assert score_together([], _views(1)) == []
    assert score_together([Detector(backbone, _prompt(backbone, expert=_expert()))] * 2, []) == [[], []]
    with pytest.raises(ValueError, match="1 sources for 2 pictures"):
        Detector(backbone, _prompt(backbone)).score(_views(2), ["forum"])
