"""Witness: what prompts say of the canary pictures in this process, beside what is on record, and who may record it.

What is recorded is what all others are measured by. So where other answers of this kind of machine are known, a process
first gives those again, and records nothing where it can't.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from moderation.domain.canary import Asked, Known, Machine, Moved, find_moved
from moderation.domain.prompt import PromptId
from moderation.errors import CanaryFailed, ConfigurationError, ImageRejected, ServiceDown
from moderation.flows.scanning.looker import Picture
from moderation.images.canary import NAMES, pictures, pictures_sha256
from moderation.storage.registry.canaries import Canaries

if TYPE_CHECKING:
    from moderation.detector import Detector

log = logging.getLogger(__name__)
T = TypeVar("T")

_REVISION_CHARS = 80


@dataclass(frozen=True, slots=True)
class Checked:
    """All pictures were answered as they were before, or for the first time (`is_first`)."""

    prompt_id: str
    answers: tuple[float, ...]
    is_first: bool


@dataclass(frozen=True)
class Witness:
    """One process. prepare: a file's bytes and a number of native crops to a picture. detector: of a registered prompt.

    shipped: answers that came with the package. tolerance: how far P(fake) may move. worker: its name, for the record.
    device: held while it is used.
    """

    prepare: Callable[[bytes, int], Picture]
    detector: Callable[[PromptId], Detector]
    canaries: Canaries
    backbone_revision: str
    machine: Machine
    shipped: Sequence[Known]
    tolerance: float
    worker: str
    device: threading.Lock = field(default_factory=threading.Lock)

    def check(self, prompt_id: PromptId, results: Sequence[object]) -> Checked:
        """Compares what this prompt said of the pictures; recorded where nothing of this kind of machine is known.

        Raises CanaryFailed, also where this process must not record; ServiceDown.
        """
        asked, answers = self._asked(prompt_id), [_probability(result) for result in results]
        is_known = any(known.machine == self.machine for known in self._known(asked))
        is_proven = not is_known and self.prove(apart_from=prompt_id)
        return self._settle(asked, answers, is_proven=is_proven)

    def vouch(self, prompt_id: PromptId) -> bool:
        """Records what a new prompt says, so that no worker has to be the first. Returns whether it is on record.

        Only where this process proved itself: there is then a record that it agrees with. Raises as `check`.
        """
        if not self.prove(apart_from=prompt_id):
            return False
        asked, detector = self._asked(prompt_id), self.detector(prompt_id)
        self._settle(asked, self._answers(detector), is_proven=True)
        return True

    def prove(self, *, apart_from: PromptId | None = None) -> bool:
        """Asks the prompt whose answers on this kind of machine were recorded last; False where there is none.

        Raises CanaryFailed where this process answers otherwise.
        """
        for prompt_id, detector in self._proven():
            if prompt_id == apart_from:
                continue
            try:
                self._compare(self._asked(prompt_id), self._answers(detector), is_proven=True)
            except CanaryFailed as error:
                if apart_from is None:
                    raise
                problem = f"nothing is known of {apart_from} here, so {prompt_id} was asked first: {error.problem}"
                raise CanaryFailed(problem, prompt_id=prompt_id, data=error.data) from error
            return True
        return False

    def _proven(self) -> Iterator[tuple[PromptId, Detector]]:
        """Prompts with answers of this kind of machine that can be asked, the last recorded first, shipped ones last.

        A record of a prompt that is damaged or not registered proves nothing.
        """
        revision, shown = shortened(self.backbone_revision), pictures_sha256()
        for known in [*self.canaries.list(), *self.shipped]:
            asked = known.asked
            if known.machine != self.machine or (asked.backbone_revision, asked.pictures) != (revision, shown):
                continue
            try:
                yield PromptId(asked.prompt_id), self.detector(PromptId(asked.prompt_id))
            except ConfigurationError as error:
                log.info("canary: prompt %s can't be asked: %s", asked.prompt_id, error.problem)

    def _answers(self, detector: Detector) -> list[float | None]:
        def score() -> Sequence[object]:
            views = [self.prepare(data, detector.native_crops).views for data in pictures()]
            with self.device:
                return detector.score(views, [""] * len(views))

        return [_probability(result) for result in guarded(score)]

    def _settle(self, asked: Asked, answers: Sequence[float | None], *, is_proven: bool) -> Checked:
        self._compare(asked, answers, is_proven=is_proven)
        firm = tuple(answer for answer in answers if answer is not None)
        is_first = not any(known.machine == self.machine for known in self.canaries.known(asked))
        if is_first and not self.canaries.record(Known(asked, self.machine, firm, self.worker)):
            is_first = False
            self._compare(asked, answers, is_proven=is_proven)  # another process was faster
        return Checked(asked.prompt_id, firm, is_first)

    def _compare(self, asked: Asked, answers: Sequence[float | None], *, is_proven: bool) -> None:
        """Another kind of machine is asked only where nothing of this one is known: a steep prompt differs by kind."""
        known = self._known(asked)
        own = [each for each in known if each.machine == self.machine]
        beside = own or ([] if is_proven else known)
        moved = find_moved(NAMES, answers, beside, self.machine, self.tolerance)
        if moved is not None:
            raise _failure(moved, asked.prompt_id)

    def _known(self, asked: Asked) -> list[Known]:
        return [*self.canaries.known(asked), *(each for each in self.shipped if each.asked == asked)]

    def _asked(self, prompt_id: PromptId) -> Asked:
        return Asked(prompt_id, shortened(self.backbone_revision), pictures_sha256())


def guarded(score: Callable[[], T]) -> T:
    """`score`, for which a device that gives up is a canary that failed.

    Raises CanaryFailed; ServiceDown and ConfigurationError where nothing can be said.
    """
    try:
        return score()
    except (ServiceDown, ConfigurationError):
        raise
    except Exception as error:
        log.exception("the canary pictures could not be scored")
        raise CanaryFailed(f"they could not be scored: {type(error).__name__}: {error}") from error


def shortened(revision: str) -> str:
    """A backbone's revision as the table holds it: that of a backbone with another language model is long."""
    if len(revision) <= _REVISION_CHARS:
        return revision
    return hashlib.sha256(revision.encode()).hexdigest()


def _probability(result: object) -> float | None:
    value = None if isinstance(result, ImageRejected) else getattr(result, "probability", None)
    return float(value) if value is not None and math.isfinite(value) else None


def _failure(moved: Moved, prompt_id: str) -> CanaryFailed:
    data = {"prompt": prompt_id, "picture": moved.picture, "was": moved.was, "now": moved.now, "allowed": moved.allowed}
    return CanaryFailed(str(moved), prompt_id=prompt_id, data=data)
