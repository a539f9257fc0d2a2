"""How fast the queue is when the device costs nothing: submit, and claim to store, on SQLite and PostgreSQL.

    python benchmarks/queue_throughput.py [--images 20000] [--rounds 3] > benchmarks/queue_throughput.json

Real SQL and a real Redis (private ones), the real scan flow in one process with three threads as in a worker; pictures
and scores are free, so what is left is what the queue costs. Databases take turns, medians over the rounds are given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moderation import embedded
from moderation.domain.claim import ScoredBy
from moderation.domain.image import ImageFacts
from moderation.domain.submission import ImageId
from moderation.flows.registry.install import install
from moderation.flows.scanning.looker import Looker, Picture, Scores
from moderation.flows.scanning.scan import Scanner
from moderation.flows.scanning.submit import submit
from moderation.images import Views
from moderation.miniature import PROMPT_FILE
from moderation.settings import load_settings
from moderation.wiring import Wiring

BATCH = 64
THREADS = 3
PICTURE = Picture(ImageFacts("0" * 64, 128, 128, "JPEG", 4096), Views(np.zeros((1, 1, 3), np.uint8)))


@dataclass(frozen=True)
class FreeScore:
    margin: float = 0.0
    probability: float = 0.5


class FreeScorer:
    """A device that answers at once."""

    native_crops = 0

    def __init__(self, by: ScoredBy) -> None:
        self.by = by

    def score_all(
        self, views: Sequence[Views], sources: Sequence[str], *, beside: bool = True
    ) -> tuple[Scores, Scores | None]:
        return Scores(self.by, [FreeScore()] * len(views)), None


def measure(database_url: str, broker_url: str, images: int) -> dict[str, float]:
    """Rates in images a second: submit (rows committed, bells rung) and claim to store."""
    wiring = Wiring(load_settings(database_url=database_url, broker_url=broker_url, batch_size=BATCH))
    install(wiring.raw_database, PROMPT_FILE)
    prompt = wiring.prompts.active("miniature")
    if prompt is None:
        raise SystemExit("no prompt is active after an install")
    by = ScoredBy(prompt.prompt_id, "miniature", {})
    ids = [f"uploads/{number:09d}.jpg" for number in range(images)]
    began = time.perf_counter()
    submit(ids, submissions=wiring.submissions, bell=wiring.bell, batch_size=BATCH)
    submitted = time.perf_counter()
    with ThreadPoolExecutor(16) as fetchers, ThreadPoolExecutor(THREADS) as pool:
        looker = Looker(
            fetch=lambda image_id, native_crops: PICTURE,
            native_crops=lambda: 0,
            scorer=lambda: FreeScorer(by),
            fetchers=fetchers,
            max_attempts=1,
            retry_base_s=1,
        )
        scanner = Scanner(claims=wiring.claims, policies=wiring.policies, looker=looker, batch_size=BATCH, lease_s=60)
        bells = [[ImageId(name) for name in ids[start : start + BATCH]] for start in range(0, images, BATCH)]
        list(pool.map(scanner.scan, bells))
    stored = time.perf_counter()
    done = wiring.submissions.counts()["done"]
    wiring.close()
    if done != images:
        raise SystemExit(f"{done} of {images} images were done: the benchmark is void")
    return {"submit": images / (submitted - began), "claim_to_store": images / (stored - submitted)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[str, list[dict[str, float]]] = {"sqlite": [], "postgresql": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(embedded.redis_server(named=""))
        postgres = stack.enter_context(embedded.postgres_server(named=""))
        for number in range(options.rounds):
            for name, runs in rates.items():
                url = f"sqlite:///{folder}/{number}.db" if name == "sqlite" else embedded.fresh_database(postgres)
                runs.append(measure(url, broker.url, options.images))
                print(f"round {number + 1}, {name}: {runs[-1]}", file=sys.stderr)  # noqa: T201 - a script's talk
        origins = {"broker": broker.origin, "postgresql": postgres.origin}
    medians = {
        name: {rate: round(statistics.median(run[rate] for run in runs)) for rate in runs[0]}
        for name, runs in rates.items()
    }
    machine = f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}"
    result = {
        "command": "python benchmarks/queue_throughput.py " + " ".join(sys.argv[1:]),
        "machine": machine,
        "servers": origins,
        "images": options.images,
        "rounds": options.rounds,
        "images_per_s_median": medians,
        "all": rates,
    }
    print(json.dumps(result, indent=1))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
