"""Runs the study; writes its results and the figures of docs/method.md.

    python -m benchmarks.method [--work DIR] [--page-only]

Everything is kept below DIR (default: build/method), so that a run that was stopped goes on; a new DIR is a new run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.method import page, runner
from benchmarks.method.study import comparisons, runs

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
PAGE = HERE.parents[1] / "docs" / "method.md"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.method", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/method"), help="where data, runs and scores are kept")
    parser.add_argument("--smoke", action="store_true", help="a short run of the whole path; its figures go nowhere")
    parser.add_argument("--page-only", action="store_true", help="write the page from the results that are there")
    given = parser.parse_args()
    if given.smoke:
        sys.stdout.write(page.render(study(given.work.resolve(), smoke=True)) + "\n")
        return 0
    if not given.page_only:
        RESULTS.write_text(json.dumps(study(given.work.resolve()), indent=1) + "\n", encoding="utf-8")
    page.write(PAGE, json.loads(RESULTS.read_text(encoding="utf-8")))
    return 0


def study(work: Path, *, smoke: bool = False) -> dict[str, Any]:
    """Runs all of it; returns what is kept."""
    clock = Clock(work / "seconds.json")
    manifests = runner.make_data(work, smoke=smoke)
    clock.end_stage("data")
    tuned = runner.tune_all(work, manifests, runs(smoke=smoke))
    clock.end_stage("tuning")
    evaluations = runner.evaluate_all(work, manifests, tuned)
    clock.end_stage("evaluation")
    kept = [each for each in comparisons(tuned) if each.name in evaluations]
    return {
        "command": "python -m benchmarks.method",
        "machine": _machine(),
        "seconds": clock.seconds,
        "runs": tuned,
        "comparisons": {
            each.name: {"command": runner.command_of(each), **page.kept(evaluations[each.name])} for each in kept
        },
        "calibration": runner.calibration(work, [name for name in ("prompt", "expert") if name in tuned]),
    }


class Clock:
    """How long each stage took, those of earlier runs on the same folder included."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: dict[str, int] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self._began = time.monotonic()

    def end_stage(self, name: str) -> None:
        """Adds the time since the last stage's end."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0) + round(now - self._began)
        self._began = now
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self.seconds), encoding="utf-8")
        sys.stderr.write(f"{self.seconds[name]:6d} s  {name} done\n")


def _machine() -> str:
    import torch

    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}, shared with other work), {versions}"


if __name__ == "__main__":
    sys.exit(main())
