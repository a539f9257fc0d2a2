"""One installation as an operator runs it: SQL, broker, a worker that scans, a worker that trains, and `modctl`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.retraining import steps
from benchmarks.retraining.pictures import Pictures
from moderation.embedded.worker import WorkerProcess
from moderation.flows.registry.install import install
from moderation.miniature import PROMPT_FILE
from moderation.queue.app import TRAINING_QUEUE
from moderation.settings import load_settings
from moderation.wiring import Wiring


def settings_of(
    name: str, database_url: str, broker_url: str, made: Pictures, *, second_looks: float
) -> dict[str, str]:
    """MODERATION_* variables of an installation; `name` keeps several on one broker apart."""
    return {
        "MODERATION_DATABASE_URL": database_url,
        "MODERATION_BROKER_URL": broker_url,
        "MODERATION_QUEUE_PREFIX": f"{name}:",
        "MODERATION_IMAGES": str(made.folder),
        "MODERATION_RUNS": str(made.folder / f"runs-{name}"),
        "MODERATION_DEVICE": "cpu",
        "MODERATION_SECOND_LOOK_RATE": str(second_looks),
        "MODERATION_GOLD_RATE": "0",
        "MODERATION_ACTOR": "story",
    }


class Installation:
    """One installation with its two workers, which end with `stack`."""

    def __init__(self, settings: dict[str, str], stack: ExitStack) -> None:
        self.settings = settings
        named = {name.removeprefix("MODERATION_").lower(): value for name, value in settings.items()}
        self.wiring = Wiring(load_settings(**named))
        stack.callback(self.wiring.close)
        install(self.wiring.raw_database, PROMPT_FILE)
        steps.set_policies(self.wiring)
        workers = [WorkerProcess(settings), WorkerProcess(settings, queues=TRAINING_QUEUE)]
        for worker in workers:
            stack.enter_context(worker)
        for worker in workers:
            worker.wait_ready()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`modctl` with these arguments, as an operator types it."""
        command = [sys.executable, "-m", "moderation", *arguments]
        return subprocess.run(command, env={**os.environ, **self.settings}, capture_output=True, text=True, check=False)

    def modctl(self, *arguments: str, expected: int = 0) -> Any:
        """What a command printed as JSON. Raises RuntimeError where it ended otherwise than expected."""
        done = self.run(*arguments)
        if done.returncode != expected:
            called = " ".join(arguments)
            raise RuntimeError(f"modctl {called} ended with {done.returncode}:\n{done.stderr}{done.stdout[:2000]}")
        return json.loads(done.stdout)

    def retrain(self, reason: str, *, expected: int = 0) -> tuple[dict[str, Any], float]:
        """The finished run, and how many seconds it took."""
        began = time.monotonic()
        run = self.modctl("retrain", "--yes", "--reason", reason, "--json", expected=expected)
        return run, round(time.monotonic() - began, 1)
