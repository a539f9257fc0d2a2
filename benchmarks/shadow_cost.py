"""What a shadow prompt costs on the miniature: a batch with it, without it, and with a second full pass in its place.

    python benchmarks/shadow_cost.py [--rounds 41] [--batch 32] > benchmarks/shadow_cost.json

The pictures are the shipped samples, made ready beforehand: what is measured is the time that the device is held. The
three ways take turns in an order drawn anew for each round, so that a busy machine is as unkind to each; medians over
the rounds are given, and of each round's own differences. On one thread, processor time depends little on who else is
at work. Once for the pseudo-word alone and once for the shipped prompt, whose pixel expert has no part in the vision
pass and so runs twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from moderation.detector import Backbone, Detector, SoftPrompt, load_backbone, score_together
from moderation.images import Views, decode, views_of
from moderation.miniature import PROMPT_FILE, WORD_FILE, samples

SEED = 42
WITHOUT, WITH, NAIVE = "without a shadow", "with a shadow", "with a second full pass"


def measure(backbone: Backbone, file: Path, pictures: int, rounds: int, chance: random.Random) -> dict[str, Any]:
    """Milliseconds a batch, for each of the three ways, by the clock on the wall and in processor time."""
    prompt = SoftPrompt.load(file)
    calibration = dataclasses.replace(prompt.calibration, bias=prompt.calibration.bias + 0.5)
    active = Detector(backbone, prompt)
    shadow = active.with_prompt(dataclasses.replace(prompt, calibration=calibration))
    views = load_views(backbone, pictures, active.native_crops)
    ways: dict[str, Callable[[], object]] = {
        WITHOUT: lambda: active.score(views),
        WITH: lambda: score_together([active, shadow], views),
        NAIVE: lambda: (active.score(views), shadow.score(views)),
    }
    check_alike(active, shadow, views)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name in chance.sample(list(ways), len(ways)):
            wall, cpu = time.perf_counter(), time.process_time()
            ways[name]()
            spent[name].append(((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000))
    return {
        clock: summary({name: [each[at] for each in times] for name, times in spent.items()})
        for at, clock in enumerate(("wall", "cpu"))
    }


def summary(spent: Mapping[str, list[float]]) -> dict[str, Any]:
    """Medians over the rounds, and of each round's own difference to the batch without a shadow."""
    medians = {name: statistics.median(times) for name, times in spent.items()}
    beside = {name: zip(spent[name], spent[WITHOUT], strict=True) for name in (WITH, NAIVE)}
    return {
        "ms_median": {name: round(each, 2) for name, each in medians.items()},
        "extra_ms_median": {
            name: round(statistics.median(other - own for other, own in pairs), 2) for name, pairs in beside.items()
        },
        "extra_share": {name: round(medians[name] / medians[WITHOUT] - 1, 3) for name in (WITH, NAIVE)},
        "all_ms": {name: [round(each, 2) for each in times] for name, times in spent.items()},
    }


def load_views(backbone: Backbone, count: int, crops: int) -> list[Views]:
    files = [sample.path for sample in samples()][:count]
    if len(files) < count:
        raise SystemExit(f"there are only {len(files)} samples")
    found = []
    for file in files:
        image, _ = decode(file.read_bytes(), max_pixels=10**8, exif_orientation=True)
        found.append(views_of(image, backbone.image_size, crops))
    return found


def check_alike(active: Detector, shadow: Detector, views: list[Views]) -> None:
    """The benchmark is void unless all three ways give the same scores. Warms up, too."""
    together = score_together([active, shadow], views)
    for found, detector in zip(together, (active, shadow), strict=True):
        if found != detector.score(views):
            raise SystemExit("scores made together differ from those made alone: the benchmark is void")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chance = random.Random(SEED)
    backbone = load_backbone("miniature", device="cpu", dtype="float32")
    loads = [os.getloadavg()[0]]
    prompts = {"the pseudo-word alone": WORD_FILE, "the shipped prompt, with its pixel expert": PROMPT_FILE}
    found = {}
    for name, file in prompts.items():
        found[name] = measure(backbone, file, options.batch, options.rounds, chance)
        loads.append(os.getloadavg()[0])
        print(name, found[name]["cpu"]["ms_median"], file=sys.stderr)  # noqa: T201 - a script's talk
    result = {
        "command": "python benchmarks/shadow_cost.py " + " ".join(sys.argv[1:]),
        "machine": f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {options.threads} thread",
        "load_average": [round(min(loads), 2), round(max(loads), 2)],
        "seed": SEED,
        "batch": options.batch,
        "rounds": options.rounds,
        "prompts": found,
    }
    print(json.dumps(result, indent=1))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
