"""Writes labelled picture folders, so that `modctl tune` and `modctl eval` run on real files.

    python -m moderation.miniature.datasets --out DIR [--seed N] [--decoders DIR] [--final] [--smoke]

No photograph and no decoder family is in two of train, val and test. Both classes are lossless PNG by one encoder.
Pictures are made equally sharp and no more is done to them: augmentation is the trainer's work.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from moderation.miniature import decoders, photographs, workshop
from moderation.miniature.backbone import IMAGE_SIZE
from moderation.miniature.condition import treat
from moderation.miniature.decoders import Autoencoder
from moderation.miniature.photographs import Pixels, Split
from moderation.miniature.pictures import Cutter, decode, pair_of
from moderation.miniature.recipe import Recipe

USUAL: Mapping[str, Split] = {"train": Split.TUNE, "val": Split.VALIDATION, "test": Split.TEST}
"""The splits of a manifest, and whose photographs and decoder families they hold."""
LAST: Mapping[str, Split] = {"test": Split.FINAL}
_SHARP_SHARE, _MATCHED_SHARE = 0.7, 0.35  # of the training pairs, as the miniature's own prompt was tuned
_Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How many pictures of which size. Pairs are counted a photograph and family."""

    side: int = IMAGE_SIZE
    train: int = 75
    val: int = 40
    test: int = 40
    decoder_steps: int = Recipe.decoder_steps


LARGE = Sizes(side=280, train=10, val=10, test=12)
"""Decoded at a size that the detector shrinks, and the traces with it. The smallest photographs are 300 px high."""
FINAL = Sizes(test=120)
SMOKE = Sizes(side=32, train=1, val=1, test=1, decoder_steps=2)


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
        families = decoders.of_split(split)
        for number, family in enumerate(families):
            decoder = workshop.kept_decoder(family, sizes.decoder_steps, seed, kept, say)
            rng = np.random.default_rng((seed, sizes.side, list(Split).index(split), number))
            rows.extend(_written(out, name, decoder, _pairs(split, decoder, sizes, name, rng)))
        say(f"{out / name}: {sum(row.split == name for row in rows)} pictures")
    return _manifest(out / "manifest.csv", rows)


def _pairs(
    split: Split, decoder: Autoencoder, sizes: Sizes, name: str, rng: np.random.Generator
) -> Iterator[tuple[str, Pixels, Pixels]]:
    """(photograph, real, fake) of every crop. In test and val each fake is about as sharp as its crop."""
    for photograph in photographs.of_split(split):
        cutter = Cutter([photograph], sizes.side)
        for _ in range(getattr(sizes, name)):
            crop = cutter.crop(rng)
            made = decode(decoder, [crop], int(rng.integers(2**31)))[0]
            is_sharp, is_matched = name != "train" or rng.random() < _SHARP_SHARE, rng.random() < _MATCHED_SHARE
            pair = pair_of(crop, made, rng, is_sharp)
            yield photograph.name, *(treat(*pair, "blurred", rng) if name == "train" and is_matched else pair)


def _written(out: Path, split: str, decoder: Autoencoder, pairs: Iterator[tuple[str, Pixels, Pixels]]) -> Iterator[Row]:
    family = decoder.family.name
    for number, (photograph, *pair) in enumerate(pairs):
        for label, pixels in zip(("real", "fake"), pair, strict=True):
            path = Path(split, family, label, f"{photograph}-{number:03d}.png")
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(out / path)
            generator = family if label == "fake" else "none"
            yield Row(path.as_posix(), label, generator, photograph, split, family, f"{split}-{family}-{number:03d}")


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
