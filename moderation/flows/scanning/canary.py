"""The canary check: known pictures through the whole way of any other, and their answers beside those on record.

The first worker on a kind of machine records its answers; those of other kinds, and those that ship with the package,
are checked roughly, or exactly where the kind is the same.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from moderation.domain.canary import Asked, Known, Machine, Moved, find_moved
from moderation.errors import CanaryFailed, ConfigurationError, ImageRejected, ServiceDown
from moderation.flows.scanning.looker import Looker, Picture, Scores
from moderation.images.canary import NAMES, pictures, pictures_sha256
from moderation.storage.registry.canaries import Canaries

log = logging.getLogger(__name__)

_REVISION_CHARS = 80


@dataclass(frozen=True, slots=True)
class Checked:
    """All pictures were answered as they were before, or for the first time (`is_first`)."""

    prompt_id: str
    answers: tuple[float, ...]
    is_first: bool


@dataclass(frozen=True)
class Canary:
    """One worker's check of itself. prepare: a file's bytes and a number of native crops to a picture.

    shipped: answers that came with the package. tolerance: how far P(fake) may move.
    """

    prepare: Callable[[bytes, int], Picture]
    looker: Looker
    canaries: Canaries
    backbone_revision: str
    machine: Machine
    shipped: Sequence[Known]
    tolerance: float
    worker: str

    def check(self) -> Checked:
        """Scores the pictures by the active prompt while holding the device, and compares.

        Raises CanaryFailed; ServiceDown and ConfigurationError where nothing can be said.
        """
        try:
            found = self._score()
        except (ServiceDown, ConfigurationError):
            raise
        except Exception as error:
            log.exception("the canary pictures could not be scored")
            raise CanaryFailed(f"they could not be scored: {type(error).__name__}: {error}") from error
        asked = Asked(found.by.prompt_id, shortened(self.backbone_revision), pictures_sha256())
        answers = [_probability(result) for result in found.results]
        self._compare(asked, answers)
        firm = tuple(answer for answer in answers if answer is not None)
        is_first = not any(known.machine == self.machine for known in self.canaries.known(asked))
        if is_first and not self.canaries.record(Known(asked, self.machine, firm, self.worker)):
            is_first = False
            self._compare(asked, answers)  # another worker was faster
        return Checked(asked.prompt_id, firm, is_first)

    def report(self, error: CanaryFailed, **more: str) -> None:
        """Writes the event; a database that is away keeps no worker from stopping."""
        with suppress(ServiceDown):
            payload = {
                "worker": self.worker,
                "problem": error.problem,
                "device": self.machine.device,
                "dtype": self.machine.dtype,
                "backbone_revision": self.backbone_revision,
                **error.data,
                **more,
            }
            self.canaries.failed(payload, worker=self.worker, reason=error.problem)

    def _compare(self, asked: Asked, answers: Sequence[float | None]) -> None:
        known = [*self.canaries.known(asked), *(each for each in self.shipped if each.asked == asked)]
        moved = find_moved(NAMES, answers, known, self.machine, self.tolerance)
        if moved is not None:
            raise _failure(moved, asked.prompt_id)

    def _score(self) -> Scores:
        crops = self.looker.native_crops()
        while True:
            views = [self.prepare(data, crops).views for data in pictures()]
            with self.looker.device:
                scorer = self.looker.scorer()
                if scorer.native_crops <= crops:
                    return scorer.score_all(views, [""] * len(views))[0]
            crops = scorer.native_crops


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
