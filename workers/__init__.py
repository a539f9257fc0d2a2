"""The worker processes: Celery's entry, the doorbell tasks, the detector once per process."""
