"""The loop told with real parts: a family nobody has seen, reviewers who err, a retraining, the gate, a hot swap.

    python -m benchmarks.retraining [--work DIR] [--uploads 200] [--others 150] > benchmarks/retraining/results.json

A private Redis and PostgreSQL, one worker that scans throughout and one that trains, `modctl` as an operator types it.
Then the converse: one reviewer whose word alone counts answers the wrong way round, and the gate must refuse.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.retraining import pictures, story
from benchmarks.retraining.pictures import Pictures
from benchmarks.retraining.story import Reviewer
from moderation import embedded
from moderation.domain.review import Role
from moderation.embedded.worker import WorkerProcess
from moderation.flows.install import install
from moderation.miniature import PROMPT_FILE
from moderation.queue.app import TRAINING_QUEUE
from moderation.settings import load_settings
from moderation.storage.events import By
from moderation.wiring import Wiring

HONEST = (Reviewer("ada", 0.05), Reviewer("ben", 0.05))
POISONER = Reviewer("mallory", 1.0)
EXIT_REFUSED = 4


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.retraining", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--work", type=Path, help="where pictures and logs go (default: a temporary folder)")
    parser.add_argument("--uploads", type=int, default=200, help="pictures of each class that are reviewed")
    parser.add_argument("--others", type=int, default=150, help="pictures of each class that measure")
    given = parser.parse_args()
    with ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = pictures.make(work.resolve(), given.uploads, given.others, say)
        broker = stack.enter_context(embedded.redis_server(named=""))
        postgres = stack.enter_context(embedded.postgres_server(named=""))
        told = {}
        for name, tell in (("honest", honest), ("poisoned", poisoned)):
            say(f"== {name}")
            settings = {
                "MODERATION_DATABASE_URL": embedded.fresh_database(postgres),
                "MODERATION_BROKER_URL": broker.url,
                "MODERATION_QUEUE_PREFIX": f"{name}:",
                "MODERATION_IMAGES": str(made.folder),
                "MODERATION_RUNS": str(work / f"runs-{name}"),
                "MODERATION_DEVICE": "cpu",
                "MODERATION_SECOND_LOOK_RATE": "1" if tell is honest else "0",
                "MODERATION_GOLD_RATE": "0",
                "MODERATION_ACTOR": "story",
            }
            told[name] = tell(Platform(settings, stack), made)
    result = {
        "command": "python -m benchmarks.retraining " + " ".join(sys.argv[1:]),
        "machine": f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}",
        "family": repr(pictures.LATER),
        "uploads": len(made.uploads), "others": len(made.others), "old": len(made.old),
        **told,
    }  # fmt: skip
    sys.stdout.write(json.dumps(result, indent=1, default=str) + "\n")


class Platform:
    """One installation with its two workers, which end with `stack`."""

    def __init__(self, settings: dict[str, str], stack: ExitStack) -> None:
        self.settings = settings
        named = {name.removeprefix("MODERATION_").lower(): value for name, value in settings.items()}
        self.wiring = Wiring(load_settings(**named))
        stack.callback(self.wiring.close)
        install(self.wiring.raw_database, PROMPT_FILE)
        story.open_to_all(self.wiring)
        workers = [WorkerProcess(settings), WorkerProcess(settings, queues=TRAINING_QUEUE)]
        for worker in workers:
            stack.enter_context(worker).wait_ready()

    def modctl(self, *arguments: str, expected: int = 0) -> Any:
        """What a command printed as JSON. Raises SystemExit where it ended otherwise than expected."""
        command = [sys.executable, "-m", "moderation", *arguments]
        done = subprocess.run(command, env={**os.environ, **self.settings}, capture_output=True, text=True, check=False)
        if done.returncode != expected:
            raise SystemExit(f"modctl {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
        return json.loads(done.stdout)

    def retrain(self, reason: str, *, expected: int = 0) -> tuple[dict[str, Any], float]:
        """The finished run, and how many seconds it took."""
        began = time.monotonic()
        run = self.modctl("retrain", "--yes", "--reason", reason, "--json", expected=expected)
        return run, round(time.monotonic() - began, 1)


def honest(platform_: Platform, made: Pictures) -> dict[str, Any]:
    """Reviewed by two who err, retrained, activated: better on other pictures, not worse on the old ones."""
    wiring = platform_.wiring
    story.score(wiring, list(made.uploads), source=story.SOURCE)
    before = _measured(wiring, made)
    answers = story.review(wiring, HONEST, made.truth)
    say(f"{answers} answers")
    run, seconds = platform_.retrain("a new kind of fake")
    platform_.modctl(
        "prompt", "activate", run["prompt_id"], "--reason", "passed the gate", "--yes", "--json"
    )  # fmt: skip
    after = _measured(wiring, made, force=True)
    prompts = {verdict.prompt_id for verdict in after.values()}
    return {
        "answers": answers, "run": run, "seconds": seconds, "prompts_after": sorted(prompts),
        "others": story.compared(before, after, made.others, wiring),
        "old": story.compared(before, after, made.old, wiring),
    }  # fmt: skip


def poisoned(platform_: Platform, made: Pictures) -> dict[str, Any]:
    """Reviewed by one whose word alone counts, and who always says the opposite."""
    wiring = platform_.wiring
    token = hashlib.sha256(POISONER.name.encode()).hexdigest()
    by = By("story", "a mistake")
    wiring.reviewers.save(POISONER.name, Role.REVIEWER, is_trusted=True, token_sha256=token, by=by)
    story.score(wiring, list(made.uploads), source=story.SOURCE)
    answers = story.review(wiring, [POISONER], made.truth)
    run, seconds = platform_.retrain("what mallory says", expected=EXIT_REFUSED)
    return {"answers": answers, "run": run, "seconds": seconds}


def _measured(wiring: Wiring, made: Pictures, *, force: bool = False) -> dict[str, Any]:
    ids: Sequence[str] = [*made.others, *made.old]
    return dict(story.score(wiring, ids, source="measured", force=force))


def say(text: str) -> None:
    """Talk, to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
