"""modctl worker: Celery's worker with the flags this application needs."""

from __future__ import annotations

import importlib.util
import os
import sys

import click

from moderation.cli import no_scoring
from moderation.cli.extras import check_training
from moderation.queue.app import BACKFILL_QUEUE, QUEUES, SCAN_QUEUES, TRAINING_QUEUE
from moderation.settings import load_settings

_NAMES = {**dict.fromkeys(SCAN_QUEUES, "scan"), BACKFILL_QUEUE: "backfill", TRAINING_QUEUE: "training"}


@click.command()
@click.option(
    "--queues", default=",".join(SCAN_QUEUES), show_default=True,
    help=f"Queues to listen to, urgent ones first; also {BACKFILL_QUEUE}, or {TRAINING_QUEUE} alone.",
)  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 64), help="Batches under way at once (MODERATION_CONCURRENCY).")
@click.option("--batch-size", type=click.IntRange(1, 1024), help="Images scored at once (MODERATION_BATCH_SIZE).")
@click.option("--name", default="", help="The worker's name; the host's is added. [after its first queue]")
def command(queues: str, concurrency: int | None, batch_size: int | None, name: str) -> None:
    """Run a worker that scores what was submitted. One for each GPU; TERM ends it after the batches under way.

    With --queues training it takes `modctl retrain` runs instead, and TERM gives one under way back.
    """
    wanted = [queue.strip() for queue in queues.split(",")]
    unknown = sorted(set(wanted) - set(QUEUES))
    if unknown:
        raise click.UsageError(f"unknown queue {', '.join(map(repr, unknown))}; there are {', '.join(QUEUES)}")
    if TRAINING_QUEUE in wanted and len(set(wanted)) > 1:
        raise click.UsageError(
            f"{TRAINING_QUEUE} takes a worker of its own: a run holds the device for its whole length"
        )
    if importlib.util.find_spec("torch") is None:
        raise no_scoring("torch")
    if TRAINING_QUEUE in wanted:
        check_training()
    # Celery reads its settings from the environment, as it does when it is started without us.
    for variable, value in (("MODERATION_CONCURRENCY", concurrency), ("MODERATION_BATCH_SIZE", batch_size)):
        if value is not None:
            os.environ[variable] = str(value)
    settings = load_settings()
    # Gossip and mingle are chatter among workers that do not need each other.
    flags = [
        "--pool=threads",
        "--without-gossip",
        "--without-mingle",
        f"--hostname={name or _NAMES[wanted[0]]}-{os.getpid()}@%h",
    ]
    celery = [sys.executable, "-m", "celery", "-A", "workers.app", "worker"]
    # The process becomes Celery's, so that signals and exit codes are its own.
    os.execv(sys.executable, [*celery, *flags, f"--concurrency={settings.concurrency}", f"--queues={','.join(wanted)}"])
