"""A worker process of our own, for demo and benchmarks: `modctl worker` with a log file, on a leash."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from moderation.embedded.leash import Leash
from moderation.errors import ModerationError

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0


class WorkerFailed(ModerationError):
    """The worker process ended or never got ready; carries the end of its log."""


class WorkerProcess:
    """A context manager: starts the worker, and ends it at the end unless it is kept."""

    def __init__(self, settings: Mapping[str, str], *, queues: str = "", keep: bool = False) -> None:
        """settings: MODERATION_* variables for the process, paths in them absolute. queues: '' for those of scans."""
        self._settings = dict(settings)
        self._queues = ["--queues", queues] if queues else []
        self._keep = keep
        self.folder = Path(tempfile.mkdtemp(prefix="antifake-worker-")).resolve()
        self.log = self.folder / "worker.log"
        self._leash = Leash(self.folder, signal.SIGTERM)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Raises RuntimeError before the start."""
        if self._process is None:
            raise RuntimeError("the worker was not started")
        return self._process.pid

    @property
    def how_to_stop(self) -> str:
        """The command that ends a kept worker, after the batches under way, and removes its folder."""
        return f"kill {self.pid}; rm -rf {self.folder}"

    def __enter__(self) -> Self:
        try:
            self._launch()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._keep and not any(exc):
            self._leash.release()
            return
        self._end()

    def _launch(self) -> None:
        with self._leash.uninterrupted(), self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moderation", "worker", "--name", "private", *self._queues],
                cwd=self.folder,
                # Its temporary files go with its folder: PyTorch leaves an empty one.
                env={**os.environ, **self._settings, "MODERATION_LOG_FORMAT": "json", "TMPDIR": str(self.folder)},
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the demo, which ends the worker in order
            )
            self._leash.hold(self._process.pid)

    def _end(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._leash.cut()

    def stop(self) -> None:
        """Ends the process after the batches under way."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def wait_ready(self) -> None:
        """Returns when the worker listens. Raises WorkerFailed."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not any(line.get("event") == "ready" for line in self.lines()):
            self.check()
            if time.monotonic() > deadline:
                raise WorkerFailed(f"the worker was not ready after {START_TIMEOUT_S:.0f} s:\n{self._tail()}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raises WorkerFailed if the process has ended."""
        code = self._process.poll() if self._process else None
        if code is not None:
            raise WorkerFailed(f"the worker ended with exit code {code}:\n{self._tail()}")

    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of the log so far; others (a library's print) are passed over."""
        found = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                item = json.loads(line)
            except ValueError:
                continue
            if isinstance(item, dict):
                found.append(item)
        return found

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
