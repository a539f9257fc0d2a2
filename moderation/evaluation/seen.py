"""Whether a candidate was made from the pictures it is measured on, as far as its own record says.

A data set is known by its hash. One that shares pictures with another has a hash of its own, so silence proves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

_CALIBRATION = ("calibration", "calibrated_on")


def seen_in(metadata: Mapping[str, Any], hashes: Collection[str]) -> str:
    """What was done on one of these data sets: 'tuned', 'calibrated', 'tuned and calibrated', or '' for nothing."""
    calibration = {name: value for name, value in metadata.items() if name in _CALIBRATION}
    tuning = {name: value for name, value in metadata.items() if name not in _CALIBRATION}
    parts = {"tuned": json.dumps(tuning), "calibrated": json.dumps(calibration)}
    return " and ".join(done for done, text in parts.items() if any(each in text for each in hashes))


def warning(name: str, seen: str) -> str:
    """One sentence for people; see `seen_in`."""
    return f"{name} was {seen} on these pictures, or on data that they are part of: its figures are too good here."
