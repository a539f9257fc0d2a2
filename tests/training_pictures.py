"""Small labelled pictures for tuning: the fake ones are rough, the real ones smooth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from moderation.datasets.labelled import LabelledImage


def labelled(folder: Path, pairs: int, *, size: tuple[int, int] = (44, 36), first: int = 0) -> list[LabelledImage]:
    """`pairs` real pictures and as many fake ones below folder/real and folder/fake, alternating."""
    images = []
    for number in range(first, first + pairs):
        rng = np.random.default_rng(number)
        base = rng.integers(40, 215, 3)
        for is_fake, name in enumerate(("real", "fake")):
            path = folder / name / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.normal(0, 60 if is_fake else 4, (size[1], size[0], 3))
            Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8)).save(path)
            generator = "noise" if is_fake else "none"
            images.append(LabelledImage(path, bool(is_fake), "", generator, f"site{number % 2}", f"g{number}", ""))
    return images
