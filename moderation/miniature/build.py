"""Makes everything in this folder that is not code: weights, prompt, sample pictures, results and the data card.

    python -m moderation.miniature.build [--out FOLDER] [--smoke]

Seeded and repeatable on one machine; about three quarters of an hour on two cores. Test photographs and families are
touched only after weights and prompt are written.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import moderation.miniature as package
from moderation.detector import Backbone, Normalisation, SoftPrompt, load_backbone
from moderation.miniature import backbone, card, decoders, evaluate, gallery, measure, pretrain, tune, workshop
from moderation.miniature.condition import CONDITIONS
from moderation.miniature.decoders import Autoencoder
from moderation.miniature.photographs import Split
from moderation.miniature.recipe import SMOKE, Recipe
from moderation.miniature.tune import Features

NAME = "miniature"


class Clock:
    """Says what happens on stderr and keeps how long each stage took."""

    def __init__(self) -> None:
        self._start = self._stage_start = time.monotonic()
        self.seconds: dict[str, int] = {}

    def say(self, text: str) -> None:
        """One line with the seconds since the start."""
        sys.stderr.write(f"{time.monotonic() - self._start:6.0f} s  {text}\n")
        sys.stderr.flush()

    def end_stage(self, name: str) -> None:
        """Closes a stage under its name."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._stage_start)
        self._stage_start = now
        self.say(f"{name} done in {self.seconds[name]} s")


def build(recipe: Recipe, out: Path, command: str) -> dict[str, Any]:
    """Makes everything into `out` and returns the results that it also wrote."""
    clock = Clock()
    out.mkdir(parents=True, exist_ok=True)
    makers = workshop.train_decoders(recipe.decoder_steps, recipe.seed, clock.say)
    clock.end_stage("decoders")
    statistics = pretrain.pretrain(recipe, makers, out / package.WEIGHTS_DIR.name, clock.say)
    clock.end_stage("pre-training")
    frozen = load(out / package.WEIGHTS_DIR.name)
    validation = _featurised(frozen, Split.VALIDATION, makers, recipe.validation_crops, statistics, recipe.seed)
    prompt = tuned(recipe, frozen, makers, validation, statistics, clock)
    prompt.save(out / package.PROMPT_FILE.name)
    clock.end_stage("tuning")
    scorers = evaluate.scorers(frozen, prompt, validation)
    test = _featurised(frozen, Split.TEST, makers, recipe.test_crops, statistics, recipe.seed)
    found = evaluate.readings(scorers, test)
    count = gallery.write_samples(_of(makers, Split.TEST), out / package.SAMPLES_DIR.name, recipe.sample_crops,
                                  backbone.IMAGE_SIZE, recipe.seed)  # fmt: skip
    final = _featurised(frozen, Split.FINAL, makers, recipe.test_crops, statistics, recipe.seed)
    last = evaluate.readings(scorers, final)
    clock.end_stage("measuring")
    results = {
        "command": command,
        "machine": _machine(),
        "recipe": dataclasses.asdict(recipe),
        "seconds": clock.seconds,
        "backbone": {
            "parameters": backbone.parameter_count(frozen.model),
            "bytes": (out / package.WEIGHTS_DIR.name / "model.safetensors").stat().st_size,
            "revision": frozen.revision,
        },
        "prompt": {"sha256": prompt.sha256, "validation_auc": prompt.metadata["validation_auc"]},
        "samples": count,
        "test": _plain(found),
        "final": _plain(last),
        "bars": [{**dataclasses.asdict(bar), "met": bar.is_met} for bar in evaluate.bars(found)],
        "accuracy": {
            condition: evaluate.accuracy(
                tune.score(frozen, prompt, test[condition]), test[condition].pictures.is_fake, prompt.calibration
            )
            for condition in ("clean", "blurred", "jpeg75")
        },
        "shortcuts": {name: measure.shortcuts(test[name].pictures) for name in ("clean", "blurred")},
    }
    (out / package.RESULTS_FILE.name).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / package.CARD_FILE.name).write_text(card.render(results), encoding="utf-8")
    return results


def load(folder: Path) -> Backbone:
    """The backbone in `folder`, under the name that prompts know it by."""
    return dataclasses.replace(load_backbone(str(folder), device="cpu", dtype="float32"), name=NAME)


def tuned(
    recipe: Recipe, frozen: Backbone, makers: Mapping[str, Autoencoder], validation: Mapping[str, Features],
    statistics: Normalisation, clock: Clock,
) -> SoftPrompt:  # fmt: skip
    """The pseudo-word tuned on tuning photographs and families; chosen and calibrated on validation photographs."""
    pictures = workshop.training_pictures(
        Split.TUNE, makers, recipe.tuning_pairs, backbone.IMAGE_SIZE, drawn_share=0, seed=recipe.seed + 100
    )
    training = tune.featurise(frozen, pictures, statistics)
    return tune.tune(frozen, training, validation, statistics, recipe.tuning_steps, recipe.tuning_starts, clock.say)


def _featurised(
    frozen: Backbone, split: Split, makers: Mapping[str, Autoencoder], per_photograph: int, statistics: Normalisation,
    seed: int,
) -> dict[str, Features]:  # fmt: skip
    is_choosing = split is Split.VALIDATION
    families = decoders.of_split(Split.TUNE if is_choosing else Split.TEST)
    conditions = evaluate.CHOOSING if is_choosing else CONDITIONS
    sets = workshop.condition_pictures(split, families, makers, conditions, per_photograph, backbone.IMAGE_SIZE, seed)
    return {name: tune.featurise(frozen, pictures, statistics) for name, pictures in sets.items()}


def _of(makers: Mapping[str, Autoencoder], split: Split) -> dict[str, Autoencoder]:
    return {family.name: makers[family.name] for family in decoders.of_split(split)}


def _plain(readings: Mapping[str, Mapping[str, measure.Reading]]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        scorer: {condition: dataclasses.asdict(reading) for condition, reading in conditions.items()}
        for scorer, conditions in readings.items()
    }


def _machine() -> str:
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}, shared with other work), {versions}"


def main() -> int:
    """The command line. Returns 4 if a bar was missed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m moderation.miniature.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=package.WEIGHTS_DIR.parent, help="where to write (default: here)")
    parser.add_argument("--smoke", action="store_true", help="a minute's run of the whole path; worthless weights")
    given = parser.parse_args()
    torch.set_num_threads(1)
    command = " ".join(["python -m moderation.miniature.build", *(["--smoke"] if given.smoke else [])])
    results = build(SMOKE if given.smoke else Recipe(), given.out, command)
    missed = [bar["name"] for bar in results["bars"] if not bar["met"]]
    sys.stderr.write(f"bars missed: {', '.join(missed) or 'none'}\n")
    return 4 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
