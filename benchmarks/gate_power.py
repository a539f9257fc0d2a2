"""How often the retraining gate is wrong: passes a candidate that is truly worse, refuses one that is not.

    python benchmarks/gate_power.py [--trials 300] [--resamples 200] > benchmarks/gate_power.json

Made-up scores, since only there the truth is known: margins of real pictures and fakes are normal, the active prompt's
AUC is .90, and the candidate's margins are correlated with the active's. Each trial draws one holdout part, half of it
fake, in two sources, three generators and two sizes, between which nothing differs, and judges it with the default
margin. Kinds of candidates: worse by twice the margin, equal, better by .05. `pass` is the share of trials that pass;
`slices_alone` the share that nothing but a slice refused.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.evaluation.gate import HOLDOUT, GateResult, GateVerdict, Judged, judge
from moderation.evaluation.gate_result import WHOLE
from moderation.settings import Settings

AUC = 0.90
SIZES = (60, 200, 600)
CORRELATIONS = (0.95, 0.99)


def part(n: int, auc_after: float, correlation: float, rng: np.random.Generator) -> Judged:
    """One holdout part of n pictures, every other one a fake."""
    is_fake = np.arange(n) % 2 == 1
    apart = [math.sqrt(2) * NormalDist().inv_cdf(auc) for auc in (AUC, auc_after)]
    noise = rng.normal(size=(2, n))
    noise[1] = correlation * noise[0] + math.sqrt(1 - correlation**2) * noise[1]
    before, after = (far * (is_fake - 0.5) + one for far, one in zip(apart, noise, strict=True))
    return Judged(
        is_fake=is_fake,
        before_p=_sigmoid(before),
        before_margin=before,
        after_p=_sigmoid(after),
        after_margin=after,
        threshold=np.full(n, 0.5),
        group=np.full(n, "", dtype=object),
        source=_drawn(("app", "web"), n, rng),
        generator=_drawn(("one", "two", "three"), n, rng),
        band=_drawn(("large", "small"), n, rng),
        part=np.full(n, HOLDOUT, dtype=object),
    )


def counted(results: Sequence[GateResult]) -> dict[str, float]:
    """Shares of the trials."""
    sound = [all(line.verdict in _SOUND for line in each.lines if line.slice == WHOLE) for each in results]
    alone = [fine and not each.passed for fine, each in zip(sound, results, strict=True)]
    return {
        "pass": round(sum(each.passed for each in results) / len(results), 4),
        "slices_alone": round(sum(alone) / len(results), 4),
    }


_SOUND = (GateVerdict.BETTER, GateVerdict.NO_WORSE)


def _sigmoid(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-margin))


def _drawn(names: Sequence[str], n: int, rng: np.random.Generator) -> NDArray[Any]:
    return np.array(names, dtype=object)[rng.integers(0, len(names), n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    began = time.perf_counter()
    margin = float(Settings.model_fields["gate_margin"].default)
    kinds = {"worse by two margins": AUC - 2 * margin, "equal": AUC, "better by .05": AUC + 0.05}
    cells = []
    for at, (correlation, n, kind) in enumerate((c, n, k) for c in CORRELATIONS for n in SIZES for k in kinds):
        rng = np.random.default_rng([options.seed, at])
        results = [
            judge(
                part(n, kinds[kind], correlation, rng),
                margin=margin,
                seed=trial,
                with_replay=False,
                resamples=options.resamples,
            )
            for trial in range(options.trials)
        ]
        cells.append({"candidate": kind, "pictures": n, "correlation": correlation, **counted(results)})
        print(cells[-1], file=sys.stderr)  # noqa: T201 - progress
    result = {
        "command": "python benchmarks/gate_power.py " + " ".join(sys.argv[1:]),
        "machine": f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}",
        "seconds": round(time.perf_counter() - began),
        "margin": margin,
        "auc_of_the_active": AUC,
        "trials": options.trials,
        "resamples": options.resamples,
        "cells": cells,
    }
    print(json.dumps(result, indent=1))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
