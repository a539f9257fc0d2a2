"""Teach: the work of one training run, from its lessons to a candidate and the gate's word. It registers nothing.

The same lessons, parent and seed give the same candidate, bit for bit on the CPU: no path, time or number of a run goes
into it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from moderation.detector import Backbone, Detector, SoftPrompt
from moderation.domain.lesson import Lesson, Side
from moderation.domain.training_run import TrainingRun
from moderation.evaluation.gate import GateResult, Judged, judge
from moderation.files import write_whole
from moderation.flows.retraining.judging import Prepare, Verdict, rows_of, score_both
from moderation.flows.retraining.pace import Pace
from moderation.flows.retraining.pictures import Fetch, LessonPictures, collect
from moderation.flows.tuning.data import TuningData, check_classes
from moderation.flows.tuning.tune import begin, fill, go, versions
from moderation.flows.tuning.tuned import Bench, Tuned
from moderation.storage.policies import Policies
from moderation.storage.registry.prompts import Prompts
from moderation.training.progress import Interrupt
from moderation.training.reading import Decode
from moderation.training.retrain_plan import plan_for
from moderation.training.run import LAST_STATES, RunFolder
from moderation.training.state import Row

if TYPE_CHECKING:
    from moderation.training.plan import Precision

_PRECISION = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_EPOCH = datetime(1980, 1, 1, tzinfo=UTC).timetuple()[:6]  # in an archive that is to depend on its content alone


@dataclass(frozen=True)
class Classroom:
    """What a run is worked on with. preparation: what `decode` and the crop do to a picture, in words."""

    backbone: Backbone
    prompts: Prompts
    policies: Policies
    fetch: Fetch
    prepare: Prepare
    decode: Decode
    preparation: str
    readers: Executor
    features: Path  # the cache of vision features
    batch_size: int
    retry_base_s: float


@dataclass(frozen=True)
class Taught:
    """What came of a run: the candidate, how its tuning went, and what the gate says of it."""

    name: str
    prompt: SoftPrompt
    tuned: Tuned
    history: Sequence[Row]
    rows: Judged
    verdicts: Sequence[Verdict]
    gate: GateResult
    left_out: Mapping[str, int]
    versions: Mapping[str, str]


def teach(
    run: TrainingRun,
    lessons: Sequence[Lesson],
    checkpoint: bytes | None,
    room: Classroom,
    folder: Path,
    pace: Pace,
    keep: Callable[[bytes], None],
) -> Taught:
    """Does all of it. folder: an empty one for its files; keep: takes the state after every epoch, for who goes on.

    Raises Stopped when asked to stop, ConfigurationError for what a person must mend.
    """
    record = room.prompts.find(run.parent)
    parent = SoftPrompt.from_bytes(room.prompts.blob(record.prompt_id), sha256=record.sha256)
    pictures = collect(lessons, folder / "pictures", room.fetch, room.readers, pace, room.retry_base_s)
    tuned, history = _tune(run, pictures, parent, checkpoint, room, folder, pace, keep)
    if tuned.prompt is None:
        raise TypeError("a retraining tunes a prompt")
    bench = score_both(
        pictures.on(Side.HOLDOUT), Detector(room.backbone, parent), Detector(room.backbone, tuned.prompt),
        room.prepare, room.readers, pace, batch_size=room.batch_size,
    )  # fmt: skip
    rows = rows_of(bench.verdicts, room.policies.current())
    gate = judge(rows, margin=run.config.margin, seed=run.config.seed, with_replay=run.config.replay)
    left_out = {**pictures.left_out, **{f"held out: {why}": count for why, count in bench.left_out.items()}}
    return Taught(run.config.name, tuned.prompt, tuned, history, rows, bench.verdicts, gate, left_out, versions())


def _tune(
    run: TrainingRun,
    pictures: LessonPictures,
    parent: SoftPrompt,
    checkpoint: bytes | None,
    room: Classroom,
    folder: Path,
    pace: Pace,
    keep: Callable[[bytes], None],
) -> tuple[Tuned, Sequence[Row]]:
    """A tuning run as `modctl tune` makes it, on from the checkpoint if there is one."""
    data = TuningData(pictures.labelled(Side.TRAIN), pictures.labelled(Side.VAL))
    for what, images in (("training data", data.train), ("validation data", data.val)):
        check_classes(images, what, "use")
    plan = plan_for(parent, room.backbone, run.config.seed, run.config.name, epochs=run.config.epochs)
    precision = _PRECISION[str(room.backbone.dtype).removeprefix("torch.")]
    plan = replace(plan, precision=plan.precision or cast("Precision", precision))
    plan = fill(plan, room.backbone, len(data.train))
    bench = _bench(room, pace)
    made = begin(
        plan, data, bench, folder, datetime.now(UTC), command=run.config.command, given=parent,
        parent=run.parent, manifest_sha256=run.manifest_sha256,
    )  # fmt: skip
    if checkpoint is not None:
        _unpack(checkpoint, made.path)
    per_epoch = plan.iterations(len(data.train))
    done = sum(made.load_state(member)[0].epochs for member in range(plan.members))
    watcher = _Watcher(pace, made, keep, per_epoch * (plan.epochs or 1) * plan.members, done * per_epoch)
    tuned = go(made, replace(bench, at_expert=watcher.at_expert), parent, watchers=[watcher])
    return tuned, [row for member in range(plan.members) for row in made.load_state(member)[0].history]


class _Watcher:
    """Tells the pace of every step, and keeps the state after every epoch."""

    def __init__(self, pace: Pace, run: RunFolder, keep: Callable[[bytes], None], total: int, done: int) -> None:
        self._pace, self._run, self._keep = pace, run, keep
        self._total, self._done = total, done
        self._began = False

    def step(self, loss: float) -> None:
        """One step was made."""
        if not self._began:
            self._began = True
            self._pace.stage("tuning", self._total, self._done)
        self._pace.step(loss)

    def epoch(self, row: Row) -> None:
        """One epoch was finished, validated and written into the folder."""
        self._keep(_pack(self._run.path))
        self._pace.epoch(row)

    def at_expert(self, epochs: int) -> None:
        """So many of the pixel expert's epochs are finished and written into the folder."""
        self._keep(_pack(self._run.path))
        self._pace.stage("expert", 0, epochs)


def _bench(room: Classroom, pace: Pace) -> Bench:
    return Bench(
        backbone=room.backbone,
        decode=room.decode,
        readers=room.readers,
        preparation=room.preparation,
        console=Console(file=io.StringIO()),  # no terminal: nobody watches here
        say=pace.said,
        interrupt=Interrupt(pace.said),
        cache=room.features,
        with_report=False,  # the run has one of its own
        counting=pace.counting,
    )


def _pack(folder: Path) -> bytes:
    """Where members and pixel expert stand, as one blob."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(folder.glob(LAST_STATES)):
            name = file.relative_to(folder).as_posix()
            archive.writestr(zipfile.ZipInfo(name, cast("Any", _EPOCH)), file.read_bytes())
    return packed.getvalue()


def _unpack(checkpoint: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as archive:
        for name in archive.namelist():
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"a checkpoint that leads out of its folder: {name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, archive.read(name))
