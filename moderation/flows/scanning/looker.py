"""See: from claimed images to scores. Fetches what the prompt wants to see, then scores it while holding the device.

A score is always that of the prompt that was active when it was made; one that wants more crops than were fetched gets
them first. A shadow prompt looks at the same pictures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from moderation.domain.claim import ClaimedImage, Outcome, Postponed, Rejected, ScoredBy
from moderation.domain.image import ImageFacts
from moderation.domain.submission import ImageId, retry_delay_s
from moderation.errors import ImageRejected, ImageUnavailable, RejectReason
from moderation.flows.scanning.turns import Halt
from moderation.images import Views


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture ready for the detector."""

    facts: ImageFacts
    views: Views


class Score(Protocol):
    """margin: logit(no) - logit(yes); probability: calibrated P(fake) in 0..1."""

    @property
    def margin(self) -> float: ...
    @property
    def probability(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Scores:
    """What one prompt says of the pictures of a batch: one result a picture, in order."""

    by: ScoredBy
    results: Sequence[Score | ImageRejected]


class Scorer(Protocol):
    """The detector with the prompt that is active now."""

    @property
    def by(self) -> ScoredBy:
        """What the active prompt's scores are recorded as."""
        ...

    @property
    def native_crops(self) -> int:
        """How many native crops of each picture it looks at, its shadow too."""
        ...

    def score_all(
        self, views: Sequence[Views], sources: Sequence[str], *, beside: bool = True
    ) -> tuple[Scores, Scores | None]:
        """What the active prompt says, and its shadow if it has one and `beside` asks for it."""
        ...


@dataclass(frozen=True, slots=True)
class Looked:
    """Pictures and what was found of each, by whom, and when each stage ended: time.monotonic() in seconds.

    `shadow`: what the shadow prompt says of the same pictures.
    """

    pictures: Sequence[tuple[ClaimedImage, Picture]]
    results: Sequence[Score | ImageRejected]
    by: ScoredBy | None
    ready: float
    started: float
    ended: float
    shadow: Scores | None = None


@dataclass(frozen=True)
class Looker:
    """`fetch` gives a picture with so many native crops, or raises ImageRejected or ImageUnavailable.

    `native_crops` says how many the active prompt is thought to look at; `scorer` gives the detector that is active,
    asked for while the device is held.
    """

    fetch: Callable[[ImageId, int], Picture]
    native_crops: Callable[[], int]
    scorer: Callable[[], Scorer]
    fetchers: Executor
    max_attempts: int
    retry_base_s: float
    device: threading.Lock = field(default_factory=threading.Lock)
    halt: Halt = field(default_factory=Halt)

    def look(self, images: Sequence[ClaimedImage], *, beside: bool = True) -> tuple[list[Outcome], Looked]:
        """What could not be fetched, and the scores of the rest, by the prompt that is active when they are scored.

        beside: whether a shadow prompt is to look, too. Raises CanaryFailed where this worker must not score, as soon
        as that is known.
        """
        outcomes: list[Outcome] = []
        crops = self.native_crops()
        while True:
            fetched = zip(images, self.fetchers.map(partial(self._fetch, crops=crops), images), strict=True)
            pictures = []
            for image, found in fetched:
                if isinstance(found, Picture):
                    pictures.append((image, found))
                else:
                    outcomes.append(found)
            ready = time.monotonic()
            if not pictures:
                return outcomes, Looked([], [], None, ready, ready, ready)
            with self.device:
                self.halt.check()
                started = time.monotonic()
                scorer = self.scorer()
                if scorer.native_crops <= crops:
                    views = [picture.views for _, picture in pictures]
                    sources = [image.source for image, _ in pictures]
                    scores, shadow = scorer.score_all(views, sources, beside=beside)
                    ended = time.monotonic()
                    self.halt.check()
                    return outcomes, Looked(pictures, scores.results, scores.by, ready, started, ended, shadow)
            # A prompt that wants to see more became active meanwhile: rare, and no reason to hold the device.
            crops, images = scorer.native_crops, [image for image, _ in pictures]

    def _fetch(self, image: ClaimedImage, crops: int) -> Picture | Rejected | Postponed:
        try:
            return self.fetch(image.image_id, crops)
        except ImageRejected as error:
            return Rejected(image, error.reason, error.detail)
        except ImageUnavailable as error:
            if image.attempts >= self.max_attempts:
                return Rejected(image, RejectReason.GAVE_UP, f"{image.attempts} tries, the last: {error.detail}")
            return Postponed(image, retry_delay_s(image.image_id, image.attempts, self.retry_base_s), error.detail)
