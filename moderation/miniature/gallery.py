"""Writes the sample pictures that ship, with the manifest that says what each is and where it comes from.

Only test photographs and test families; every crop is there twice, as it was and as a decoder made it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from moderation.miniature import photographs, processing
from moderation.miniature.decoders import Autoencoder
from moderation.miniature.photographs import Split
from moderation.miniature.pictures import Cutter, decode, pair_of

QUALITY = 92  # of every sample's JPEG, real or fake
_NOTE = (
    "Crops of 128 x 128 pixels, shrunk from the photograph's box. `fake` passed through a small learned decoder of a "
    "family that the shipped backbone and prompt never saw. Both classes are written by one encoder at one quality."
)


def write_samples(
    decoders: Mapping[str, Autoencoder], folder: Path, crops_per_photograph: int, side: int, seed: int
) -> int:
    """Writes pairs of pictures and `manifest.json`; returns how many pictures. Old pictures in `folder` are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    rng = np.random.default_rng(seed)
    sources = photographs.of_split(Split.TEST)
    entries = []
    for source in sources:
        cutter = Cutter([source], side)
        for number in range(crops_per_photograph):
            family = list(decoders)[number % len(decoders)]
            crop = cutter.crop(rng)
            real, fake = pair_of(crop, decode(decoders[family], [crop], seed + number)[0], rng)
            for truth, pixels in (("real", real), ("fake", fake)):
                name = f"{source.name}-{number:02d}-{truth}.jpg"
                (folder / name).write_bytes(processing.encode_jpeg(pixels, QUALITY))
                entries.append(
                    {
                        "file": name,
                        "truth": truth,
                        "family": family if truth == "fake" else "none",
                        "photograph": source.name,
                        "box": list(crop.box),
                        "source": source.source,
                        "licence": source.licence,
                        "attribution": source.attribution,
                    }
                )
    manifest = {"note": _NOTE, "jpeg_quality": QUALITY, "samples": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(entries)
