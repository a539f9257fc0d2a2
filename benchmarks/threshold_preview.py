"""How long `modctl threshold preview` takes on a million stored verdicts, on PostgreSQL.

    python benchmarks/threshold_preview.py [--verdicts 1000000] [--rounds 9] > benchmarks/threshold_preview.json

A private PostgreSQL with its default settings. One image in twenty was scored twice; every REVIEW and the policy's
shares of the others have a review task, half of which are answered. Measured is the flow behind the command: counts,
labels, estimates with intervals, and sample ids. The variants take turns, medians over the rounds are given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from moderation import embedded
from moderation.domain.evidence import Scope
from moderation.domain.policy import DEFAULT_THRESHOLDS, Thresholds
from moderation.flows.registry.install import install
from moderation.flows.reviewing.threshold import Preview, preview
from moderation.miniature import PROMPT_FILE
from moderation.settings import load_settings
from moderation.storage.database import Database
from moderation.wiring import Wiring

PROPOSED = Thresholds(0.45, 0.95, audit_rate=0.01, block_check_rate=0.05)
DAYS = 30
# P(fake) as u^20 of a uniform u: 3 % of the images from .5 up, .5 % from .9 up. Ids sort as hashes do, not by age.
_SUBMISSIONS = """
INSERT INTO submission SELECT md5(g::text) || '.jpg', CASE WHEN g % 4 = 0 THEN 'web' ELSE 'app' END, 0, 'done', 1, 1,
  0, NULL, NULL, now(), NULL, now(), now(), '', '' FROM generate_series(1, :images) g"""
_VERDICTS = """
INSERT INTO verdict (image_id, round, prompt_id, policy_id, shadow, source, margin, probability, decision,
  image_sha256, backbone, versions, latency_ms, created_at)
SELECT md5(g::text) || '.jpg', :round, (SELECT prompt_id FROM prompt), 1, false,
  CASE WHEN g % 4 = 0 THEN 'web' ELSE 'app' END, 0, p,
  CASE WHEN p >= 0.9 THEN 'BLOCK' WHEN p >= 0.5 THEN 'REVIEW' ELSE 'ALLOW' END, repeat('ab', 32), 'miniature',
  '{"preprocessing": "shorter side 224 bicubic, centre crop, exif orientation", "torch": "2.9", "device": "cuda"}',
  12.5, now() - (1 - g / :images ::float) * interval '30 days'
FROM (SELECT g, power(random(), 20) p FROM generate_series(1, :last) g) drawn"""
_TASKS = """
INSERT INTO review_task (image_id, reason, source, inclusion_probability, priority, probability, verdict_id, is_senior,
  state, version, detail, created_at, due_at)
SELECT image_id, CASE decision WHEN 'REVIEW' THEN 'unsure' WHEN 'BLOCK' THEN 'block check' ELSE 'audit' END, source,
  rate, 0, probability, verdict_id, false, CASE WHEN random() < 0.5 THEN 'done' ELSE 'open' END, 1, '', now(), now()
FROM (SELECT DISTINCT ON (image_id) *, CASE decision WHEN 'REVIEW' THEN 1.0 WHEN 'BLOCK' THEN 0.05 ELSE 0.01 END rate
  FROM verdict ORDER BY image_id, verdict_id DESC) newest WHERE random() < rate"""
_REVIEWS = """
INSERT INTO review (task_id, image_id, reviewer, act, answer, evidence, note, seconds, created_at)
SELECT task_id, image_id, 'ann', 'answer', CASE WHEN random() < probability THEN 'fake' ELSE 'real' END, '[]', '', 4,
  now() FROM review_task WHERE state = 'done'"""


def fill(database: Database, verdicts: int) -> dict[str, int]:
    """Writes the platform's month; returns how many rows of each kind there are."""
    twice = verdicts // 20
    images = verdicts - twice
    with database.write() as session:
        session.execute(text(_SUBMISSIONS), {"images": images})
        for number, last in ((1, images), (2, twice)):
            session.execute(text(_VERDICTS), {"images": images, "round": number, "last": last})
        session.execute(text(_TASKS))
        session.execute(text(_REVIEWS))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as line:
        line.execute(text("VACUUM ANALYZE"))  # as autovacuum does within a minute
    with database.read() as session:
        names = ("verdict", "review_task", "review")
        return {name: session.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names}


def timed(call: Callable[[], Preview]) -> tuple[float, Preview]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with embedded.postgres_server(named="", durable=True) as server:
        wiring = Wiring(load_settings(database_url=embedded.fresh_database(server)))
        install(wiring.raw_database, PROMPT_FILE)
        rows = fill(wiring.database, options.verdicts)
        week = Scope(since=datetime.now(UTC) - timedelta(days=7))
        scopes = {"everything": Scope(), "one source": Scope(source="web"), "seven days": week}
        seconds: dict[str, list[float]] = {name: [] for name in scopes}
        loads = []
        for number in range(options.rounds):
            for name, scope in scopes.items():
                loads.append(os.getloadavg()[0])
                spent, found = timed(lambda at=scope: preview(wiring.archive, at, DEFAULT_THRESHOLDS, PROPOSED))  # type: ignore[misc]  # mypy can't infer a lambda with a default
                seconds[name].append(round(spent, 3))
            print(f"round {number + 1}: {[each[-1] for each in seconds.values()]}", file=sys.stderr)  # noqa: T201 - progress
        images, origin = found.images, server.origin
        wiring.close()
    result: dict[str, Any] = {
        "command": "python benchmarks/threshold_preview.py " + " ".join(sys.argv[1:]),
        "machine": f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}",
        "load_average": [min(loads), max(loads)],
        "server": origin,
        "rows": rows,
        "images_in_the_last_scope": images,
        "seconds_median": {name: round(statistics.median(runs), 3) for name, runs in seconds.items()},
        "all": seconds,
    }
    print(json.dumps(result, indent=1))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
