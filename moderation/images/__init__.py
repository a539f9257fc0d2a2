"""From an image id to a picture: fetching under an allow-list, decoding under limits, resizing for the detector.

No torch here: this runs in the fetch threads. What can't be had is an ImageRejected (never) or ImageUnavailable (not
now) of `moderation.errors`; nothing else comes out.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderation.images.decoding import decode
    from moderation.images.fingerprint import pdq
    from moderation.images.resize import square
    from moderation.images.source import ImageSource, open_source
    from moderation.images.views import Views, views_of

_HOME = {
    "decode": "decoding",
    "pdq": "fingerprint",
    "ImageSource": "source",
    "open_source": "source",
    "square": "resize",
    "Views": "views",
    "views_of": "views",
}

__all__ = ["ImageSource", "Views", "decode", "open_source", "pdq", "square", "views_of"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
