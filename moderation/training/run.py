"""A run's folder: what was asked for, where it stands, what came of it. Its files are whole, also after a kill.

plan.json, manifest.csv, member-N/last.safetensors (numbers, the best so far, the optimiser's moments, and as JSON in
the header where the run stands), expert/last.safetensors (the same of the pixel expert), log.jsonl, prompt.safetensors
or an adapter's folder, report.html. Nothing is pickled.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from moderation.datasets.labelled import LabelledImage
from moderation.errors import ConfigurationError
from moderation.files import write_whole
from moderation.training.plan import TunePlan
from moderation.training.state import Row, RunFacts, State

PROMPT, REPORT, ADAPTER = "prompt.safetensors", "report.html", "adapter"
LAST_STATES = "*/last.safetensors"
"""Where the parts of a run stand, in its folder: all that it takes beside its plan and pictures to go on elsewhere."""
_PLAN, _MANIFEST, _LOG, _LAST, _EXPERT = "plan.json", "manifest.csv", "log.jsonl", "last.safetensors", "expert"
_COLUMNS = ("path", "label", "generator", "source", "split", "set", "group", "bytes", "weight")
_STATE = "state"
_DATA_HINT = "start a new run, or put the pictures back as they were"


class RunFolder:
    """One folder, one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, runs: Path, name: str, now: datetime) -> RunFolder:
        """A new folder below `runs`, called after name and time. Raises ConfigurationError."""
        stem = f"{name}-{now:%Y%m%d-%H%M%S}"
        cls.make_room(runs)
        try:
            for attempt in range(1000):
                path = runs / (f"{stem}-{attempt}" if attempt else stem)
                try:
                    path.mkdir(parents=True)
                except FileExistsError:
                    continue
                return cls(path)
        except OSError as error:
            raise ConfigurationError("--out", f"can't make a folder in {runs}: {error.strerror}") from None
        raise ConfigurationError("--out", f"{runs} has a thousand runs of this second")

    @staticmethod
    def make_room(runs: Path) -> None:
        """Makes the folder for runs: refused before hours of work, not after. Raises ConfigurationError."""
        try:
            runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError("--out", f"can't make the folder {runs}: {error.strerror}") from None

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
                place = image.path.resolve()
                writer.writerow((place, label, image.generator, image.source, split, image.set, image.group, size,
                                 image.weight))  # fmt: skip
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
                        float(row.get("weight") or 1.0),  # runs of older versions have none
                    )
                )
        return halves["train"], halves["val"]

    def save_state(self, member: int, state: State, tensors: Mapping[str, torch.Tensor]) -> None:
        """Where a member stands, in one file: its numbers can't be of another epoch than its counts."""
        self._save(f"member-{member}", state, tensors)

    def load_state(self, member: int) -> tuple[State, dict[str, torch.Tensor]]:
        """What `save_state` wrote, or a new state where nothing was. Raises ConfigurationError."""
        return self._load(f"member-{member}")

    def save_expert(self, state: State, tensors: Mapping[str, torch.Tensor]) -> None:
        """Where the pixel expert's training stands; of its state the history stays empty."""
        self._save(_EXPERT, state, tensors)

    def load_expert(self) -> tuple[State, dict[str, torch.Tensor]]:
        """What `save_expert` wrote, or a new state where nothing was. Raises ConfigurationError."""
        return self._load(_EXPERT)

    def _save(self, part: str, state: State, tensors: Mapping[str, torch.Tensor]) -> None:
        folder = self.path / part
        folder.mkdir(exist_ok=True)
        ready = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
        write_whole(folder / _LAST, save(ready, metadata={_STATE: json.dumps(asdict(state))}))

    def _load(self, part: str) -> tuple[State, dict[str, torch.Tensor]]:
        file = self.path / part / _LAST
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
