"""Files that are there whole or as they were before, also when a process is killed or the machine goes down.

What else writes the same file is not its concern: nothing is mixed, and the last one to end wins.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """All of `data` in `path`, in place of what is there; its folder must be there. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.unfinished")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
