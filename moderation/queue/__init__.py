"""The Celery application, its settings and routes, and the bell that is rung for workers."""
