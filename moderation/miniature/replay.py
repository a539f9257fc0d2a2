"""Writes the replay pictures that ship: a small sample of what the shipped prompt was tuned and validated on.

    python -m moderation.miniature.replay --work DIR [--out DIR] [--seed N] [--smoke]

`modctl retrain` mixes the training half in, so that a new prompt does not forget, and its gate judges on the other
half. Photographs and decoder families are those of tuning and validation; nothing of the test or final ones is here.
Both classes are written by one JPEG encoder at one quality.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch

from moderation.miniature import decoders, photographs, processing, reconstructors, workshop
from moderation.miniature.backbone import IMAGE_SIZE
from moderation.miniature.datasets import Row
from moderation.miniature.decoders import Family
from moderation.miniature.gallery import QUALITY
from moderation.miniature.photographs import Photograph, Split
from moderation.miniature.pictures import Cutter, decode, pair_of
from moderation.miniature.recipe import Recipe

REPLAY_DIR = Path(__file__).resolve().parent / "replay"
MANIFEST = "manifest.csv"
_SET = "replay"
_Say = Callable[[str], None]


@dataclass(frozen=True)
class Amounts:
    """Pairs of a real and a fake picture, by kind of decoder."""

    side: int = IMAGE_SIZE
    decoder_steps: int = Recipe.decoder_steps
    family: int = 20  # of each named family
    train_random: tuple[int, int] = (40, 2)  # reconstructors of random architecture, and pairs of each
    val_random: tuple[int, int] = (12, 3)


SMOKE = Amounts(side=32, decoder_steps=2, family=1, train_random=(2, 1), val_random=(1, 1))


def write(out: Path, amounts: Amounts, seed: int, kept: Path, say: _Say) -> int:
    """Writes OUT/<split>/*.jpg, the manifest and SOURCES.md; returns how many pictures. Old pictures are removed.

    kept: the folder of trained decoders; those that it lacks are trained and put there.
    """
    for old in out.glob("*/*.jpg"):
        old.unlink()
    rows: list[Row] = []
    drawn = reconstructors.draw(amounts.train_random[0] + amounts.val_random[0], seed)
    halves = (
        ("train", Split.TUNE, drawn[: amounts.train_random[0]], amounts.train_random[1]),
        ("val", Split.VALIDATION, drawn[amounts.train_random[0] :], amounts.val_random[1]),
    )
    for place, (half, split, random, pairs) in enumerate(halves):
        sources = photographs.of_split(split)
        if split is Split.TUNE:
            sources = (*sources, *photographs.of_split(Split.PRETRAIN))
        rng = np.random.default_rng((seed, place))
        wanted = [(family, amounts.family, amounts.decoder_steps) for family in decoders.of_split(split)]
        wanted += [(family, pairs, min(reconstructors.STEPS, amounts.decoder_steps)) for family in random]
        for family, count, steps in wanted:
            decoder = workshop.kept_decoder(family, steps, seed, kept, say)
            rows.extend(_written(out, half, family, sources, count, decoder, amounts.side, rng))
        say(f"{half}: {sum(row.split == half for row in rows)} pictures")
    _write_manifest(out / MANIFEST, rows)
    _write_sources(out / "SOURCES.md")
    return len(rows)


def _written(
    out: Path,
    half: str,
    family: Family,
    sources: Sequence[Photograph],
    count: int,
    decoder: decoders.Autoencoder,
    side: int,
    rng: np.random.Generator,
) -> Iterator[Row]:
    cutter = Cutter(sources, side)
    for number in range(count):
        crop = cutter.crop(rng)
        made = decode(decoder, [crop], int(rng.integers(2**31)))[0]
        for label, pixels in zip(("real", "fake"), pair_of(crop, made, rng), strict=True):
            path = Path(half, f"{family.name}-{number:02d}-{crop.photograph}-{label}.jpg")
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(processing.encode_jpeg(pixels, QUALITY))
            # A photograph is no source of a platform: biases by photograph would be of no use to anyone.
            made_by = family.name if label == "fake" else "none"
            yield Row(path.as_posix(), label, made_by, "", half, _SET, f"{half}-{family.name}-{number:02d}")


def _write_manifest(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(field.name for field in dataclasses.fields(Row))
        lines.writerows(astuple(row) for row in rows)


def _write_sources(path: Path) -> None:
    """What each photograph is, and under which licence: a picture's name says which one it was cut from."""
    used = (Split.TUNE, Split.PRETRAIN, Split.VALIDATION)
    lines = ["# Where these pictures come from", "", "| photograph | licence | by | from |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.licence} | {one.attribution} | {one.source} |"
              for one in photographs.PHOTOGRAPHS if one.split in used]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m moderation.miniature.replay", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps trained decoders")
    parser.add_argument("--out", type=Path, default=REPLAY_DIR, help="where to write (default: into the package)")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--smoke", action="store_true", help="a few tiny pictures by untrained decoders")
    given = parser.parse_args()
    torch.set_num_threads(1)
    count = write(given.out, SMOKE if given.smoke else Amounts(), given.seed, given.work, _say)
    sys.stdout.write(f"{given.out}: {count} pictures\n")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
