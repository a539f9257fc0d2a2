"""The whole product as it runs: web app, broker, SQL, worker process, the miniature, and pictures in a folder."""

from __future__ import annotations

import io
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from PIL import Image, ImageDraw
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from moderation import Moderation, embedded
from moderation.domain.submission import ImageId, State, Submission
from moderation.embedded import Server
from moderation.flows.registry.install import install
from moderation.miniature import PROMPT_FILE
from moderation.storage.database import Database
from moderation.storage.registry.prompts import Prompts
from moderation.storage.submissions import Submissions
from moderation.storage.tables import SubmissionRow
from moderation.storage.verdicts import Verdicts
from tests.e2e.process import Worker
from tests.waiting import wait_until

BATCH_SIZE = 16
# Everything that waits for minutes in production waits for a moment here.
HASTE = {
    "MODERATION_DEVICE": "cpu",
    "MODERATION_BATCH_SIZE": str(BATCH_SIZE),
    "MODERATION_LEASE_S": "3",
    "MODERATION_SWEEP_INTERVAL_S": "0.3",
    "MODERATION_RING_AGAIN_S": "1",
    "MODERATION_RETRY_BASE_S": "0.2",
}


@dataclass(frozen=True)
class Stack:
    """One installation: its database, broker and pictures, and what a worker needs to know of them."""

    folder: Path
    database: Database
    broker: Server
    variables: dict[str, str]
    app: Moderation

    @property
    def submissions(self) -> Submissions:
        return Submissions(self.database)

    @property
    def verdicts(self) -> Verdicts:
        return Verdicts(self.database)

    @property
    def prompts(self) -> Prompts:
        return Prompts(self.database)

    def pictures(self, name: str, count: int) -> list[str]:
        """Puts so many pictures into the folder `name`; returns their ids."""
        return [self.put(f"{name}/{number:03}.jpg", picture(number)) for number in range(count)]

    def put(self, image_id: str, content: bytes) -> str:
        path = self.folder / "pictures" / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return image_id

    def row(self, image_id: str) -> Submission:
        found = self.submissions.get(ImageId(image_id))
        assert found is not None
        return found

    def rows(self, name: str) -> list[Submission]:
        return [row for row in self.submissions.list(limit=None) if row.image_id.startswith(name)]

    def ended(self, name: str) -> int:
        return sum(row.state is not State.PENDING for row in self.rows(name))

    def wait_for(self, name: str, count: int) -> None:
        """Until so many images of the folder `name` are done or failed."""
        wait_until(lambda: self.ended(name) >= count, f"{count} images of {name} have ended")

    def check_home(self, name: str, count: int) -> None:
        """All images of `name` are done, and each has exactly one verdict in its round."""
        assert {row.state for row in self.rows(name)} == {State.DONE}
        found = [verdict.image_id for verdict in self.verdicts.list(limit=None) if verdict.image_id.startswith(name)]
        assert len(found) == len(set(found)) == count

    def empty_broker(self) -> int:
        """FLUSHALL; returns how many bells were lost."""
        with redis.Redis.from_url(self.broker.url) as client:
            lost = int(client.llen("antifake:scan"))
            client.flushall()
        return lost

    def pause(self, worker: Worker, when: Callable[[], object] = lambda: True) -> None:
        """Holds the worker where `when` holds, but in no transaction: its locks would keep everybody else out."""

        def caught() -> bool:
            worker.pause()
            if when() and self._nobody_writes():
                return True
            worker.go_on()
            return False

        wait_until(caught, "the worker is where it is to be held, and in no transaction")

    def holds(self, name: str) -> bool:
        """Whether a worker holds some of the pictures of the folder `name`."""
        return any(row.claimed for row in self.rows(name))

    def _nobody_writes(self) -> bool:
        if self.database.is_sqlite:
            line = sqlite3.connect(str(self.database.url.database), timeout=0.1, isolation_level=None)
            try:
                line.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            finally:
                line.close()
            return True
        try:
            with self.database.engine.begin() as connection:
                connection.execute(select(SubmissionRow.image_id).with_for_update(nowait=True)).all()
        except OperationalError:
            return False
        return True

    def worker(self, name: str = "worker", queues: str = "", **variables: str) -> Worker:
        """Starts a worker process; use it in a `with`. queues: '' are those of scans."""
        return Worker(self.folder / "workers", {**self.variables, **variables}, name=name, queues=queues)


def picture(number: int) -> bytes:
    """A small JPEG, another one for each number."""
    chance = random.Random(number)
    image = Image.new("RGB", (120 + number % 7, 100), (chance.randrange(256),) * 3)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = chance.randrange(100), chance.randrange(80)
        colour = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
        draw.ellipse((left, top, left + 30, top + 20), fill=colour)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    return content.getvalue()


@contextmanager
def open_stack(folder: Path, database_url: str, broker: Server) -> Iterator[Stack]:
    """Installs the product on this database and broker."""
    variables = {
        **HASTE,
        "MODERATION_DATABASE_URL": database_url,
        "MODERATION_BROKER_URL": broker.url,
        "MODERATION_IMAGES": str(folder / "pictures"),
    }
    (folder / "pictures").mkdir()
    database = Database(database_url)
    install(database, PROMPT_FILE)
    try:
        with Moderation(database_url=database_url, broker_url=broker.url, batch_size=BATCH_SIZE) as app:
            yield Stack(folder, database, broker, variables, app)
    finally:
        database.dispose()


@pytest.fixture(scope="session")
def without_variables() -> Iterator[None]:
    """What `clean_environment` is for a test, for fixtures of the session."""
    patch = pytest.MonkeyPatch()
    for name in os.environ:
        if name.startswith("MODERATION_"):
            patch.delenv(name)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def both_standing(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Server, without_variables: None
) -> Iterator[dict[str, tuple[Stack, Worker]]]:
    """An installation on each database, each with one worker, started side by side: a start takes seconds of a core."""
    postgres_url = embedded.fresh_database(postgres_server)
    with ExitStack() as opened:
        found = {}
        for name in ("sqlite", "postgresql"):
            folder = tmp_path_factory.mktemp(name)
            url = postgres_url if name == "postgresql" else f"sqlite:///{folder / 'moderation.db'}"
            broker = opened.enter_context(embedded.redis_server(named=""))
            stack = opened.enter_context(open_stack(folder, url, broker))
            found[name] = stack, opened.enter_context(stack.worker())
        yield found
    embedded.drop_database(postgres_server, postgres_url)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def standing(request: pytest.FixtureRequest, both_standing: dict[str, tuple[Stack, Worker]]) -> tuple[Stack, Worker]:
    """An installation with one worker that all tests of the session use."""
    stack, worker = both_standing[request.param]
    return stack, worker.wait_ready()


@pytest.fixture
def stack(standing: tuple[Stack, Worker]) -> Stack:
    return standing[0]


@pytest.fixture
def worker(standing: tuple[Stack, Worker]) -> Iterator[Worker]:
    """The standing worker. It must be as well after the test as it was before."""
    found = standing[1]
    yield found
    found.go_on()
    assert found.runs(), found.said


@pytest.fixture
def new_stack(tmp_path: Path, database_url: str, private_broker: Server) -> Iterator[Stack]:
    """An installation for one test alone, without a worker."""
    with open_stack(tmp_path, database_url, private_broker) as opened:
        yield opened
