"""The shipped miniature: its weights, prompt and sample pictures are what the data card says."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import InstructBlipForConditionalGeneration

from moderation.detector import Detector, Score, SoftPrompt, load_backbone
from moderation.images import views_of
from moderation.miniature import (
    CARD_FILE,
    PROMPT_FILE,
    RESULTS_FILE,
    SAMPLES_DIR,
    WEIGHTS_DIR,
    WORD_FILE,
    card,
    samples,
)
from moderation.miniature.measure import auc
from moderation.miniature.photographs import PHOTOGRAPHS, Split

WEIGHTS_FILE = WEIGHTS_DIR / "model.safetensors"


@cache
def detector() -> Detector:
    return Detector(load_backbone("miniature", device="cpu", dtype="float32"), SoftPrompt.load(PROMPT_FILE))


def sample_margins(found: Detector) -> tuple[np.ndarray, np.ndarray]:
    """(margins, whether fake) of every sample picture."""
    side, crops = found.backbone.image_size, found.native_crops
    views = [views_of(Image.open(sample.path).convert("RGB"), side, crops) for sample in samples()]
    scores = found.score(views)
    assert all(isinstance(score, Score) for score in scores)
    margins = np.array([score.margin for score in scores if isinstance(score, Score)])
    return margins, np.array([sample.truth == "fake" for sample in samples()])


def test_weights_keep_their_size_bars() -> None:
    model = InstructBlipForConditionalGeneration.from_pretrained(WEIGHTS_DIR)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000
    assert WEIGHTS_FILE.stat().st_size <= 8_000_000


def test_every_part_of_the_model_was_initialised_and_trained() -> None:
    """transformers' default deviation for the vision tower is 1e-10: a model that kept it answers alike to all."""
    model = InstructBlipForConditionalGeneration.from_pretrained(WEIGHTS_DIR, dtype=torch.float32)
    still = ("bias", "norm", "position_embedding", "class_embedding")
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        if not any(word in name.lower() for word in still):
            assert 0.02 < float(parameter.detach().std()) < 2, name
    queries = model.query_tokens.detach()[0]
    assert float((queries - queries.mean(dim=0)).abs().mean()) > 0.05, "query tokens are alike"


def test_prompt_was_tuned_on_these_weights() -> None:
    prompt, backbone = SoftPrompt.load(PROMPT_FILE), load_backbone("miniature", device="cpu", dtype="float32")
    assert prompt.revision == backbone.revision
    assert prompt.position == "postfix"
    assert prompt.expert is not None
    results = json.loads(RESULTS_FILE.read_text(encoding="utf-8"))
    assert results["prompt"]["sha256"] == prompt.sha256
    assert results["word"]["sha256"] == SoftPrompt.load(WORD_FILE).sha256
    assert results["backbone"]["revision"] == backbone.revision


def test_the_data_card_is_what_the_results_say() -> None:
    results = json.loads(RESULTS_FILE.read_text(encoding="utf-8"))
    assert card.render(results) == CARD_FILE.read_text(encoding="utf-8")


def test_samples_are_complete_licensed_and_small() -> None:
    found = samples()
    known = {photograph.name: photograph for photograph in PHOTOGRAPHS}
    assert 60 <= len(found) <= 200
    assert sum(path.stat().st_size for path in SAMPLES_DIR.iterdir()) <= 1_500_000
    assert {path.name for path in SAMPLES_DIR.glob("*.jpg")} == {sample.path.name for sample in found}
    for sample in found:
        photograph = known[sample.photograph]
        assert photograph.split is Split.TEST
        assert (sample.licence, sample.attribution) == (photograph.licence, photograph.attribution)
        assert sample.source
        assert (sample.family == "none") == (sample.truth == "real")
    reals = sum(sample.truth == "real" for sample in found)
    assert 0.4 <= reals / len(found) <= 0.6


def test_samples_need_no_resizing() -> None:
    side = detector().backbone.image_size
    for sample in samples():
        with Image.open(sample.path) as image:
            assert image.size == (side, side)
            assert image.format == "JPEG"


def test_both_classes_are_encoded_alike() -> None:
    """A different quantisation table for one class would tell real from fake without looking at the picture."""
    tables = set()
    for sample in samples():
        with Image.open(sample.path) as image:
            tables.add(json.dumps(getattr(image, "quantization"), sort_keys=True))  # noqa: B009  # JPEG images only
    assert len(tables) == 1


def test_prompt_and_pseudo_word_tell_samples_apart_and_the_plain_question_does_not() -> None:
    fused, is_fake = sample_margins(detector())
    prompt = detector().prompt
    plain = SoftPrompt.plain("miniature", revision=prompt.revision, normalisation=prompt.normalisation)
    untuned, _ = sample_margins(detector().with_prompt(plain))
    tuned, _ = sample_margins(detector().with_prompt(SoftPrompt.load(WORD_FILE)))
    assert auc(fused, is_fake) >= 0.95  # .997 measured
    assert auc(tuned, is_fake) >= 0.87  # .908 measured
    assert auc(untuned, is_fake) <= 0.60  # .474 measured


@pytest.mark.parametrize("truth", ["real", "fake"])
def test_calibration_calls_most_samples_right(truth: str) -> None:
    margins, is_fake = sample_margins(detector())
    probabilities = np.array([detector().prompt.calibration.probability(float(margin)) for margin in margins])
    called_fake = probabilities[is_fake == (truth == "fake")] >= 0.5
    share_right = called_fake.mean() if truth == "fake" else 1 - called_fake.mean()
    assert share_right >= 0.7  # real .98, fake .94 measured
