"""Ends a private server and removes its folder when this process ends, however it ends (kill -9 included).

A small `sh` reads a pipe whose other end only this process holds. When the pipe closes, the process is gone, and the
shell cleans up. PR_SET_PDEATHSIG would need Linux, follows the starting thread instead of the process, and removes no
folder.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Lines in: a pid to end, '' for none, 'keep' to leave all as it is. A pid that works outside the folder has been given
# to somebody else since (or is a zombie) and is let alone; where there is no /proc the pid is taken at its word.
_WATCH = r"""
folder=$1 signal=$2 pid=
while read -r line; do
  [ "$line" = keep ] && exit 0
  pid=$line
done
ours() {
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
  [ -d /proc/self ] || return 0
  case $(readlink "/proc/$pid/cwd") in "$folder"*) return 0 ;; esac
  return 1
}
if ours; then
  kill -s "$signal" "$pid"
  tries=0
  while ours && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
  if ours; then kill -s KILL "$pid"; fi
fi
rm -rf -- "$folder"
"""
_PATIENCE_S = 10.0


class Leash:
    """Holds one folder and at most one process at a time."""

    def __init__(self, folder: Path, ending: signal.Signals) -> None:
        """`ending` is sent to the process held when this one is gone. `folder` must be resolved."""
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "leash", str(folder), ending.name.removeprefix("SIG")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal must not reach it
        )

    def hold(self, pid: int | None) -> None:
        """From now on end `pid` (None: only the folder is held)."""
        self._say("" if pid is None else str(pid))

    def release(self) -> None:
        """Let go of both: process and folder outlive this process."""
        self._say("keep")
        self._finish()

    def cut(self) -> None:
        """End the process held, remove the folder, and come back when both are gone."""
        self._finish()

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Holds Ctrl-C back while a process is started: until its pid is held, nobody else would end it."""
        if threading.current_thread() is not threading.main_thread():  # Ctrl-C reaches the main thread alone
            yield
            return
        pressed: list[int] = []
        before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt

    def _say(self, line: str) -> None:
        assert self._shell.stdin is not None
        with contextlib.suppress(OSError):  # the shell was ended by somebody else: then there is nothing to tell
            self._shell.stdin.write(f"{line}\n".encode())
            self._shell.stdin.flush()

    def _finish(self) -> None:
        assert self._shell.stdin is not None
        with contextlib.suppress(OSError):
            self._shell.stdin.close()
        self._shell.wait(_PATIENCE_S)
