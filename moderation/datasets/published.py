"""The results that AntifakePrompt's authors published, to stand beside one's own. The paper's numbers, none of ours.

Source: the results table of arXiv 2310.17419 v3; per-set accuracy in percent on 23 test sets, its mean as AVG.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

SOURCE = "arXiv 2310.17419 v3, results table: accuracy in percent"
MEAN = "AVG"  # over 2 real and 21 fake sets alike: real photographs weigh 2 in 23
_FILE = Path(__file__).with_name("antifakeprompt_table_v3.csv")
_DETECTORS = {"AFP_Orig": "AntifakePrompt", "AFP_LaMa": "AntifakePrompt, tuned with LaMa pictures too"}
_WEIGHTS = {"P": "as its authors released it", "F": "finetuned on the paper's data", "LoRA": "LoRA on the paper's data"}


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """Per-set accuracies in percent; `rows` are the sets in the table's order, without the mean."""

    source: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: dict[str, dict[str, float]]

    def value(self, set: str, column: str) -> float:  # noqa: A002 - the word for it here
        """The accuracy of one detector on one set, or on "AVG". Raises KeyError, naming what there is."""
        if set not in self.values:
            raise KeyError(f"{set!r} is no row; rows are {', '.join(self.values)}")
        if column not in self.columns:
            raise KeyError(f"{column!r} is no column; columns are {', '.join(self.columns)}")
        return self.values[set][column]

    def mean(self, column: str) -> float:
        """The published mean over the 23 sets."""
        return self.value(MEAN, column)

    def legend(self, column: str) -> str:
        """A column's name in words."""
        self.value(MEAN, column)
        if column in _DETECTORS:
            return _DETECTORS[column]
        detector, _, weights = column.rpartition("_")
        if column == "InstructBLIP_P":
            return "InstructBLIP, zero-shot: the plain question"
        return f"{detector}, {_WEIGHTS[weights]}"


@functools.cache
def published_table() -> PublishedTable:
    """The table that ships with this package."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    values = {name: dict(zip(header[1:], map(float, numbers), strict=True)) for name, *numbers in lines}
    return PublishedTable(SOURCE, tuple(name for name in values if name != MEAN), tuple(header[1:]), values)
