"""A real worker process, watched through its JSON log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

START_S = 240.0  # it imports PyTorch, often beside others that do


class Worker:
    """`celery -A workers.app worker` with these MODERATION_* variables. It ends with the `with` it is opened in.

    queues: that it listens to, by commas; '' are those of scans.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], *, name: str = "worker", queues: str = "") -> None:
        self.log = folder / f"{name}.log"
        folder.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MODERATION_")}
        # Two workers on two cores: more threads would only get into each other's way.
        environment = {**kept, **variables, "OMP_NUM_THREADS": "1", "MODERATION_LOG_FORMAT": "json"}
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "--without-gossip"]
        command += ["--without-mingle", f"--hostname={name}@test"]
        command += [f"--queues={queues}"] if queues else []
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """The log so far; lines that are not ours are left out."""
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{") and line.endswith("}")]

    def batches(self) -> list[dict[str, float]]:
        """The figures of each batch so far."""
        return [line["batch"] for line in self.lines() if "batch" in line]

    def wait_ready(self) -> Worker:
        wait_until(lambda: not self.runs() or self._is_ready(), "the worker is ready", START_S)
        assert self.runs(), self.said
        return self

    def _is_ready(self) -> bool:
        return any(line["message"] == "ready" for line in self.lines())

    def runs(self) -> bool:
        return self._process.poll() is None

    def pause(self) -> None:
        """Holds it where it is, as a machine that swaps or a network that hangs would."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Like a power cut."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        self._process.terminate()

    def exit_code(self) -> int:
        """Waits for its end, which may come as late as its start."""
        return self._process.wait(START_S)
