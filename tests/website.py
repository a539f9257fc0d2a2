"""A server of the review page on real tables and pictures, for one test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from PIL import Image

from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.review import Role
from moderation.settings import load_settings
from moderation.storage.events import By
from moderation.web.app import create_app
from moderation.web.server import listen
from moderation.web.sessions import token_hash
from moderation.web.site import Site
from moderation.wiring import Wiring
from tests.moderated import score
from tests.store import Store

BY = By("admin", "for the test")


@dataclass(frozen=True)
class Website:
    """The server's parts, and the tables behind it."""

    store: Store
    wiring: Wiring
    site: Site
    app: FastAPI
    images: Path

    def add_reviewer(self, name: str, role: Role = Role.REVIEWER) -> str:
        """A reviewer's token."""
        token = f"the token of {name}"
        self.wiring.reviewers.save(name, role, is_trusted=False, token_sha256=token_hash(token), by=BY)
        return token

    def add_pictures(self, count: int, *, size: tuple[int, int] = (320, 200), start: int = 0) -> list[str]:
        """Pictures that a person is to look at, in the order of their names."""
        names = [f"{number:03}.png" for number in range(start, start + count)]
        for number, name in enumerate(names):
            draw_picture(self.images / name, size, number)
        # The nearer to a threshold, the earlier: the first is the most unsure one.
        score(self.store, {name: 0.5 + 0.002 * number for number, name in enumerate(names)})
        return names


def draw_picture(path: Path, size: tuple[int, int], number: int) -> None:
    """A picture like no other."""
    colour = (37 * number % 256, 91 * number % 256, 53 * number % 256)
    Image.radial_gradient("L").resize(size).convert("RGB").point(lambda value: value // 2).save(path)
    with Image.open(path) as gradient:
        Image.blend(gradient, Image.new("RGB", size, colour), 0.5).save(path)


@contextmanager
def open_website(store: Store, images: Path, *, gold_rate: float = 0.0, second_look_rate: float = 0.0,
                 review_lease_s: float = 600.0) -> Iterator[Website]:  # fmt: skip
    """A server on the database of `store` and the folder `images`."""
    store.policies.set(ANY_SOURCE, Thresholds(0.5, 0.9), author="ann", reason="for the test")
    settings = load_settings(
        database_url=store.database.url.render_as_string(hide_password=False),
        images=str(images),
        gold_rate=gold_rate,
        second_look_rate=second_look_rate,
        review_lease_s=review_lease_s,
    )
    wiring = Wiring(settings)
    site = Site(wiring)
    try:
        yield Website(store, wiring, site, create_app(site), images)
    finally:
        wiring.close()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of a running server of `app`."""
    with listen("127.0.0.1", 0) as door:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
