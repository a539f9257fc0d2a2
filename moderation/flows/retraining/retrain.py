"""Retrain: the life of a training run. Begun from a curriculum, worked on under a lease, and ended with its candidate.

A run ends as a candidate, never active, unless whoever began it asked for that and the gate let it pass.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from moderation.domain.lesson import unpack
from moderation.domain.prompt import PromptId, prompt_id_of
from moderation.domain.training_run import RunId, TrainingRun
from moderation.errors import ModerationError, ServiceDown
from moderation.flows.retraining.lease import keeping
from moderation.flows.retraining.leftovers import FEATURES, clear_attempt, clear_run, prune_features
from moderation.flows.retraining.pace import Pace, Stopped, Why
from moderation.storage.training.claims import Held, TrainingClaims
from moderation.storage.training.runs import TrainingRuns

if TYPE_CHECKING:
    from moderation.flows.retraining.teach import Classroom
    from moderation.flows.scanning.witness import Witness

log = logging.getLogger(__name__)
T = TypeVar("T")

# SQL may be restarted under a run of hours; its end is worth waiting for.
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Teacher:
    """One process that works on training runs, one at a time. `room` is made when first needed: it loads a backbone.

    witness: made with it; what this process says of known pictures.
    device: held while the run uses it, so that nothing else is scored meanwhile: dropout is on in the shared backbone.
    """

    runs: TrainingRuns
    claims: TrainingClaims
    room: Callable[[], Classroom]
    witness: Callable[[], Witness]
    backbone: str
    folder: Path
    lease_s: float
    worker: str = ""
    patience_s: float = PATIENCE_S
    device: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _under_way: list[Pace] = field(default_factory=list)

    def stop(self) -> None:
        """Gives what is under way back, after the step under way, and takes nothing more. For any thread."""
        self._stopping.set()
        for pace in list(self._under_way):
            pace.ask(Why.GIVEN_BACK)

    def work(self, run_id: RunId) -> TrainingRun | None:
        """Takes the run and carries it on to its end; None where there is nothing to take.

        What a person must mend ends it as failed. Raises ServiceDown, and what nobody foresaw, which fails it too.
        """
        if self._stopping.is_set():
            return None
        held = self._patiently(
            lambda: self.claims.claim(run_id, backbone=self.backbone, lease_s=self.lease_s, worker=self.worker)
        )
        if held is None:
            return None
        log.info("training run %d begins, attempt %d", run_id, held.run.attempts)
        pace = Pace(lambda progress: self.claims.progress(held, progress))
        self._under_way.append(pace)
        if self._stopping.is_set():
            pace.ask(Why.GIVEN_BACK)
        place = self._folder_of(held.run) / held.token[:8]
        try:
            with keeping(self.claims, held, self.lease_s, pace):
                self._work_guarded(held, place, pace)
        finally:
            self._under_way.remove(pace)
            clear_attempt(place)
        return self.runs.get(run_id)

    def _work_guarded(self, held: Held, place: Path, pace: Pace) -> None:
        run_id = held.run.run_id
        try:
            self._work(held, place, pace)
        except Stopped as stopped:
            self._stopped(held, stopped.why)
        except ServiceDown:
            with suppress(ServiceDown):  # then the lease ends by itself
                self.claims.release(held)
            raise
        except ModerationError as error:
            problem = str(error)
            log.error("training run %d failed: %s", run_id, problem)
            self._patiently(lambda: self.claims.fail(held, problem))
            clear_run(self._folder_of(held.run))
        except Exception as error:
            with suppress(ServiceDown):
                self.claims.fail(held, f"{type(error).__name__}: {error}")
            clear_run(self._folder_of(held.run))
            raise
        except BaseException:  # this process is told to end at once
            with suppress(ServiceDown):
                self.claims.release(held)
            raise

    def _work(self, held: Held, place: Path, pace: Pace) -> None:
        from moderation.flows.retraining.outcome import candidate_of, metrics_of, report_of, told_of
        from moderation.flows.retraining.teach import teach

        run = held.run
        lessons = unpack(self.runs.manifest(run.run_id))
        place.mkdir(parents=True, exist_ok=True)
        room, witness = self.room(), self.witness()
        witness.prove()  # what a broken device learns and judges is worth nothing
        with self.device:
            pace.check()
            taught = teach(run, lessons, self.runs.checkpoint(run.run_id), room, place, pace, self._keeper(held))
        witness.prove()
        pace.stage("reporting", 0)
        active = room.prompts.active(run.backbone)
        gate = told_of(taught.gate, run.parent, active.prompt_id if active else None)
        report = report_of(run, taught, gate, room.prompts.find(run.parent).name)
        record = self._patiently(
            lambda: self.claims.finish(
                held,
                candidate_of(taught),
                passed=gate.passed,
                metrics=metrics_of(run, taught, gate),
                report=report,
                reasons=gate.reasons,
                activate=run.config.activate,
            )
        )
        prompt_id = prompt_id_of(taught.prompt.sha256)
        if record is None and self.runs.get(run.run_id).prompt_id != prompt_id:  # else the answer alone was lost
            raise Stopped(Why.LOST)
        log.info("training run %d %s: prompt %s", run.run_id, gate.word, prompt_id)
        clear_run(self._folder_of(run))
        self._vouch(run, witness, prompt_id)
        prune_features(self.folder / FEATURES, run.started_at or run.created_at, datetime.now(UTC))

    def _vouch(self, run: TrainingRun, witness: Witness, prompt_id: PromptId) -> None:
        """What workers are to answer with the candidate, so that none has to be the first. The run has ended."""
        try:
            self._patiently(lambda: witness.vouch(prompt_id))
        except ModerationError as error:
            log.warning("training run %d: no canary answers are recorded of %s: %s", run.run_id, prompt_id, error)
        except Exception:
            log.exception("training run %d: no canary answers are recorded of %s", run.run_id, prompt_id)

    def _stopped(self, held: Held, why: Why) -> None:
        run_id = held.run.run_id
        log.info("training run %d stops: %s", run_id, why)
        if why is Why.CANCELLED:
            self._patiently(lambda: self.claims.cancelled(held))
            clear_run(self._folder_of(held.run))
        elif why is Why.GIVEN_BACK:
            self._patiently(lambda: self.claims.release(held))

    def _keeper(self, held: Held) -> Callable[[bytes], None]:
        """Keeps a checkpoint; one that can't be kept now is made up for by the next."""

        def keep(checkpoint: bytes) -> None:
            try:
                if not self.claims.keep_checkpoint(held, checkpoint):
                    raise Stopped(Why.LOST)
            except ServiceDown as error:
                log.warning("training run %d: this epoch is not kept: %s", held.run.run_id, error)

        return keep

    def _folder_of(self, run: TrainingRun) -> Path:
        """The run's own, also where several databases number their runs from 1."""
        return self.folder / f"retrain-{run.run_id}-{run.manifest_sha256[:8]}"

    def _patiently(self, call: Callable[[], T]) -> T:
        """`call`, tried again with growing pauses while SQL is away. Raises ServiceDown in the end."""
        tries = Retrying(
            retry=retry_if_exception_type(ServiceDown),
            wait=wait_random_exponential(multiplier=0.2, max=2.0),
            stop=stop_after_delay(self.patience_s),
            reraise=True,
        )
        return tries(call)
