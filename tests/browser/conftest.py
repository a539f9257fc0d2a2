"""A real browser. Without one these tests fail in CI and are skipped elsewhere; both name the way out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright

from moderation.domain.review import Role
from moderation.storage.database import Database
from tests.browser.desk import Seat
from tests.store import Store, empty, furnish, open_database
from tests.waiting import GENEROUS_S
from tests.website import Website, open_website, serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = GENEROUS_S * 1000
WAY_OUT = "no browser: install Chromium (Debian: apt-get install chromium; else: python -m playwright install chromium)"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The machine's Chromium, else the one that Playwright brought."""
    found = next(filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path)
    if not Path(found).exists():
        if os.environ.get("CI"):
            pytest.fail(WAY_OUT)
        pytest.skip(WAY_OUT)
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to run as root with one
    started = playwright.chromium.launch(executable_path=found, args=flags, timeout=PATIENCE_MS)
    yield started
    started.close()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A migrated SQLite database for the session; PostgreSQL has the same tests without a browser."""
    with open_database(f"sqlite:///{tmp_path_factory.mktemp('browser') / 'moderation.db'}") as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> Store:
    empty(database)
    return furnish(database)


@pytest.fixture(params=[600.0])
def website(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Iterator[Website]:
    """A server's parts, on an empty queue. Its parameter: how long a lease lasts, in seconds."""
    images = tmp_path / "images"
    images.mkdir()
    with open_website(store, images, review_lease_s=request.param) as site:
        yield site


@pytest.fixture
def address(website: Website) -> Iterator[str]:
    with serving(website.app) as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window 1280 wide. What its console or a script complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    window = context.new_page()
    complaints: list[str] = []
    window.on("console", lambda said: complaints.append(said.text) if _is_complaint(said) else None)
    window.on("pageerror", lambda error: complaints.append(str(error)))
    yield window
    context.close()
    assert complaints == []


@pytest.fixture
def seat(website: Website, address: str, page: Page) -> Seat:
    """Eve, an admin, at the login page."""
    return Seat(website, address, page, website.add_reviewer("eve", Role.ADMIN))


def _is_complaint(said: ConsoleMessage) -> bool:
    # That a call was refused, as it is where a lease is lost, the page itself tells.
    return said.type == "error" and "Failed to load resource" not in said.text
