"""The Celery application: names, routes and the settings that survived faults.

A message is a doorbell: it carries image ids and may be lost, doubled or late, because SQL holds the truth.
"""

from __future__ import annotations

from celery import Celery
from kombu.entity import Queue

from moderation.settings import Settings

SCAN = "moderation.scan"
RETRAIN = "moderation.retrain"
RESCORE = "moderation.rescore"
URGENT_QUEUE = "scan.urgent"
SCAN_QUEUE = "scan"
SCAN_QUEUES = (URGENT_QUEUE, SCAN_QUEUE)
TRAINING_QUEUE = "training"
BACKFILL_QUEUE = "backfill"
QUEUES = (*SCAN_QUEUES, BACKFILL_QUEUE, TRAINING_QUEUE)

# Longer than a batch usually takes. An unacknowledged bell rings again after it: in vain, if its rows are claimed.
VISIBILITY_TIMEOUT_S = 120


def queue_for(priority: int) -> str:
    """Two queues for two urgencies: priorities inside one Redis queue are not kept reliably."""
    return URGENT_QUEUE if priority > 0 else SCAN_QUEUE


def create_app(settings: Settings) -> Celery:
    """A Celery application on the broker that `settings` names. Connects to nothing yet."""
    app = Celery("moderation", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        # Results live in SQL; a result backend would be a second truth.
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        # A bell is acknowledged when its batch is settled, so a killed worker's bells ring elsewhere. A task that
        # raises is acknowledged too: its rows are in SQL, the sweep rings for them, and no poison bell circles.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=True,
        # One bell in reserve for each thread: more would keep bells from idle workers.
        worker_prefetch_multiplier=1,
        # Threads share one backbone and overlap fetching, scoring and writing; a fork would copy a CUDA context.
        worker_pool="threads",
        worker_concurrency=settings.concurrency,
        # A broker that is away comes back; until then the worker waits.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A lost broker connection does not stop a batch: its result goes to SQL.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "global_keyprefix": settings.queue_prefix,
            # Urgent bells first, instead of taking turns.
            "queue_order_strategy": "priority",
        },
        task_queues=[Queue(name) for name in QUEUES],  # type: ignore[no-untyped-call]  # kombu is half typed
        task_default_queue=SCAN_QUEUE,
        task_create_missing_queues=False,
    )
    return app
