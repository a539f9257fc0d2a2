"""The story's pictures: uploads of a decoder family that nobody has seen yet, and other pictures of that family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moderation.miniature import photographs, processing, samples, workshop
from moderation.miniature.backbone import IMAGE_SIZE
from moderation.miniature.decoders import Autoencoder, Family
from moderation.miniature.gallery import QUALITY
from moderation.miniature.photographs import Photograph, Split
from moderation.miniature.pictures import Cutter, decode, pair_of
from moderation.miniature.recipe import Recipe

LATER = Family("later", Split.TEST, "bilinear", 2, texture=0.3, is_denoiser=True, noise=0.12)
"""A denoiser that enlarges bilinearly. Neither tuning nor validation saw that way of enlarging."""
_DECODERS = Path(__file__).parent / "decoders"
"""Where the family's decoder is kept, under its recipe's hash. One that is missing is trained, and belongs into git."""
_UPLOADED = (Split.TUNE, Split.VALIDATION, Split.FINAL)
_SEED = 7


@dataclass(frozen=True)
class Pictures:
    """Image ids below a folder, each with whether it is fake.

    uploads: what people review. others: of the same family, of other photographs. old: the samples that ship.
    """

    folder: Path
    uploads: dict[str, bool]
    others: dict[str, bool]
    old: dict[str, bool]

    @property
    def truth(self) -> dict[str, bool]:
        """Of all."""
        return {**self.uploads, **self.others, **self.old}


def make(folder: Path, uploads: int, others: int, say: Callable[[str], None]) -> Pictures:
    """Writes so many fakes, and as many photographs, of both kinds. A fake and a photograph are never of one crop."""
    decoder = workshop.kept_decoder(LATER, Recipe.decoder_steps, Recipe.seed, _DECODERS, say)
    seen = tuple(each for split in _UPLOADED for each in photographs.of_split(split))
    found = Pictures(
        folder,
        uploads=_written(folder, "uploads", seen, uploads, decoder, _SEED),
        others=_written(folder, "others", photographs.of_split(Split.TEST), others, decoder, _SEED + 1),
        old={},
    )
    for number, sample in enumerate(samples()):
        name = f"old/{number:03d}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(sample.path.read_bytes())
        found.old[name] = sample.truth == "fake"
    return found


def _written(
    folder: Path, name: str, sources: Sequence[Photograph], count: int, decoder: Autoencoder, seed: int
) -> dict[str, bool]:
    """Names do not tell which is which: they are numbered in a random order."""
    rng = np.random.default_rng(seed)
    cutter = Cutter(sources, IMAGE_SIZE)
    made = []
    for _ in range(count):
        crop = cutter.crop(rng)
        decoded = decode(decoder, [crop], int(rng.integers(2**31)))[0]
        made.append((pair_of(crop, decoded, rng)[1], True))
        other = cutter.crop(rng)
        made.append((pair_of(other, other.pixels, rng, is_sharp=False)[0], False))
    truth: dict[str, bool] = {}
    for number, place in enumerate(rng.permutation(len(made)).tolist()):
        pixels, is_fake = made[place]
        image_id = f"{name}/{number:03d}.jpg"
        (folder / image_id).parent.mkdir(parents=True, exist_ok=True)
        (folder / image_id).write_bytes(processing.encode_jpeg(pixels, QUALITY))
        truth[image_id] = is_fake
    return truth
