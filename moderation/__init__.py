"""Moderation of AI-generated images: is this picture real?

    from moderation import Moderation

    moderation = Moderation()              # settings from MODERATION_* and .env
    moderation.submit("uploads/42.jpg")
    moderation.verdict("uploads/42.jpg")   # a Verdict, or None while it is on its way

Importing this loads no torch, no SQLAlchemy and no Celery.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderation.client import Moderation
    from moderation.domain.submission import Receipt
    from moderation.domain.verdict import Decision, Verdict
    from moderation.errors import (
        ConfigurationError,
        ImageFailed,
        ModerationError,
        NotYetScored,
        ServiceDown,
        UnknownImage,
    )

__version__ = "0.1.0"

_HOMES = {
    "Moderation": "moderation.client",
    "Receipt": "moderation.domain.submission",
    "Decision": "moderation.domain.verdict",
    "Verdict": "moderation.domain.verdict",
    "ConfigurationError": "moderation.errors",
    "ImageFailed": "moderation.errors",
    "ModerationError": "moderation.errors",
    "NotYetScored": "moderation.errors",
    "ServiceDown": "moderation.errors",
    "UnknownImage": "moderation.errors",
}

__all__ = [
    "ConfigurationError",
    "Decision",
    "ImageFailed",
    "Moderation",
    "ModerationError",
    "NotYetScored",
    "Receipt",
    "ServiceDown",
    "UnknownImage",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
