"""Runs the study: data, then tuning in two processes, then evaluations. What is there already is not made again."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.method.study import RUNS, SIZES, ZERO_SHOT, Comparison, Run, comparisons

PROCESSES = 2
ROBUSTNESS_SAMPLE = 60  # pictures of each test set
_UNBALANCED = 8  # real pictures to a fake


def make_data(work: Path, *, smoke: bool) -> dict[str, Path]:
    """The manifests, by name. The pictures come from `python -m moderation.miniature.datasets`."""
    data = work / "data"
    if not (data / "manifest.csv").is_file():
        command = [sys.executable, "-m", "moderation.miniature.datasets", "--out", str(data)]
        command += ["--decoders", str(work / "decoders"), *(["--smoke"] if smoke else [])]
        subprocess.run(command, check=True)
    rows = _rows(data / "manifest.csv")
    found = {"all": data / "manifest.csv", "large": data / "large" / "manifest.csv"}
    groups = list(dict.fromkeys(row["group"] for row in rows if row["split"] == "train"))
    spread = sorted(groups, key=lambda group: group[::-1])  # crops of all families and photographs among the first
    for size in SIZES:
        kept = set(spread[:size])
        found[f"first-{size}"] = _write(data / f"first-{size}.csv", _thinned(rows, kept))
    found["unbalanced"] = _write(data / "unbalanced.csv", _unbalanced(rows, spread))
    return found


def tune_all(work: Path, manifests: Mapping[str, Path], runs: Sequence[Run]) -> dict[str, Any]:
    """Each run's command, seconds and validation figures, by name."""
    with _pool() as pool:
        jobs = {run.name: pool.submit(tune, run, work, manifests[run.data]) for run in runs}
        return {name: job.result() for name, job in jobs.items()}


def evaluate_all(work: Path, manifests: Mapping[str, Path], made: Collection[str]) -> dict[str, Any]:
    """Each comparison's evaluation, as `modctl eval --json` prints it, by name."""
    chosen = comparisons(made)
    with _pool() as pool:
        jobs = {each.name: pool.submit(evaluate, each, work, manifests[each.data]) for each in chosen}
        return {name: job.result() for name, job in jobs.items()}


def tune(run: Run, work: Path, manifest: Path) -> dict[str, Any]:
    """One `modctl tune`; its artefact is kept as WORK/prompts/NAME.safetensors, or the folder WORK/prompts/NAME."""
    kept = work / "prompts" / f"{run.name}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    arguments = f"tune --manifest {manifest} --name {run.name} {run.arguments} --no-register --yes --json"
    command = [*shlex.split(arguments), "--out", str(work / "runs"), "--cache", str(work / "features")]
    began = time.monotonic()
    done = modctl(command)
    artefact = Path(done["artefact"])
    kept.parent.mkdir(parents=True, exist_ok=True)
    if artefact.is_dir():
        shutil.copytree(artefact, kept.with_suffix(""), dirs_exist_ok=True)
    else:
        shutil.copy(artefact, kept.with_suffix(".safetensors"))
    shown = " ".join(f"modctl tune --manifest {manifest.relative_to(work)} {run.arguments}".split())
    result = {
        "command": shown,
        "seconds": round(time.monotonic() - began),
        "validation": done["validation"],
        "notes": done["notes"],
    }
    kept.write_text(json.dumps(result), encoding="utf-8")
    return result


def evaluate(comparison: Comparison, work: Path, manifest: Path) -> dict[str, Any]:
    """One `modctl eval` of the comparison's candidates."""
    prompts = [candidate_of(name, work) for name in comparison.candidates]
    command = ["eval", "--manifest", str(manifest), "--split", "test", "--json", "--out"]
    command += [str(work / "evals" / comparison.name), *(part for prompt in prompts for part in ("--prompt", prompt))]
    if comparison.is_robustness:
        command += ["--robustness", "--robustness-sample", str(ROBUSTNESS_SAMPLE), "--shortcuts"]
    return modctl(command)


def command_of(comparison: Comparison) -> str:
    """The same for a person, below WORK."""
    manifest = "data/large/manifest.csv" if comparison.data == "large" else "data/manifest.csv"
    prompts = " ".join(f"--prompt {candidate_of(name, Path())}" for name in comparison.candidates)
    more = f" --robustness --robustness-sample {ROBUSTNESS_SAMPLE} --shortcuts" if comparison.is_robustness else ""
    return f"modctl eval --manifest {manifest} --split test {prompts}{more}"


def calibration(work: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Calibration error, loss and Brier score of candidates on the test set: the model's own belief, then calibrated.

    The belief is sigmoid(margin), the expert's share included. Calibrations were fitted on the validation pictures.
    """
    import pyarrow.parquet

    from moderation.evaluation.bootstrap import measure
    from moderation.evaluation.scores import ScoreTable

    table = ScoreTable.from_arrow(pyarrow.parquet.read_table(work / "evals" / "baselines" / "scores.parquet"))
    found = {}
    for name in names:
        rows = table.where(candidate=name, condition="")
        belief = 1 / (1 + np.exp(-np.clip(rows.margin, -700, 700)))
        sides = {"before": belief, "after": rows.probability}
        found[name] = {
            side: asdict(measure(rows.is_fake, values, rows.margin, 0.5, rows.group, resamples=1000, seed=0))
            for side, values in sides.items()
        }
    return found


def candidate_of(name: str, work: Path) -> str:
    """What `--prompt` takes for a run."""
    if name == ZERO_SHOT:
        return name
    is_lora = next(run for run in RUNS if run.name == name).is_lora
    place = work / "prompts" / name
    return f"lora:{place}" if is_lora else f"{place}.safetensors"


def modctl(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command in this process and returns the JSON object that it prints."""
    from moderation.cli import modctl as command

    out = StringIO()
    with redirect_stdout(out):
        command.main([str(part) for part in arguments], prog_name="modctl", standalone_mode=False)
    printed: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return printed


def _pool() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=_alone)


def _alone() -> None:
    """One thread a process: two that contend for one core are slower than one. No settings of the person's count."""
    for name in [name for name in os.environ if name.startswith("MODERATION_")]:
        del os.environ[name]
    os.environ["MODERATION_BATCH_SIZE"] = "64"
    import torch

    torch.set_num_threads(1)


def _rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _thinned(rows: Iterable[dict[str, str]], groups: set[str]) -> list[dict[str, str]]:
    return [row for row in rows if row["split"] != "train" or row["group"] in groups]


def _unbalanced(rows: Iterable[dict[str, str]], groups: Sequence[str]) -> list[dict[str, str]]:
    """All training reals, and the fakes of every eighth crop."""
    kept = set(groups[::_UNBALANCED])
    return [row for row in rows if row["split"] != "train" or row["label"] == "real" or row["group"] in kept]


def _write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path
