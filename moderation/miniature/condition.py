"""The conditions under which real and fake are told apart: clean, processed, made equally sharp, compressed.

Each condition treats both classes alike, except the two that take the difference in sharpness away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from moderation.miniature import processing
from moderation.miniature.photographs import Pixels
from moderation.miniature.pictures import Crop, PictureSet, Row, attribute_row, gathered, pair_of

CONDITIONS: tuple[str, ...] = ("clean", "processed", "sharpened", "blurred", "soft-blurred", "jpeg90", "jpeg75")
MEANING: Mapping[str, str] = {
    "clean": "as decoded",
    "processed": "same random light, blur, noise, scaling, JPEG",
    "sharpened": "blurrier of each pair sharpened to match",
    "blurred": "sharper of each pair blurred to match",
    "soft-blurred": "decoders not sharpened, reals blurred to match",
    "jpeg90": "JPEG quality 90",
    "jpeg75": "JPEG quality 75",
}


def treat(real: Pixels, fake: Pixels, condition: str, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """The pair under a condition. Raises ValueError for an unknown one."""
    match condition:
        case "clean":
            return real, fake
        case "processed":
            state = rng.bit_generator.state
            done = processing.process(real, rng)[0]
            rng.bit_generator.state = state  # the same draw for both
            return done, processing.process(fake, rng)[0]
        case "sharpened":
            target = max(processing.laplacian_variance(real), processing.laplacian_variance(fake))
            return processing.sharpen_to(real, target), processing.sharpen_to(fake, target)
        case "blurred" | "soft-blurred":
            target = min(processing.laplacian_variance(real), processing.laplacian_variance(fake))
            return processing.blur_to(real, target), processing.blur_to(fake, target)
        case "jpeg90" | "jpeg75":
            quality = int(condition.removeprefix("jpeg"))
            return processing.through_jpeg(real, quality), processing.through_jpeg(fake, quality)
        case _:
            raise ValueError(f"no condition called {condition!r}")


def make_conditions(
    crops: Sequence[Crop], decoded: Mapping[str, Sequence[Pixels]], conditions: Sequence[str], seed: int
) -> dict[str, PictureSet]:
    """One set a condition: for every family and crop, the real picture and its fake, in the same order everywhere."""
    return {condition: _make(condition, crops, decoded, seed) for condition in conditions}


def _make(condition: str, crops: Sequence[Crop], decoded: Mapping[str, Sequence[Pixels]], seed: int) -> PictureSet:
    rows: list[Row] = []
    for number, crop in enumerate(crops):
        for family, made in decoded.items():
            rng = np.random.default_rng((seed, number))
            real, fake = pair_of(crop, made[number], rng, is_sharp=condition != "soft-blurred")
            for is_fake, pixels in zip((False, True), treat(real, fake, condition, rng), strict=True):
                attributes = attribute_row(pixels, frozenset(), is_drawn=False)
                rows.append((pixels, is_fake, family, crop.photograph, number, attributes))
    return gathered(rows)
