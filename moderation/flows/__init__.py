"""The verbs: what the product does, in terms of the parts it is handed. Knows no settings, no Celery, no click."""
