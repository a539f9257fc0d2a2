"""Pre-training of the miniature's vision tower: which attributes does a picture have, and did a decoder make it?

Labels train the vision tower directly. That stands in for the web-scale pre-training of the original's frozen tower,
whose features happen to carry generator traces; the language side never gets a word for them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import InstructBlipVisionModel

from moderation.detector import Normalisation, normalise
from moderation.miniature.backbone import IMAGE_SIZE, PATCH_SIZE
from moderation.miniature.photographs import Pixels
from moderation.miniature.pictures import PictureSet

CHROMA = 16  # filters for colour differences; the luminance gets as many as a patch has pixels, mixes take the rest
_TRACES_WEIGHT = 5.0
_TOKEN_WEIGHT = 0.3  # of the loss on every token beside the loss on their mean


def statistics_of(pixels: Pixels) -> Normalisation:
    """Mean and deviation a channel of all pixels, rounded to four digits as the paper's are."""
    values = pixels.reshape(-1, 3) / 255
    means, deviations = ([round(float(value), 4) for value in row] for row in (values.mean(axis=0), values.std(axis=0)))
    return Normalisation((means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2]))


def whiten_patches(vision: InstructBlipVisionModel, pixels: Tensor, seed: int) -> None:
    """Starts the patch embedding at whitened principal components: a random one hardly sees high frequencies.

    All components of the luminance, then the strongest of the colour differences, then random mixes of both.
    """
    size = PATCH_SIZE
    patches = functional.unfold(pixels, size, stride=size).transpose(1, 2).reshape(-1, 3, size * size)
    grey = patches.mean(dim=1)
    luma = _whitening(grey, size * size)  # [P, P], to be read from the mean of the three channels
    chroma = _whitening((patches - grey[:, None]).flatten(1), CHROMA)  # [CHROMA, 3P]
    known = torch.cat([luma.repeat(1, 3) / 3, chroma])
    mixes = vision.config.hidden_size - len(known)
    weights = torch.randn(mixes, len(known), generator=torch.Generator().manual_seed(seed)) / len(known) ** 0.5
    filters = torch.cat([known, weights @ known]) * 0.5
    embedding = vision.embeddings.patch_embedding
    with torch.no_grad():
        embedding.weight.copy_(filters.reshape(-1, 3, size, size))
        embedding.get_parameter("bias").copy_(-filters @ patches.flatten(1).mean(dim=0))


def _whitening(vectors: Tensor, count: int) -> Tensor:
    """[count, D]: the strongest principal components of [N, D], each scaled to unit variance."""
    values, axes = torch.linalg.eigh(torch.cov(vectors.T))
    scaled: Tensor = axes / (values.clamp_min(0) + 1e-5).sqrt()
    return scaled.flip(1)[:, :count].T


def pretrain(
    vision: InstructBlipVisionModel,
    pictures: PictureSet,
    facts: np.ndarray,
    statistics: Normalisation,
    steps: int,
    seed: int,
    say: Callable[[str], None],
    batch: int = 96,
) -> None:
    """Trains the vision tower in place, on crops half as wide as the picture.

    Position embeddings stay at zero: what is asked of a picture holds anywhere in it, and so crops and whole pictures
    look alike. facts: bool [N, F]; the first says whether a decoder made the picture and counts most.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vision.embeddings.position_embedding.requires_grad_(False).zero_()
    some = pictures.pixels[rng.permutation(len(pictures))[:400]]
    whiten_patches(vision, normalise(torch.from_numpy(some), statistics), seed)
    crop = IMAGE_SIZE // 2
    head = nn.Linear(vision.config.hidden_size, facts.shape[1])
    wanted, weights = torch.from_numpy(facts).float(), torch.ones(facts.shape[1])
    weights[0] = _TRACES_WEIGHT
    trained = [*(p for p in vision.parameters() if p.requires_grad), *head.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=1.5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1.5e-3, total_steps=steps)
    for step in range(steps):
        rows = rng.integers(len(pictures), size=batch)
        top, left = rng.integers(IMAGE_SIZE - crop + 1, size=2)
        pixels = torch.from_numpy(pictures.pixels[rows, top : top + crop, left : left + crop])
        tokens = vision(normalise(pixels, statistics), interpolate_pos_encoding=True).last_hidden_state[:, 1:]
        whole = functional.binary_cross_entropy_with_logits(
            head(tokens.mean(dim=1)), wanted[rows], reduction="none"
        ).mean(dim=0)
        each = functional.binary_cross_entropy_with_logits(
            head(tokens), wanted[rows, None].expand(-1, tokens.shape[1], -1)
        )
        loss = (whole * weights).mean() + _TOKEN_WEIGHT * each
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            say(f"vision: step {step + 1} of {steps}, loss {loss.item():.3f}, of which traces {whole[0].item():.3f}")
