"""Dead-leaves drawings: overlapping shaded discs and polygons, with the scale statistics of natural scenes.

They widen what pre-training sees beyond a handful of photographs. They are never called photographs.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from moderation.miniature.photographs import Pixels

_OVERSAMPLING = 2  # drawn twice as large and shrunk, so that edges are as smooth as a lens makes them
_LEAVES = 90


def draw(side: int, rng: np.random.Generator) -> Pixels:
    """One drawing, uint8 [side, side, 3]."""
    size = side * _OVERSAMPLING
    image = Image.new("RGB", (size, size), _colour(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(_LEAVES):
        radius = 0.03 * size / max(float(rng.random()), 0.06)
        centre = rng.uniform(0, size, 2)
        if rng.random() < 0.5:
            pen.ellipse((*(centre - radius), *(centre + radius * rng.uniform(0.4, 1.0))), fill=_colour(rng))
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            pen.polygon([(float(x), float(y)) for x, y in corners], fill=_colour(rng))
    small = np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
    drawn: Pixels = np.clip(small + _texture(side, rng), 0, 255).astype(np.uint8)
    return drawn


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    base = rng.uniform(20, 235) + rng.normal(0, 28, 3)
    red, green, blue = (int(value) for value in np.clip(base, 0, 255))
    return red, green, blue


def _texture(side: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency, float32 [side, side, 1], as surfaces have."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    spectrum = np.fft.rfft2(rng.normal(size=(side, side))) / (frequency + 1 / side) ** rng.uniform(0.3, 1.3)
    noise = np.fft.irfft2(spectrum, s=(side, side))
    texture: np.ndarray = (noise / noise.std() * rng.uniform(0, 14))[..., None].astype(np.float32)
    return texture
