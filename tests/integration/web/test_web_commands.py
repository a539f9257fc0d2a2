"""The servers as processes of their own: started, visited, ended by Ctrl-C and TERM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from moderation.domain.review import Reason
from moderation.storage.reviewing.tasks import NewTask
from tests.command import modctl
from tests.store import Store, ids
from tests.website import Website

LOCAL = """
from moderation.settings import load_settings
from moderation.web.local import run
from moderation.wiring import Wiring

run(Wiring(load_settings()), "ann", is_senior=False, open_browser=False)
"""


@contextmanager
def process(website: Website, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and the address it says on standard error."""
    settings = website.wiring.settings
    variables = {"MODERATION_DATABASE_URL": settings.database_url, "MODERATION_IMAGES": settings.images}
    started = subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True
    )
    assert started.stderr is not None
    try:
        for line in started.stderr:
            if found := re.search(r"https?://[^\s;]+", line):
                yield started, found[0]
                return
        pytest.fail("it ended without an address")
    finally:
        started.kill()
        started.communicate()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_local_page_opens_once_and_gives_its_leases_back_when_it_ends(website: Website, ending: int) -> None:
    website.add_pictures(2)
    with process(website, "-c", LOCAL) as (started, address), httpx.Client(follow_redirects=True) as window:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/open/[\w-]{43}", address)
        page = window.get(address)
        assert page.url.path == "/review"
        csrf = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
        assert csrf is not None
        task = window.post(
            page.url.join("/api/next"), headers={"X-CSRF-Token": csrf[1], "X-Window": "1"}, json={}
        ).json()["task"]
        assert website.wiring.review_tasks.get(task["task_id"]).claimed_by == "ann"  # type: ignore[union-attr]
        assert httpx.get(address).status_code == 403
        started.send_signal(ending)
        assert started.wait(20) == 0
    assert website.wiring.review_tasks.get(task["task_id"]).claimed_by is None  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve_starts_says_where_and_ends(website: Website, ending: int) -> None:
    website.add_reviewer("ann")
    with process(website, "-m", "moderation", "serve", "--port", "0") as (started, address):
        assert "Log in to review" in httpx.get(f"{address}/login").text
        started.send_signal(ending)
        assert started.wait(20) == 0


def test_serve_says_what_is_wrong(
    store: Store, website: Website, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", website.wiring.settings.database_url)
    monkeypatch.setenv("MODERATION_IMAGES", str(tmp_path / "nowhere"))
    wrong = modctl("serve", "--port", "0")
    assert (wrong.code, "MODERATION_IMAGES" in wrong.err) == (2, True)
    taken = modctl("serve", "--host", "no.such.host.invalid")
    assert (taken.code, "--host" in taken.err) == (2, True)
    half = modctl("serve", "--tls-cert", __file__)
    assert (half.code, "go together" in half.err) == (2, True)


def test_left_counts_what_this_reviewer_may_have(store: Store, website: Website) -> None:
    names = website.add_pictures(4)
    (gold,) = ids("known.png")
    tasks = website.wiring.review_tasks
    due_at = tasks.list()[0].due_at
    tasks.open([NewTask(gold, Reason.GOLD, "x", 1.0, 0, None, None, due_at)])
    held = tasks.next("bob", is_senior=False, lease_s=60)
    assert held is not None
    assert tasks.left("ann", is_senior=False, limit=100) == len(names) - 1
    assert tasks.left("bob", is_senior=False, limit=100) == len(names)
    assert tasks.left("ann", is_senior=False, limit=2) == 2
    tasks.release_all("bob")
    assert tasks.left("ann", is_senior=False, limit=100) == len(names)
