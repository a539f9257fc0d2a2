"""A private server as a process of ours: a folder, a port, a leash, start, stop, kill, and nothing left behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from moderation.embedded.leash import Leash
from moderation.embedded.system import free_port, place_for, server_environment
from moderation.errors import ServiceDown

_FIRST_STARTS = 3
_PORT_TAKEN = "in use"  # in the words of Redis, Valkey and PostgreSQL alike: somebody was faster
_STOP_PATIENCE_S = 15.0


class PrivateServer(ABC):
    """See `Server` for the public methods. A subclass says how to prepare, start and ask its program."""

    private = True
    name: ClassVar[str]
    stopping: ClassVar[signal.Signals]
    crashing: ClassVar[signal.Signals]
    start_timeout_s: ClassVar[float]

    def __init__(self, origin: str, *, keep: bool = False) -> None:
        self.origin = origin
        self.keep = keep
        self.account: str | None = None
        self.port = 0
        self.folder = Path()
        self._leash: Leash | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect; the port is known after `start`."""

    @abstractmethod
    def prepare(self) -> None:
        """Fill the new folder with what the program needs before its first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments. It must stay in the foreground and work inside the folder."""

    @abstractmethod
    def ping(self) -> None:
        """Raises ServiceDown while the server does not answer."""

    def identity(self) -> dict[str, Any]:
        """The arguments of subprocess that make a program run as this server's account."""
        if self.account is None:
            return {}
        return {"user": self.account, "group": pwd.getpwnam(self.account).pw_gid, "extra_groups": []}

    @property
    def pid(self) -> int | None:
        """The running process, or None."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def how_to_stop(self) -> str:
        """See Server."""
        return f"kill -{self.crashing.name.removeprefix('SIG')} {self.pid}; rm -rf {self.folder}"

    def start(self) -> None:
        """See Server."""
        if self.pid is not None:
            return
        if self._leash is not None:
            self._launch()
            return
        self._open()
        try:
            self.prepare()
            self._first_launch()
        except BaseException:
            self._remove()
            raise

    def stop(self) -> None:
        """See Server."""
        self._end(self.stopping)

    def kill(self) -> None:
        """See Server."""
        self._end(self.crashing)

    def close(self) -> None:
        """See Server. Safe to call twice."""
        if self._leash is None or os.getpid() != self._owner:  # a forked child must not end its parent's server
            return
        if self.keep:
            atexit.unregister(self.close)
            self._leash.release()
            self._leash = None
            return
        self.kill()
        self._remove()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if any(exc):  # whoever wanted it kept never learned where it is
            self.keep = False
        self.close()

    def _open(self) -> None:
        folder = tempfile.mkdtemp(prefix=f"antifake-{self.name}-", dir=place_for(self.account))
        self.folder = Path(folder).resolve()
        if self.account is not None:
            shutil.chown(self.folder, self.account)
        self._leash = Leash(self.folder, self.crashing)
        atexit.register(self.close)

    def _remove(self) -> None:
        atexit.unregister(self.close)
        if self._leash is not None:
            self._leash.cut()
            self._leash = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _first_launch(self) -> None:
        for attempt in range(1, _FIRST_STARTS + 1):
            self.port = free_port()
            try:
                self._launch()
            except ServiceDown as error:
                if attempt == _FIRST_STARTS or _PORT_TAKEN not in error.problem:
                    raise
            else:
                return

    def _launch(self) -> None:
        assert self._leash is not None
        try:
            with self._leash.uninterrupted(), (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=server_environment(),
                    start_new_session=True,  # Ctrl-C in the terminal is for us: we end the server in order
                    **self.identity(),
                )
                self._leash.hold(self._process.pid)
        except OSError as error:
            raise ServiceDown(f"the private {self.name} server", f"it can't be run: {error}") from error
        self._wait_until_ready(self._process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while True:
            try:
                self.ping()
            except ServiceDown as error:
                exit_code = process.poll()
                if exit_code is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                self.kill()
                why = "no answer in time" if exit_code is None else f"ended with exit code {exit_code}"
                raise ServiceDown(f"the private {self.name} server", f"{why}; {self._last_words()}") from error
            return

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "log").read_text(errors="replace")[-2_000:]
        return "it left no log"

    def _end(self, ending: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(ending)
        try:
            process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._leash is not None:
            self._leash.hold(None)
