"""A run's folder: what was asked for, where it stands, what came of it. Its files are whole, also after a kill.

plan.json, manifest.csv, member-N/last.safetensors (numbers, the best so far, the optimiser's moments, and as JSON in
the header where the run stands), log.jsonl, prompt.safetensors or an adapter's folder, report.html. Nothing is pickled.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from moderation.datasets.labelled import LabelledImage
from moderation.errors import ConfigurationError
from moderation.training.cache import write_whole
from moderation.training.plan import TunePlan, option

PROMPT, REPORT, ADAPTER = "prompt.safetensors", "report.html", "adapter"
_PLAN, _MANIFEST, _LOG, _LAST = "plan.json", "manifest.csv", "log.jsonl", "last.safetensors"
_COLUMNS = ("path", "label", "generator", "source", "split", "set", "group", "bytes")
_STATE = "state"
_DATA_HINT = "start a new run, or put the pictures back as they were"


@dataclass(frozen=True)
class RunFacts:
    """What a run needs besides its plan to be repeated, as plan.json holds it."""

    plan: TunePlan
    manifest_sha256: str
    backbone: str
    revision: str
    device: str
    dtype: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    parent: str | None  # the sha256 of the prompt it starts from
    parent_id: str | None  # its id, where it is a registered one
    command: str
    created_at: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """One finished epoch. `epoch` counts from 1; losses are means over pictures."""

    member: int
    epoch: int
    loss: float
    validation_loss: float
    validation_auc: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class State:
    """Where one member stands after its last finished epoch."""

    epochs: int = 0  # finished
    best_epoch: int = 0  # from 1; 0: none yet
    best_loss: float = float("inf")
    ended: bool = False  # nothing is left to do for it
    scaler: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Row] = ()

    def with_epoch(self, row: Row, *, scaler: Mapping[str, float]) -> State:
        """The state after one more epoch; it is the best if its validation loss is the lowest so far."""
        after = replace(self, epochs=row.epoch, scaler=scaler, history=(*self.history, row))
        if row.validation_loss < self.best_loss:
            return replace(after, best_epoch=row.epoch, best_loss=row.validation_loss)
        return after


class RunFolder:
    """One folder, one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, runs: Path, name: str, now: datetime) -> RunFolder:
        """A new folder below `runs`, called after name and time. Raises ConfigurationError."""
        stem = f"{name}-{now:%Y%m%d-%H%M%S}"
        try:
            for attempt in range(1000):
                path = runs / (f"{stem}-{attempt}" if attempt else stem)
                try:
                    path.mkdir(parents=True)
                except FileExistsError:
                    if runs.exists() and not runs.is_dir():
                        raise
                    continue
                return cls(path)
        except OSError as error:
            raise ConfigurationError("--out", f"can't make a folder in {runs}: {error.strerror}") from None
        raise ConfigurationError("--out", f"{runs} has a thousand runs of this second")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run. Raises ConfigurationError where there is none."""
        if not (path / _PLAN).is_file():
            raise ConfigurationError("--resume", f"{path} is no run: it has no {_PLAN}")
        return cls(path)

    def write_facts(self, facts: RunFacts, train: Sequence[LabelledImage], val: Sequence[LabelledImage]) -> None:
        """plan.json and manifest.csv."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(_COLUMNS)
        for split, images in (("train", train), ("val", val)):
            for image in images:
                label = "fake" if image.is_fake else "real"
                size = image.path.stat().st_size if image.path.exists() else 0
                writer.writerow(
                    (image.path.resolve(), label, image.generator, image.source, split, image.set, image.group, size)
                )
        write_whole(self.path / _MANIFEST, text.getvalue().encode())
        self.write_json(_PLAN, asdict(facts))

    def facts(self) -> RunFacts:
        """What `write_facts` wrote. Raises ConfigurationError."""
        try:
            found = json.loads((self.path / _PLAN).read_text(encoding="utf-8"))
            plan = TunePlan.from_json(found.pop("plan"))
            mean, std = tuple(found.pop("mean")), tuple(found.pop("std"))
            return RunFacts(plan=plan, mean=mean, std=std, **found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(str(self.path / _PLAN), f"can't be read: {error}") from None

    def images(self) -> tuple[list[LabelledImage], list[LabelledImage]]:
        """(training, validation). Raises ConfigurationError naming the first file that is not as it was."""
        halves: dict[str, list[LabelledImage]] = {"train": [], "val": []}
        with (self.path / _MANIFEST).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                path = Path(row["path"])
                size = path.stat().st_size if path.exists() else 0
                if size != int(row["bytes"]):
                    problem = f"{path} has {size} bytes; it had {row['bytes']} when the run began"
                    raise ConfigurationError("--resume", f"the data changed: {problem}", hint=_DATA_HINT)
                halves[row["split"]].append(
                    LabelledImage(
                        path,
                        row["label"] == "fake",
                        row["set"],
                        row["generator"],
                        row["source"],
                        row["group"],
                        row["split"],
                    )
                )
        return halves["train"], halves["val"]

    def save_state(self, member: int, state: State, tensors: Mapping[str, torch.Tensor]) -> None:
        """Where a member stands, in one file: its numbers can't be of another epoch than its counts."""
        folder = self.path / f"member-{member}"
        folder.mkdir(exist_ok=True)
        ready = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
        write_whole(folder / _LAST, save(ready, metadata={_STATE: json.dumps(asdict(state))}))

    def load_state(self, member: int) -> tuple[State, dict[str, torch.Tensor]]:
        """What `save_state` wrote, or a new state where nothing was. Raises ConfigurationError."""
        file = self.path / f"member-{member}" / _LAST
        if not file.exists():
            return State(), {}
        try:
            data = file.read_bytes()
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            found = json.loads(header["__metadata__"][_STATE])
            rows = tuple(Row(**row) for row in found.pop("history"))
            return State(history=rows, **found), load(data)
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise ConfigurationError(str(file), f"can't be read: {error}", hint="start a new run") from None

    def log(self, event: str, **facts: Any) -> None:
        """One more line in log.jsonl."""
        with (self.path / _LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **facts}) + "\n")

    def log_row(self, row: Row) -> None:
        """An epoch's line in it."""
        self.log("epoch", **asdict(row))

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file in the folder."""
        write_whole(self.path / name, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())

    def write(self, name: str, data: bytes) -> Path:
        """A file in the folder."""
        write_whole(self.path / name, data)
        return self.path / name


def check_same(before: TunePlan, asked: Mapping[str, Any]) -> None:
    """Raises ConfigurationError for the first option, given beside --resume, that is not as in the run's plan."""
    for name, value in asked.items():
        if (found := getattr(before, name)) != value:
            raise ConfigurationError(
                option(name), f"is {value} now and was {found} when the run began", hint="leave it out, or start anew"
            )
