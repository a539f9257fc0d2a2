"""A server of the review page in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store import Store
from tests.website import Website, open_website


@pytest.fixture
def website(store: Store, tmp_path: Path) -> Iterator[Website]:
    """A server for a team, with no reviewer and no picture yet."""
    images = tmp_path / "images"
    images.mkdir()
    with open_website(store, images) as site:
        yield site
