"""The sizes of everything the builder does; one object, so that a small recipe can exercise the whole path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How much of what. The defaults made what ships; see `results.json` for the time they took."""

    seed: int = 20
    decoder_steps: int = 220
    vision_pairs: int = 3000
    vision_steps: int = 1200
    language_pairs: int = 2200
    language_steps: int = 2000
    tuning_pairs: int = 1500
    tuning_steps: int = 300
    tuning_starts: int = 3
    validation_crops: int = 40  # a photograph
    test_crops: int = 60  # a photograph
    sample_crops: int = 16  # a photograph
    drawn_share: float = 0.3  # of the pre-training crops


SMOKE = Recipe(
    decoder_steps=3, vision_pairs=24, vision_steps=3, language_pairs=24, language_steps=4, tuning_pairs=12,
    tuning_steps=6, tuning_starts=1, validation_crops=3, test_crops=3, sample_crops=4,
)  # fmt: skip
"""Runs the whole path in a minute; what it makes is worth nothing."""
