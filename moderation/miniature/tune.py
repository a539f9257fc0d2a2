"""Tunes the pseudo-word on the frozen miniature with the detector's own scoring, and calibrates its margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from moderation.detector import (
    Backbone,
    Normalisation,
    PromptVectors,
    SoftPrompt,
    answer_logits,
    answer_losses,
    margins,
    normalise,
    vision_features,
)
from moderation.detector.question import QUESTIONS
from moderation.miniature import measure
from moderation.miniature.pictures import PictureSet
from moderation.training.curves import platt_or_flat
from moderation.training.expert import expert_logits

_INIT_STD = 0.02  # the paper's
_RATE = 0.03  # the original's 1e-5 does not move vectors of this size
_CHECKS = 6


@dataclass(frozen=True)
class Features:
    """Pictures with their vision features, float16 [N, T, Hv]; those depend on no prompt."""

    pictures: PictureSet
    values: Tensor


def featurise(backbone: Backbone, pictures: PictureSet, statistics: Normalisation, batch: int = 64) -> Features:
    """Runs the vision tower over a set once."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            pixels = torch.from_numpy(pictures.pixels[start : start + batch])
            parts.append(vision_features(backbone, normalise(pixels, statistics)).half())
    return Features(pictures, torch.cat(parts).clone())


def score(backbone: Backbone, prompt: SoftPrompt, features: Features, batch: int = 128) -> np.ndarray:
    """Margins [N], with the pixel expert's share where the prompt has one."""
    found = _score(backbone, prompt.vectors(backbone), features, batch)
    if prompt.expert is None:
        return found
    pixels = features.pictures.pixels  # as large as a crop: there is nothing else to see of them
    logits = expert_logits(dict(prompt.expert.tensors), lambda index, _: pixels[index : index + 1], len(pixels))
    fused: np.ndarray = found + prompt.expert.weight * logits
    return fused


def _score(backbone: Backbone, vectors: PromptVectors, features: Features, batch: int = 128) -> np.ndarray:
    with torch.inference_mode():
        chunks = torch.split(features.values, batch)
        parts = [margins(answer_logits(backbone, vectors, features=chunk)) for chunk in chunks]
    found: np.ndarray = torch.cat(parts).numpy()
    return found


def tune(
    backbone: Backbone,
    training: Features,
    validation: Mapping[str, Features],
    statistics: Normalisation,
    steps: int,
    seeds: int,
    say: Callable[[str], None],
    batch: int = 64,
) -> SoftPrompt:
    """The pseudo-word with the best mean AUC over the validation conditions, of `seeds` starts, calibrated on them."""
    best, chosen = 0.0, None
    for seed in range(seeds):
        for step, vectors in _descend(backbone, training, steps, seed, batch):
            found = validation_auc(lambda one, v=vectors: _score(backbone, v, one), validation)  # type: ignore[misc]
            say(f"tuning: start {seed}, step {step}, validation AUC {found:.3f}")
            if found > best:
                best, chosen = found, vectors
    if chosen is None:
        raise RuntimeError("no start of the tuning reached any validation")
    prompt = SoftPrompt(
        backbone.name, chosen.qformer, chosen.llm, backbone.revision, "postfix", QUESTIONS["postfix"], statistics,
        metadata={"validation_auc": round(best, 4)},
    )  # fmt: skip
    scores = np.concatenate([score(backbone, prompt, one) for one in validation.values()])
    truth = np.concatenate([one.pictures.is_fake for one in validation.values()])
    return replace(prompt, calibration=platt_or_flat(scores, truth, prevalence=0.5))


def validation_auc(scorer: Callable[[Features], np.ndarray], validation: Mapping[str, Features]) -> float:
    """Mean over the conditions of the mean AUC over families."""
    return float(np.mean([measure.mean_auc(scorer(one), one.pictures) for one in validation.values()]))


def _descend(
    backbone: Backbone, training: Features, steps: int, seed: int, batch: int
) -> list[tuple[int, PromptVectors]]:
    """The vectors at a few steps of one start. Batches hold as many real as fake pictures."""
    random = torch.Generator().manual_seed(seed)
    question = backbone.words.question(QUESTIONS["postfix"])
    qformer, llm = (
        (torch.randn(1, width, generator=random) * _INIT_STD).requires_grad_()
        for width in (backbone.qformer_width, backbone.llm_width)
    )
    optimiser = torch.optim.AdamW([qformer, llm], lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=_RATE, total_steps=steps)
    is_fake = torch.from_numpy(training.pictures.is_fake)
    classes = [torch.nonzero(is_fake == fake)[:, 0] for fake in (False, True)]
    kept = []
    for step in range(1, steps + 1):
        rows = torch.cat([rows[torch.randint(len(rows), (batch // 2,), generator=random)] for rows in classes])
        vectors = PromptVectors(question, qformer, llm)
        loss = answer_losses(backbone, vectors, is_fake[rows], features=training.values[rows]).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % (steps // _CHECKS) == 0:
            kept.append((step, PromptVectors(question, qformer.detach().clone(), llm.detach().clone())))
    return kept
