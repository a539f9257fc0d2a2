"""The miniature: a small InstructBLIP that ships inside the package, with a tuned pseudo-word and sample pictures.

It makes the whole real code path run anywhere. It detects decoder traces in small pictures and is no production
detector. Importing this package loads neither torch nor the weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_HERE = Path(__file__).resolve().parent
WEIGHTS_DIR = _HERE / "weights"
WORD_FILE = _HERE / "word.safetensors"  # the tuned pseudo-word alone, from which the prompt is made
PROMPT_FILE = _HERE / "prompt.safetensors"  # what ships: the same word, a pixel expert, and a calibration of both
SAMPLES_DIR = _HERE / "samples"
RESULTS_FILE = _HERE / "results.json"
CARD_FILE = _HERE / "DATA_CARD.md"

Truth = Literal["real", "fake"]


@dataclass(frozen=True)
class Sample:
    """One sample picture: a crop of a bundled photograph (`real`), or such a crop passed through a decoder (`fake`)."""

    path: Path
    truth: Truth
    family: str  # of decoders; "none" for a real one
    photograph: str
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the photograph
    source: str
    licence: str
    attribution: str


def samples() -> tuple[Sample, ...]:
    """The sample pictures in the manifest's order. Raises FileNotFoundError where the package lacks its data."""
    entries = json.loads((SAMPLES_DIR / "manifest.json").read_text(encoding="utf-8"))["samples"]
    return tuple(
        Sample(
            path=SAMPLES_DIR / entry["file"],
            truth=entry["truth"],
            family=entry["family"],
            photograph=entry["photograph"],
            box=tuple(entry["box"]),
            source=entry["source"],
            licence=entry["licence"],
            attribution=entry["attribution"],
        )
        for entry in entries
    )
