"""A picture that takes its worker process down each time it is touched: it goes alone, and its neighbours get home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation import ImageFailed
from moderation.domain.submission import MAX_CRASHES, State
from moderation.embedded import Server
from tests.e2e.conftest import Stack, open_stack
from tests.e2e.process import START_S
from tests.waiting import wait_until

# What a decoder with a memory error does: the process is gone in the middle of a fetch. `sitecustomize` is imported by
# every Python that starts, so the worker itself is the real one.
POISON = """
import os, signal, fsspec
from fsspec.implementations.local import LocalFileSystem

class Poisoned(LocalFileSystem):
    protocol = "poisoned"

    def _open(self, path, *args, **kwargs):
        if path.endswith("poison.jpg"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super()._open(path, *args, **kwargs)

fsspec.register_implementation("poisoned", Poisoned, clobber=True)
"""


@pytest.fixture
def poisoned(tmp_path: Path, sqlite_url: str, private_broker: Server) -> Iterator[Stack]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISON)
    with open_stack(tmp_path, sqlite_url, private_broker) as stack:
        stack.variables["PYTHONPATH"] = str(tmp_path / "site")
        stack.variables["MODERATION_IMAGES"] = f"poisoned://{tmp_path / 'pictures'}"
        yield stack


def test_a_picture_that_kills_its_worker_is_given_up_and_takes_nobody_along(poisoned: Stack) -> None:
    names = poisoned.pictures("crowd", 12)
    guilty = poisoned.put("crowd/poison.jpg", b"any")
    poisoned.app.submit_many([*names[:6], guilty, *names[6:]])
    deaths = 0
    for start in range(MAX_CRASHES + 2):  # a supervisor that starts it again
        with poisoned.worker(f"worker-{start}") as worker:
            wait_until(lambda: poisoned.ended("crowd") == 13 or not worker.runs(), "all ended, or it died", START_S)
            if worker.runs():
                break
            deaths += 1
    assert deaths == MAX_CRASHES
    assert {row.image_id: row.state for row in poisoned.rows("crowd")} == {
        **dict.fromkeys(names, State.DONE),
        guilty: State.FAILED,
    }
    with pytest.raises(ImageFailed, match="crashed the worker"):
        poisoned.app.verdict(guilty)
