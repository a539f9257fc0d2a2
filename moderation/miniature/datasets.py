"""Writes labelled picture folders, so that `modctl tune` and `modctl eval` run on real files.

    python -m moderation.miniature.datasets --out DIR [--seed N] [--decoders DIR] [--final] [--smoke]

No photograph and no decoder family is in two of train, val and test. Both classes are lossless PNG by one encoder.
Pictures are made equally sharp, and half of the training reals get what makes fakes sharp; augmentation is left to the
trainer.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from moderation.miniature import decoders, photographs, reconstructors, workshop
from moderation.miniature.backbone import IMAGE_SIZE
from moderation.miniature.condition import treat
from moderation.miniature.decoders import Autoencoder
from moderation.miniature.photographs import Photograph, Pixels, Split
from moderation.miniature.pictures import Cutter, decode, pair_of, resharpened
from moderation.miniature.recipe import Recipe

USUAL: Mapping[str, Split] = {"train": Split.TUNE, "val": Split.VALIDATION, "test": Split.TEST}
"""The splits of a manifest, and whose photographs and decoder families they hold."""
LAST: Mapping[str, Split] = {"test": Split.FINAL}
_SHARP_SHARE, _MATCHED_SHARE = 0.7, 0.35  # of the training pairs, as the miniature's own prompt was tuned
_RESHARPENED_SHARE = 0.5  # of the training reals, so that the fakes' sharpening is no trace of a decoder
_RANDOM = {"train": "random", "val": "random-val"}  # the sets of pictures by reconstructors of random architecture
_Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How many pictures of which size. Pairs are counted a photograph and family."""

    side: int = IMAGE_SIZE
    train: int = 40
    val: int = 40
    test: int = 40
    decoder_steps: int = Recipe.decoder_steps
    reconstructors: int = 40  # of random architecture, for train
    val_reconstructors: int = 12  # others, for val
    random: int = 3  # pairs a photograph and reconstructor, pre-training photographs among them


LARGE = Sizes(side=280, train=10, val=10, test=12, reconstructors=0, val_reconstructors=0)
"""Decoded at a size that the detector shrinks, and the traces with it. The smallest photographs are 300 px high."""
FINAL = Sizes(test=120)
SMOKE = Sizes(side=32, train=1, val=1, test=1, decoder_steps=2, reconstructors=2, val_reconstructors=1, random=1)


@dataclass(frozen=True)
class Row:
    """A line of the manifest; `path` is relative to it."""

    path: str
    label: str
    generator: str  # the decoder's family; none for a real picture
    source: str  # the photograph
    split: str
    set: str
    group: str  # the crop: a picture and its fake share it


def write(out: Path, sizes: Sizes, seed: int, kept: Path, say: _Say, splits: Mapping[str, Split] = USUAL) -> Path:
    """Writes OUT/<split>/<family>/{real,fake}/*.png and returns OUT/manifest.csv, which lists them.

    kept: the folder of trained decoders; those that it lacks are trained and put there.
    """
    rows: list[Row] = []
    for name, split in splits.items():
        for family in decoders.of_split(split):
            decoder = workshop.kept_decoder(family, sizes.decoder_steps, seed, kept, say)
            rng = np.random.default_rng((seed, sizes.side, decoders.FAMILIES.index(family)))
            pairs = _pairs(
                photographs.of_split(split), decoder, sizes.side, getattr(sizes, name), rng, is_training=name == "train"
            )
            rows.extend(_written(out, name, family.name, family.name, pairs))
        if name in ("train", "val"):
            rows.extend(_random(out, name, sizes, seed, kept, say))
        say(f"{out / name}: {sum(row.split == name for row in rows)} pictures")
    return _manifest(out / "manifest.csv", rows)


def _random(out: Path, split: str, sizes: Sizes, seed: int, kept: Path, say: _Say) -> Iterator[Row]:
    """Pictures of the random reconstructors; those that validate are others than those that train.

    Training takes the photographs of tuning and pre-training, validation its own.
    """
    is_training = split == "train"
    own = photographs.of_split(USUAL[split])
    sources = (*own, *photographs.of_split(Split.PRETRAIN)) if is_training else own
    steps = min(reconstructors.STEPS, sizes.decoder_steps)
    drawn = reconstructors.draw(sizes.reconstructors + sizes.val_reconstructors, seed)
    mine = slice(sizes.reconstructors) if is_training else slice(sizes.reconstructors, None)
    for number, family in list(enumerate(drawn))[mine]:
        decoder = workshop.kept_decoder(family, steps, seed, kept, say)
        rng = np.random.default_rng((seed, sizes.side, len(decoders.FAMILIES), number))
        pairs = _pairs(sources, decoder, sizes.side, sizes.random, rng, is_training)
        yield from _written(out, split, _RANDOM[split], family.name, pairs)


def _pairs(
    sources: Sequence[Photograph],
    decoder: Autoencoder,
    side: int,
    count: int,
    rng: np.random.Generator,
    is_training: bool,
) -> Iterator[tuple[str, Pixels, Pixels]]:
    """(photograph, real, fake) of `count` crops a photograph. Fakes that measure are all about as sharp as the crop."""
    for photograph in sources:
        cutter = Cutter([photograph], side)
        for _ in range(count):
            crop = cutter.crop(rng)
            made = decode(decoder, [crop], int(rng.integers(2**31)))[0]
            is_sharp = not is_training or rng.random() < _SHARP_SHARE
            real, fake = pair_of(crop, made, rng, is_sharp)
            yield photograph.name, *(_varied(real, fake, rng) if is_training else (real, fake))


def _varied(real: Pixels, fake: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """A training pair in which sharpness and sharpening say little about who made it."""
    if rng.random() < _RESHARPENED_SHARE:
        real = resharpened(real, rng)
    return treat(real, fake, "blurred", rng) if rng.random() < _MATCHED_SHARE else (real, fake)


def _written(
    out: Path, split: str, in_set: str, generator: str, pairs: Iterator[tuple[str, Pixels, Pixels]]
) -> Iterator[Row]:
    for number, (photograph, *pair) in enumerate(pairs):
        for label, pixels in zip(("real", "fake"), pair, strict=True):
            path = Path(split, in_set, label, f"{generator}-{photograph}-{number:03d}.png")
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(out / path)
            made_by = generator if label == "fake" else "none"
            group = f"{split}-{generator}-{number:03d}"
            yield Row(path.as_posix(), label, made_by, photograph, split, in_set, group)


def _manifest(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(field.name for field in dataclasses.fields(Row))
        lines.writerows(astuple(row) for row in rows)
    return path


def main() -> None:
    """The command line. Prints the manifests that it wrote."""
    parser = argparse.ArgumentParser(
        prog="python -m moderation.miniature.datasets", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="where to write; OUT/large gets the larger pictures")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--decoders", type=Path, help="folder that keeps trained decoders (default: OUT/decoders)")
    parser.add_argument(
        "--final", action="store_true", help="the last reading's pictures instead: choose nothing by them"
    )
    parser.add_argument("--smoke", action="store_true", help="a few tiny pictures by untrained decoders")
    given = parser.parse_args()
    torch.set_num_threads(1)
    kept = given.decoders or given.out / "decoders"
    jobs = [(given.out, Sizes(), USUAL), (given.out / "large", LARGE, USUAL)]
    if given.final:
        jobs = [(given.out, FINAL, LAST)]
    if given.smoke:
        jobs = [(out, SMOKE, splits) for out, _, splits in jobs[:1]]
    for out, sizes, splits in jobs:
        sys.stdout.write(f"{write(out, sizes, given.seed, kept, _say, splits)}\n")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
