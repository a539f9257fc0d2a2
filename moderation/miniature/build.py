"""Makes everything in this folder that is not code: weights, prompt, sample pictures, results and the data card.

    python -m moderation.miniature.build [--keep-weights] [--out FOLDER] [--work FOLDER] [--smoke]

Seeded and repeatable on one machine; about an hour on two cores. `--keep-weights` keeps weights, pseudo-word and sample
pictures as they are and makes the rest anew. Test photographs and families are touched after the prompt is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import moderation.miniature as package
from moderation.detector import Backbone, Normalisation, SoftPrompt, load_backbone
from moderation.miniature import (
    backbone,
    beside,
    card,
    datasets,
    decoders,
    evaluate,
    gallery,
    measure,
    pretrain,
    shortcut,
    tune,
    workshop,
)  # fmt: skip
from moderation.miniature.clock import Clock, machine
from moderation.miniature.condition import CONDITIONS
from moderation.miniature.datasets import Sizes
from moderation.miniature.decoders import Autoencoder
from moderation.miniature.photographs import Split
from moderation.miniature.recipe import SMOKE, Recipe
from moderation.miniature.tune import Features

NAME = "miniature"
Results = dict[str, Any]
Makers = Mapping[str, Autoencoder]


def build(recipe: Recipe, sizes: Sizes, out: Path, work: Path, *, keeps_weights: bool) -> Results:
    """Makes everything into `out` and returns the results that it also wrote. work: for decoders and pictures."""
    clock = Clock()
    out.mkdir(parents=True, exist_ok=True)
    makers = workshop.kept_decoders(recipe.decoder_steps, recipe.seed, work / "decoders", clock.say)
    clock.end_stage("decoders")
    if keeps_weights:
        origin = json.loads((out / package.RESULTS_FILE.name).read_text(encoding="utf-8"))["origin"]
    else:
        _train(recipe, makers, out, clock)
        origin = {"machine": machine(), "seconds": clock.seconds.copy()}
    frozen, word = load(out / package.WEIGHTS_DIR.name), SoftPrompt.load(out / package.WORD_FILE.name)
    made = beside.with_pixels(word, frozen, sizes, recipe.seed, work, clock.say)
    made.prompt.save(out / package.PROMPT_FILE.name)
    clock.end_stage("expert")
    results = {
        "machine": machine(),
        "recipe": dataclasses.asdict(recipe),
        "origin": origin,
        "backbone": {
            "parameters": backbone.parameter_count(frozen.model),
            "bytes": (out / package.WEIGHTS_DIR.name / "model.safetensors").stat().st_size,
            "revision": frozen.revision,
        },
        "word": {"sha256": word.sha256, "calibration": word.calibration.described, **word.metadata},
        "prompt": {"sha256": made.prompt.sha256, **made.facts},
        **_measured(recipe, frozen, word, made.prompt, makers),
    }
    if not keeps_weights:
        _write_samples(recipe, makers, out / package.SAMPLES_DIR.name)
    results["shortcuts"]["samples, JPEG"] = shortcut.of_samples(out / package.SAMPLES_DIR.name)
    clock.end_stage("measuring")
    results["seconds"] = clock.seconds
    (out / package.RESULTS_FILE.name).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / package.CARD_FILE.name).write_text(card.render(results), encoding="utf-8")
    return results


def _train(recipe: Recipe, makers: Makers, out: Path, clock: Clock) -> None:
    """Writes the backbone's weights and the pseudo-word tuned on them."""
    statistics = pretrain.pretrain(recipe, makers, out / package.WEIGHTS_DIR.name, clock.say)
    clock.end_stage("pre-training")
    frozen = load(out / package.WEIGHTS_DIR.name)
    validation = _featurised(frozen, Split.VALIDATION, makers, recipe.validation_crops, statistics, recipe.seed)
    tuned(recipe, frozen, makers, validation, statistics, clock).save(out / package.WORD_FILE.name)
    clock.end_stage("tuning")


def _write_samples(recipe: Recipe, makers: Makers, folder: Path) -> None:
    of_test = {family.name: makers[family.name] for family in decoders.of_split(Split.TEST)}
    gallery.write_samples(of_test, folder, recipe.sample_crops, backbone.IMAGE_SIZE, recipe.seed)


def _measured(recipe: Recipe, frozen: Backbone, word: SoftPrompt, prompt: SoftPrompt, makers: Makers) -> Results:
    """Everything that is read on test and final photographs."""
    statistics, seed = word.normalisation, recipe.seed
    validation = _featurised(frozen, Split.VALIDATION, makers, recipe.validation_crops, statistics, seed)
    scorers = evaluate.scorers(frozen, word, prompt, validation)
    test = _featurised(frozen, Split.TEST, makers, recipe.test_crops, statistics, seed)
    found = evaluate.readings(scorers, test)
    honesty = evaluate.honesties(frozen, word, prompt, test)
    shortcuts = {f"{name}, PNG": shortcut.of_pictures(test[name].pictures) for name in ("clean", "blurred")}
    del test  # as large as what follows
    final = _featurised(frozen, Split.FINAL, makers, recipe.test_crops, statistics, seed)
    return {
        "test": _plain(found),
        "final": _plain(evaluate.readings(scorers, final)),
        "honesty": {name: {when: _figures(told) for when, told in both.items()} for name, both in honesty.items()},
        "bars": [{**dataclasses.asdict(bar), "met": bar.is_met} for bar in evaluate.bars(found, honesty)],
        "shortcuts": shortcuts,
    }


def load(folder: Path) -> Backbone:
    """The backbone in `folder`, under the name that prompts know it by."""
    return dataclasses.replace(load_backbone(str(folder), device="cpu", dtype="float32"), name=NAME)


def tuned(
    recipe: Recipe, frozen: Backbone, makers: Makers, validation: Mapping[str, Features],
    statistics: Normalisation, clock: Clock,
) -> SoftPrompt:  # fmt: skip
    """The pseudo-word tuned on tuning photographs and families; chosen and calibrated on validation photographs."""
    pictures = workshop.training_pictures(
        Split.TUNE, makers, recipe.tuning_pairs, backbone.IMAGE_SIZE, drawn_share=0, seed=recipe.seed + 100
    )
    training = tune.featurise(frozen, pictures, statistics)
    return tune.tune(frozen, training, validation, statistics, recipe.tuning_steps, recipe.tuning_starts, clock.say)


def _featurised(
    frozen: Backbone, split: Split, makers: Makers, per_photograph: int, statistics: Normalisation, seed: int
) -> dict[str, Features]:
    is_choosing = split is Split.VALIDATION
    families = decoders.of_split(Split.TUNE if is_choosing else Split.TEST)
    conditions = evaluate.CHOOSING if is_choosing else CONDITIONS
    sets = workshop.condition_pictures(split, families, makers, conditions, per_photograph, backbone.IMAGE_SIZE, seed)
    return {name: tune.featurise(frozen, pictures, statistics) for name, pictures in sets.items()}


def _figures(honesty: measure.Honesty) -> dict[str, Any]:
    return {name: dataclasses.asdict(figure) if figure else None for name, figure in honesty.items()}


def _plain(readings: Mapping[str, Mapping[str, measure.Reading]]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        scorer: {condition: dataclasses.asdict(reading) for condition, reading in conditions.items()}
        for scorer, conditions in readings.items()
    }


def main() -> int:
    """The command line. Returns 4 if a bar was missed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m moderation.miniature.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=package.WEIGHTS_DIR.parent, help="where to write (default: here)")
    parser.add_argument("--smoke", action="store_true", help="a minute's run of the whole path; worthless weights")
    parser.add_argument(
        "--keep-weights", action="store_true", help="keep weights, word and samples; make the rest anew"
    )
    parser.add_argument("--work", type=Path, help="keeps decoders and pictures (default: made and thrown away)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sizes = dataclasses.replace(datasets.SMOKE, side=backbone.IMAGE_SIZE) if given.smoke else datasets.Sizes()
    with TemporaryDirectory() as folder:
        results = build(
            SMOKE if given.smoke else Recipe(), sizes, given.out, given.work or Path(folder),
            keeps_weights=given.keep_weights,
        )  # fmt: skip
    missed = [bar["name"] for bar in results["bars"] if not bar["met"]]
    sys.stderr.write(f"bars missed: {', '.join(missed) or 'none'}\n")
    return 4 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
