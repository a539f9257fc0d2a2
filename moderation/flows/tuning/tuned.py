"""The end of a tuning run: its best is validated, calibrated, written, reported, and registered if there is where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from moderation.datasets.labelled import LabelledImage
from moderation.detector.backbone import Backbone
from moderation.detector.expert import ExpertWeights
from moderation.detector.preprocess import Normalisation
from moderation.detector.prompt import SoftPrompt
from moderation.domain.lesson import Lesson, pack
from moderation.domain.prompt import PromptId, PromptRecord
from moderation.errors import ConfigurationError
from moderation.flows.registry.prompt import register
from moderation.flows.tuning.data import counted
from moderation.flows.tuning.manifest import lessons_of
from moderation.storage.events import By
from moderation.storage.registry.prompts import Prompts
from moderation.training import finish
from moderation.training.adapter import Adapter
from moderation.training.closer import with_crops
from moderation.training.expert_run import begun_in, with_expert
from moderation.training.loader import Features
from moderation.training.lora import save_lora
from moderation.training.progress import Interrupt, counter
from moderation.training.reading import Decode
from moderation.training.run import ADAPTER, PROMPT, RunFolder
from moderation.training.state import Row, RunFacts
from moderation.training.told import report_of
from moderation.training.tune import Outcome
from moderation.training.validation import Trainable, validate

_WARNING = "Tuned on the miniature: it detects decoder traces in small pictures and is no production detector."
_SHOWN = 3  # unreadable files that are named on the screen; the run's log has all


@dataclass(frozen=True)
class Bench:
    """What a run works with. preparation: how `decode` and the crop treat a picture, in words.

    at_expert: is told how many of the pixel expert's epochs are finished and written, at its begin and after each.
    """

    backbone: Backbone
    decode: Decode
    readers: Executor
    preparation: str
    console: Console
    say: Callable[[str], None]
    interrupt: Interrupt
    cache: Path | None  # None: features are kept in memory or not at all
    tensorboard: bool = False
    with_report: bool = True
    counting: Callable[[str, int], AbstractContextManager[Callable[[int], None]]] | None = None  # None: on the console
    at_expert: Callable[[int], None] = lambda _: None

    def count(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Takes note of a pass over `total` pictures."""
        return self.counting(title, total) if self.counting else counter(title, total, self.console)


@dataclass(frozen=True)
class Member:
    """One that was tuned, and how it ended."""

    trainable: Trainable
    outcome: Outcome


@dataclass(frozen=True)
class Tuned:
    """What came of a run. `prompt` None: it is a LoRA adapter, the folder `artefact`."""

    run: Path
    artefact: Path
    prompt: SoftPrompt | None
    metrics: dict[str, float | int]
    ended: Sequence[str]
    notes: Sequence[str]
    report: Path | None  # None: nobody wanted one
    parent: PromptId | None
    lessons: Sequence[Lesson] = ()  # the pictures it was tuned on


class Log:
    """The run's own record, a line an epoch."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def step(self, loss: float) -> None:
        """Too many to keep."""

    def epoch(self, row: Row) -> None:
        """One line."""
        self._run.log_row(row)


def conclude(
    run: RunFolder,
    facts: RunFacts,
    members: Sequence[Member],
    training: Features,
    validation: Features,
    bench: Bench,
    given: SoftPrompt | None = None,
) -> Tuned:
    """Makes of the members' best what is kept. Raises ConfigurationError where a loss was no number, best kept."""
    good = [member for member in members if member.outcome.numbers is not None]
    failure = next((member.outcome.why for member in members if member.outcome.failed), "")
    if not good:
        problem = failure or "the run was stopped before anything was tuned"
        raise ConfigurationError("--lr" if failure else "--resume", problem, hint=_way_out(run, failure))
    found = []
    for member in good:
        member.trainable.load(member.outcome.numbers or {})
        found.append(validate(member.trainable, facts.plan, validation))
    measured = finish.measure(found, validation.images, facts.plan.seed)
    outcomes = [member.outcome for member in good]
    stopped = any(member.outcome.why == "interrupted" for member in members)
    whole = not (failure or stopped)
    expert, measured = _completed(run, measured, facts, outcomes, training, bench, given, whole=whole)
    metadata = finish.metadata_of(facts, measured, outcomes, _counts(training))
    prompt: SoftPrompt | None = None
    if facts.plan.method == "lora":
        artefact = _write_adapter(run, facts, good[0].trainable, measured, metadata)
    else:
        prompt = finish.prompt_of(bench.backbone, facts, outcomes, measured, metadata, expert)
        artefact = run.write(PROMPT, prompt.to_bytes())
    if failure:
        raise ConfigurationError("--lr", failure, hint=f"the best is kept in {artefact}; {_way_out(run, failure)}")
    report = _report(run, facts, measured, outcomes, training, expert) if bench.with_report else None
    ended = [outcome.why for outcome in outcomes]
    run.log("finished", ended=ended, artefact=artefact.name)
    parent = PromptId(facts.parent_id) if facts.parent_id else None
    lessons = lessons_of(_readable(training), _readable(validation))
    return Tuned(run.path, artefact, prompt, measured.metrics(), ended, measured.notes, report, parent, lessons)


def enter(prompts: Prompts, tuned: Tuned, name: str, by: By) -> PromptRecord:
    """Registers the tuned prompt as a candidate, with the list of its pictures. Raises ServiceDown."""
    if tuned.prompt is None:
        raise ValueError("an adapter is no prompt")
    manifest = pack(tuned.lessons)
    return register(prompts, tuned.prompt.to_bytes(), name=name, parent=tuned.parent, manifest=manifest, by=by)


def tell_unreadable(pictures: Features, run: RunFolder, say: Callable[[str], None]) -> None:
    """Names what was left out because it could not be read: all in the run's log, a few on the screen."""
    if not pictures.unreadable:
        return
    say(f"left out, not readable as pictures: {len(pictures.unreadable)}")
    for place, (path, problem) in enumerate(sorted(pictures.unreadable.items())):
        run.log("unreadable", path=str(path), problem=problem)
        if place < _SHOWN:
            say(f"  {path}: {problem}")


def _readable(pictures: Features) -> list[LabelledImage]:
    return [image for image in pictures.images if image.path not in pictures.unreadable]


def _report(
    run: RunFolder,
    facts: RunFacts,
    measured: finish.Measured,
    outcomes: Sequence[Outcome],
    training: Features,
    expert: ExpertWeights | None,
) -> Path:
    from moderation.evaluation.report import render_tuning

    warning = _WARNING if facts.backbone == "miniature" else ""
    return render_tuning(report_of(facts, measured, outcomes, counted(training.images), expert, warning), run.path)


def _counts(pictures: Features) -> dict[str, int]:
    fakes = sum(image.is_fake for image in pictures.images)
    return {"n_real": len(pictures.images) - fakes, "n_fake": fakes}


def _completed(
    run: RunFolder,
    measured: finish.Measured,
    facts: RunFacts,
    outcomes: Sequence[Outcome],
    training: Features,
    bench: Bench,
    given: SoftPrompt | None,
    *,
    whole: bool,
) -> tuple[ExpertWeights | None, finish.Measured]:
    """The pixel expert, and the figures with it and the native crops; no expert unless the run is `whole`."""
    expert = None
    if facts.plan.expert and whole:
        plain = finish.prompt_of(bench.backbone, facts, outcomes, measured, {}, None)
        before = given.expert if given is not None else None
        expert, measured = _expert(run, plain, facts, training, measured, bench, before)
    if facts.plan.crops:
        bench.say("native crops: the validation pictures are scored with them")
        finished = finish.prompt_of(bench.backbone, facts, outcomes, measured, {}, expert)
        measured = with_crops(finished, measured, bench.backbone, bench.decode, bench.readers, facts.plan.seed)
    return expert, measured


def _expert(
    run: RunFolder,
    plain: SoftPrompt,
    facts: RunFacts,
    training: Features,
    measured: finish.Measured,
    bench: Bench,
    given: ExpertWeights | None,
) -> tuple[ExpertWeights | None, finish.Measured]:
    """The pixel expert and the figures with it; none, with a note, where it does not help: the word is kept.

    It goes on from where the run's folder says that it stands. Raises ConfigurationError where that can't be read.
    """
    readable = _readable(training)
    begun = begun_in(run, bench.at_expert)
    if begun.state.epochs:
        bench.say(f"expert: goes on after epoch {begun.state.epochs}")
    try:
        expert, after = with_expert(
            plain, facts.plan, readable, measured, bench.backbone, bench.decode, bench.readers, bench.say, given, begun
        )
        return expert, replace(after, loss=None)
    except ConfigurationError as error:
        note = f"no pixel expert: {error.problem}"
        bench.say(note)
        return None, replace(measured, notes=(*measured.notes, note))


def _write_adapter(
    run: RunFolder, facts: RunFacts, adapter: Trainable, measured: finish.Measured, metadata: dict[str, Any]
) -> Path:
    if not isinstance(adapter, Adapter):
        raise TypeError("a LoRA plan tunes an adapter")
    normalisation = Normalisation(facts.mean, facts.std)
    save_lora(
        run.path / ADAPTER, adapter, name=facts.plan.name, normalisation=normalisation,
        calibration=measured.calibration, metadata=metadata,
    )  # fmt: skip
    return run.path / ADAPTER


def _way_out(run: RunFolder, failure: str) -> str:
    return "try a lower --lr, or --precision fp32" if failure else f"go on with: --resume {run.path}"
