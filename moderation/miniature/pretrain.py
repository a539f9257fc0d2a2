"""Pre-trains the backbone: pictures, vision tower, language side, and the folder of weights that the detector loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moderation.detector import Normalisation, normalise
from moderation.miniature import backbone, language, vision, workshop
from moderation.miniature.decoders import Autoencoder
from moderation.miniature.photographs import Split
from moderation.miniature.pictures import PictureSet
from moderation.miniature.recipe import Recipe


def pretrain(
    recipe: Recipe, decoders: Mapping[str, Autoencoder], folder: Path, say: Callable[[str], None]
) -> Normalisation:
    """Writes the weights into `folder`; returns the statistics that the pictures were normalised with."""
    model = backbone.new_model(recipe.seed)
    count = max(recipe.vision_pairs, recipe.language_pairs)
    pictures = workshop.training_pictures(
        Split.PRETRAIN, decoders, count, backbone.IMAGE_SIZE, recipe.drawn_share, recipe.seed
    )
    say(f"pictures: {len(pictures)} for pre-training")
    statistics = vision.statistics_of(pictures.pixels[:: max(1, len(pictures) // 500)])
    facts = np.concatenate([pictures.is_fake[:, None], pictures.attributes], axis=1)
    vision.pretrain(model.vision_model, pictures, facts, statistics, recipe.vision_steps, recipe.seed, say)
    model.vision_model.requires_grad_(requires_grad=False)
    rows = np.random.default_rng(recipe.seed).permutation(len(pictures))[: 2 * recipe.language_pairs]
    features = features_of(model, pictures.subset(rows), statistics)
    say(f"language: {len(rows)} pictures seen by the frozen vision tower")
    language.pretrain(model, features, pictures.attributes[rows], facts[rows], recipe.language_steps, recipe.seed, say)
    backbone.save_model(model, folder)
    return statistics


def features_of(model: torch.nn.Module, pictures: PictureSet, statistics: Normalisation, batch: int = 64) -> Tensor:
    """The vision tower's last states, float16 [N, T, Hv]."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            pixels = normalise(torch.from_numpy(pictures.pixels[start : start + batch]), statistics)
            parts.append(model.get_submodule("vision_model")(pixels).last_hidden_state.half())
    return torch.cat(parts).clone()
