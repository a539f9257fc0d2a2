"""modctl demo: the whole main job on the sample pictures, through a real broker and a real worker process."""

from __future__ import annotations

import hashlib
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli.shared import console, json_option, print_json, say
from moderation.errors import ServiceDown

if TYPE_CHECKING:
    from moderation.domain.submission import Submission
    from moderation.domain.verdict import Verdict
    from moderation.embedded import Server
    from moderation.embedded.worker import WorkerProcess
    from moderation.miniature import Sample
    from moderation.wiring import Wiring

DATABASE = Path("moderation-demo.db")
IMAGES = Path("moderation-demo-images")
TIMEOUT_S = 300.0
SOURCE = "demo"


@dataclass(frozen=True)
class DemoRun:
    """What a demo saw. `seconds`: from the first submit to the last verdict; `batches`: the worker's own figures."""

    samples: dict[str, Sample]
    verdicts: dict[str, Verdict]
    failed: list[Submission]
    seconds: float
    batches: list[dict[str, float]]
    broker: str
    database: str
    images: str
    backbone: str


@click.command()
@click.option("--keep", is_flag=True, help="Leave the broker and the worker running.")
@json_option
def command(keep: bool, as_json: bool) -> None:
    """Show the whole main job on the sample pictures: submit, Redis, Celery worker, verdict in SQL.

    The verdicts stay in ./moderation-demo.db, the pictures in ./moderation-demo-images, made anew each time.
    """
    from moderation.cli import demo_view

    with ExitStack() as stack:
        run, hints = _run(stack, keep=keep)
    if as_json:
        print_json(demo_view.figures(run))
    else:
        demo_view.show(run)
        for hint in hints:
            click.echo(hint)
    if run.failed or len(run.verdicts) != len(run.samples):
        raise SystemExit(1)


def _run(stack: ExitStack, *, keep: bool) -> tuple[DemoRun, list[str]]:
    from moderation.embedded import redis_server
    from moderation.embedded.worker import WorkerProcess
    from moderation.settings import load_settings
    from moderation.wiring import Wiring

    server = stack.enter_context(redis_server(keep=keep))
    say(f"broker     {server.origin}")
    variables = {
        "MODERATION_DATABASE_URL": f"sqlite:///{DATABASE.resolve()}",
        "MODERATION_BROKER_URL": server.url,
        "MODERATION_QUEUE_PREFIX": f"antifake-demo-{secrets.token_hex(4)}:",
        "MODERATION_IMAGES": str(IMAGES.resolve()),
        # The samples are made for it, whatever backbone the operator has set.
        "MODERATION_BACKBONE": "miniature",
        "MODERATION_LANGUAGE_MODEL": "",
    }
    wiring = Wiring(load_settings(**_fields(variables)))
    stack.callback(wiring.close)
    if not server.private and not keep:
        stack.callback(_remove_keys, wiring)
    _new_database(wiring)
    pictures = _uploads()
    say(f"database   {wiring.raw_database.shown}")
    say("worker     starting: loading the backbone ...")
    worker = stack.enter_context(WorkerProcess(variables, keep=keep))
    worker.wait_ready()
    run = _watch(wiring, worker, pictures, server)
    hints = []
    if keep:
        hints = [f"The worker runs on as process {worker.pid} (log: {worker.log}); end it: {worker.how_to_stop}"]
        hints += [f"The broker runs on at {server.url}; end it: {server.how_to_stop}"] if server.private else []
        hints += [
            "To use both: export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        ]
    return run, hints


def _uploads() -> dict[str, Sample]:
    """The samples by image id, laid out as uploads are: nothing in a name tells real from fake."""
    from moderation.miniature import samples

    IMAGES.mkdir(exist_ok=True)
    found = {}
    shuffled = sorted(samples(), key=lambda sample: hashlib.sha256(sample.path.read_bytes()).digest())
    for number, sample in enumerate(shuffled, start=1):
        name = f"upload-{number:02}{sample.path.suffix}"
        shutil.copyfile(sample.path, IMAGES / name)
        found[name] = sample
    return found


def _fields(variables: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("MODERATION_").lower(): value for name, value in variables.items()}


def _new_database(wiring: Wiring) -> None:
    from moderation.domain.policy import DEFAULT_THRESHOLDS
    from moderation.flows.registry.install import install
    from moderation.miniature import PROMPT_FILE

    for path in (DATABASE, Path(f"{DATABASE}-wal"), Path(f"{DATABASE}-shm")):
        path.unlink(missing_ok=True)
    install(wiring.raw_database, PROMPT_FILE)
    rates = replace(DEFAULT_THRESHOLDS, audit_rate=1.0, block_check_rate=1.0)
    wiring.policies.set(SOURCE, rates, author="modctl demo", reason="so that all samples can be reviewed")


def _watch(wiring: Wiring, worker: WorkerProcess, pictures: dict[str, Sample], server: Server) -> DemoRun:
    from moderation.domain.submission import ImageId, State
    from moderation.flows.scanning.submit import submit

    began = time.monotonic()
    ids = [ImageId(name) for name in pictures]
    submit(
        ids,
        submissions=wiring.submissions,
        bell=wiring.bell,
        batch_size=wiring.settings.batch_size,
        source=SOURCE,
    )
    with _bar(len(ids)) as advance_to:
        while True:
            counts = wiring.submissions.counts()
            advance_to(counts["done"] + counts["failed"])
            seconds = time.monotonic() - began
            if not counts["waiting"] + counts["claimed"]:
                break
            worker.check()
            if seconds > TIMEOUT_S:
                raise ServiceDown("the worker", f"{counts['done']} of {len(ids)} verdicts after {TIMEOUT_S:.0f} s")
            time.sleep(0.05)
    return DemoRun(
        samples=pictures,
        verdicts={str(name): verdict for name, verdict in wiring.verdicts.latest(ids).items()},
        failed=wiring.submissions.list(state=State.FAILED, limit=None),
        seconds=seconds,
        batches=_batches(worker, len(ids)),
        broker=server.origin,
        database=wiring.raw_database.shown,
        images=wiring.settings.images,
        backbone=wiring.settings.backbone,
    )


def _batches(worker: WorkerProcess, images: int) -> list[dict[str, float]]:
    """The worker's figures of its batches; the last one's line may come a moment after its verdicts."""
    deadline = time.monotonic() + 5
    while True:
        found = [line["batch"] for line in worker.lines() if "batch" in line]
        if sum(batch["images"] for batch in found) >= images or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def _remove_keys(wiring: Wiring) -> None:
    """Takes the demo's keys out of a broker that is not ours alone."""
    import redis

    with redis.Redis.from_url(wiring.settings.broker_url) as client:
        for key in client.scan_iter(match=f"{wiring.settings.queue_prefix}*"):
            client.delete(key)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("verdicts  "), BarColumn(), MofNCompleteColumn())
    screen = console(stderr=True)
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("verdicts", total=total)
        yield lambda done: bar.update(task, completed=done)
