"""Sets of pictures with their truth: crops of photographs, drawings, and both again after a decoder.

A real picture and its fake come from the same crop and go through the same random operations, and the fake's grid is
shifted at random, so that neither content nor processing nor alignment tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from PIL import Image

from moderation.miniature import drawing, photographs, processing
from moderation.miniature.decoders import Autoencoder
from moderation.miniature.photographs import Photograph, Pixels
from moderation.miniature.words import ATTRIBUTES

SHIFT = 8  # pixels that the random shift of the decoder's grid eats
BORDER = 4  # pixels a side, cut off after decoding: convolutions betray themselves at borders
MARGIN = SHIFT + 2 * BORDER
SHRINK = (0.5, 0.9)  # photographs are shrunk first: it wipes out the traces of their own JPEG and sensor grids
DRAWN = "drawing"
_MATCHED_SHARE = 0.35
_BLUR = (0.4, 1.2)  # radius in pixels
_SHARPNESS = (0.6, 1.1)  # of a sharpened fake, as a share of its crop's

Row = tuple[Pixels, bool, str, str, int, np.ndarray]
"""A picture of a set: pixels, is fake, family, photograph, pair, attributes."""


@dataclass(frozen=True)
class Crop:
    """A square cut from a photograph or a drawing, before anything was done to it."""

    pixels: Pixels  # side + MARGIN pixels a side
    photograph: str
    box: tuple[int, int, int, int]
    is_grey: bool


@dataclass(frozen=True)
class PictureSet:
    """N pictures. `pair` numbers the crop that a picture came from; `family` is "none" for what no decoder touched."""

    pixels: Pixels  # [N, side, side, 3]
    is_fake: np.ndarray  # bool [N]
    family: np.ndarray  # str [N]
    photograph: np.ndarray  # str [N]
    pair: np.ndarray  # int [N]
    attributes: np.ndarray  # bool [N, len(ATTRIBUTES)]

    def __len__(self) -> int:
        return len(self.pixels)

    def subset(self, chosen: np.ndarray) -> PictureSet:
        """The pictures that a bool or int array chooses."""
        return PictureSet(
            self.pixels[chosen], self.is_fake[chosen], self.family[chosen],
            self.photograph[chosen], self.pair[chosen], self.attributes[chosen],
        )  # fmt: skip


class Cutter:
    """Cuts crops of `side` + MARGIN pixels from some photographs; every photograph is loaded once."""

    def __init__(self, sources: Sequence[Photograph], side: int) -> None:
        self._sources = [(source, Image.fromarray(photographs.load(source))) for source in sources]
        self._side = side + MARGIN

    def crop(self, rng: np.random.Generator) -> Crop:
        """A random photograph, shrunk by a random factor, cut at a random place, mirrored or not."""
        source, image = self._sources[int(rng.integers(len(self._sources)))]
        size = min(round(self._side / rng.uniform(*SHRINK)), *image.size)
        left, top = (int(rng.integers(length - size + 1)) for length in image.size)
        box = (left, top, left + size, top + size)
        pixels = np.asarray(image.resize((self._side, self._side), Image.Resampling.LANCZOS, box=box))
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return Crop(np.ascontiguousarray(pixels), source.name, box, source.is_grey)


def draw_crop(side: int, rng: np.random.Generator) -> Crop:
    """A drawing in the place of a photograph's crop."""
    return Crop(drawing.draw(side + MARGIN, rng), DRAWN, (0, 0, side + MARGIN, side + MARGIN), is_grey=False)


def decode(decoder: Autoencoder, crops: Sequence[Crop], seed: int, batch: int = 32) -> list[Pixels]:
    """What the decoder makes of the crops, uint8 like theirs."""
    torch.manual_seed(seed)
    made: list[Pixels] = []
    for start in range(0, len(crops), batch):
        stack = np.stack([crop.pixels for crop in crops[start : start + batch]])
        out = decoder(torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255)
        made.extend((out.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).byte().numpy())
    return made


def tinted(pixels: Pixels, tint: np.ndarray) -> Pixels:
    """Its luminance in one tint, float [3] around 1: a grey photograph and its fake get the same number of colours."""
    coloured: Pixels = np.clip(processing.luminance(pixels)[..., None] * tint, 0, 255).astype(np.uint8)
    return coloured


def shifted(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Cut down by MARGIN at a random place off the border, which breaks the alignment with a decoder's grid."""
    top, left = BORDER + rng.integers(SHIFT + 1, size=2)
    side = pixels.shape[0] - MARGIN
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def attribute_row(pixels: Pixels, caused: frozenset[str], is_drawn: bool) -> np.ndarray:
    """bool [len(ATTRIBUTES)]: what was done to the picture and what its pixels show."""
    red, green, blue = (float(mean) for mean in pixels.reshape(-1, 3).mean(axis=0))
    grey = processing.luminance(pixels)
    chroma = float(np.ptp(pixels.astype(np.int16), axis=-1).mean())
    shown = {
        "drawn": is_drawn,
        "grey": chroma < 12,
        "dark": float(grey.mean()) < 75,
        "bright": float(grey.mean()) > 150,
        "flat": float(grey.std()) < 28,
        "smooth": float(np.abs(np.diff(grey, axis=1)).mean()) < 4,
        "warm": red > blue + 6,
        "red": red > max(green, blue) + 8,
        "green": green > max(red, blue) + 4,
        "blue": blue > max(red, green) + 6,
    }
    return np.array([shown.get(name, name in caused) for name in ATTRIBUTES])


def make_pairs(
    crops: Sequence[Crop], family: str, made: Sequence[Pixels], rng: np.random.Generator, is_sharp_share: float
) -> PictureSet:
    """Training pictures: every crop once untouched and once decoded, both processed at random.

    `is_sharp_share` of the decoded ones are sharpened like their crops. In a third of the pairs the sharper picture is
    then blurred to the sharpness of the other.
    """
    rows: list[Row] = []
    for pair, (crop, decoded) in enumerate(zip(crops, made, strict=True)):
        pictures = pair_of(crop, decoded, rng, is_sharp=rng.random() < is_sharp_share)
        is_matched = rng.random() < _MATCHED_SHARE
        target = min(processing.laplacian_variance(pixels) for pixels in pictures)
        for is_fake, pixels in zip((False, True), pictures, strict=True):
            before = processing.blur_to(pixels, target) if is_matched else pixels
            done, caused = processing.process(before, rng)
            causes = caused if before is pixels else caused | {"blurred"}
            attributes = attribute_row(done, causes, crop.photograph == DRAWN)
            rows.append((done, is_fake, family if is_fake else "none", crop.photograph, pair, attributes))
    return gathered(rows)


def pair_of(crop: Crop, decoded: Pixels, rng: np.random.Generator, is_sharp: bool = True) -> tuple[Pixels, Pixels]:
    """(real, fake) of one crop, equally tinted, shifted and sized; the fake about as sharp as the crop if so wished.

    Sharpening stands for what adversarial training does to a generator: without it, these small decoders are so blurry
    that sharpness alone tells them.
    """
    real, fake = crop.pixels, decoded
    if is_sharp:
        fake = processing.sharpen_to(fake, processing.laplacian_variance(real) * rng.uniform(*_SHARPNESS))
    if crop.is_grey:
        tint = rng.uniform(0.75, 1.2, 3).astype(np.float32)
        real, fake = tinted(real, tint), tinted(fake, tint)
    return shifted(real, rng), shifted(fake, rng)


def resharpened(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A real picture that was blurred, then sharpened as fakes are: what this does to it is no trace of a decoder."""
    blurred = processing.blur(pixels, rng.uniform(*_BLUR))
    return processing.sharpen_to(blurred, processing.laplacian_variance(pixels) * rng.uniform(*_SHARPNESS))


def gathered(rows: Sequence[Row]) -> PictureSet:
    """A set from its rows."""
    pixels, is_fake, family, photograph, pair, attributes = zip(*rows, strict=True)
    return PictureSet(
        np.stack(pixels),
        np.array(is_fake),
        np.array(family),
        np.array(photograph),
        np.array(pair),
        np.stack(attributes),
    )


def joined(sets: Sequence[PictureSet]) -> PictureSet:
    """One set after the other."""
    return PictureSet(*(np.concatenate([getattr(one, field.name) for one in sets]) for field in fields(PictureSet)))
