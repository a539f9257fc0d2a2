"""The prompts in use: one backbone, the pseudo-word that is active for it and its shadow, read anew before each batch.

A shadow is judged beside the active prompt, on the same pictures. It decides nothing, and nothing that is wrong with it
keeps the active one from scoring.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from moderation.detector import Backbone, Detector, Score, score_together
from moderation.domain.claim import ScoredBy
from moderation.domain.prompt import PromptId, PromptRecord
from moderation.errors import ConfigurationError, ImageRejected, RejectReason, ServiceDown
from moderation.flows.scanning.loaded import Loaded, LoadedPrompts, Refused
from moderation.flows.scanning.looker import Scores
from moderation.images import Views
from moderation.storage.registry.prompts import Prompts

log = logging.getLogger(__name__)

_IMPORT = "import one: modctl prompt import FILE --activate (for the miniature: modctl db upgrade)"


@dataclass(frozen=True)
class Shadow:
    """The shadow's detector, what its scores are recorded as, and whom to tell when it fails."""

    detector: Detector
    by: ScoredBy
    fail: Callable[[Exception], None]


@dataclass(frozen=True)
class ActiveScorer:
    """A detector that knows what its scores are to be recorded as, and the shadow that looks with it."""

    detector: Detector
    by: ScoredBy
    shadow: Shadow | None = None

    @property
    def native_crops(self) -> int:
        """How many native crops of each picture it looks at, its shadow too."""
        beside = self.shadow.detector.native_crops if self.shadow else 0
        return max(self.detector.native_crops, beside)

    def score(self, views: Sequence[Views], sources: Sequence[str]) -> Sequence[Score | ImageRejected]:
        """The active prompt's results, one a picture, in order."""
        return self.detector.score(views, sources)

    def score_all(
        self, views: Sequence[Views], sources: Sequence[str], *, beside: bool = True
    ) -> tuple[Scores, Scores | None]:
        """The active prompt's results and the shadow's, from one vision pass; the shadow's are None where it fails.

        beside: whether the shadow is wanted.
        """
        if self.shadow is None or not beside:
            return Scores(self.by, self.score(views, sources)), None
        try:
            own, other = score_together([self.detector, self.shadow.detector], views, sources)
            if not any(map(_is_too_large, own)):
                return Scores(self.by, own), Scores(self.shadow.by, other)
            problem: Exception = MemoryError("the device has no room for it beside the active prompt")
        except Exception as error:  # noqa: BLE001 - whatever it is, the active prompt is asked alone
            problem = error
        alone = self.score(views, sources)
        if not any(map(_is_too_large, alone)):
            self.shadow.fail(problem)
        return Scores(self.by, alone), None


class ActivePrompt:
    """Gives the scorer to use now. Keep `scorer` to one thread at a time: the one that holds the device."""

    def __init__(
        self,
        backbone: Backbone,
        prompts: Prompts,
        versions: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backbone = backbone
        self._prompts = prompts
        self._loader = LoadedPrompts(backbone, prompts, versions, clock=clock)
        self._active: Loaded | None = None
        self._shadow_id: PromptId | None = None
        self._native_crops = 0

    def scorer(self) -> ActiveScorer:
        """The active prompt's scorer. A new prompt that can't be used is refused loudly and the last good one stays.

        Raises ConfigurationError when there is no usable prompt at all, ServiceDown when SQL does not answer.
        """
        found = self._prompts.in_use(self._backbone.name)
        self._active = active = self._next_active(found.active)
        shadow = self._find_shadow(found.shadow, active, found.read_at)
        used = [record.prompt_id for record in (found.active, found.shadow) if record is not None]
        self._loader.forget_all_but(used)
        scorer = ActiveScorer(active.detector, replace(active.by, scored_at=found.read_at), shadow)
        self._native_crops = scorer.native_crops
        return scorer

    @property
    def last_used(self) -> str | None:
        """The prompt last in use; for any thread, and without a look into SQL."""
        active = self._active
        return active.by.prompt_id if active else None

    def native_crops(self) -> int:
        """How many native crops the prompts last in use look at; for any thread, and without a look into SQL."""
        return self._native_crops

    def _next_active(self, record: PromptRecord | None) -> Loaded:
        before = self._active
        if record is None:
            if before is None:
                raise no_active_prompt(self._backbone.name)
            return before
        if before is not None and record.prompt_id == before.by.prompt_id:
            return before
        found = self._loader.get(record)
        if isinstance(found, Loaded):
            log.info("prompt %s (%s) is in use", record.prompt_id, record.name)
            return found
        if before is None:
            raise found.error
        if found.is_news:
            log.error("prompt %s can't be used, %s stays: %s", record.prompt_id, before.by.prompt_id, _told(found))
        return before

    def _find_shadow(self, record: PromptRecord | None, active: Loaded, read_at: datetime) -> Shadow | None:
        """The shadow, loaded; None where there is none or it can't be used, whatever the reason."""
        found = self._load_shadow(record, active)
        shadow_id = record.prompt_id if record is not None and found is not None else None
        if shadow_id != self._shadow_id:
            log.info("prompt %s is the shadow" if shadow_id else "prompt %s is the shadow no more",
                     shadow_id or self._shadow_id)  # fmt: skip
            self._shadow_id = shadow_id
        if record is None or found is None:
            return None
        fail = partial(self._shadow_failed, record.prompt_id)
        return Shadow(found.detector, replace(found.by, scored_at=read_at), fail)

    def _load_shadow(self, record: PromptRecord | None, active: Loaded) -> Loaded | None:
        if record is None or record.prompt_id == active.by.prompt_id:  # a last good one that now is the shadow, too
            return None
        try:
            found = self._loader.get(record)
        except ServiceDown as error:
            log.warning("shadow prompt %s can't be read now: %s", record.prompt_id, error)
            return None
        if isinstance(found, Loaded):
            return found
        if found.is_news:
            log.error("shadow prompt %s can't be used, scanning goes on without: %s", record.prompt_id, _told(found))
        return None

    def _shadow_failed(self, prompt_id: PromptId, error: Exception) -> None:
        found = self._loader.refuse(prompt_id, error)
        if found.is_news:
            log.error("shadow prompt %s failed, scanning goes on without: %s", prompt_id, _told(found))


def no_active_prompt(backbone: str, hint: str = _IMPORT) -> ConfigurationError:
    """The error for a backbone nobody tuned or imported a prompt for."""
    return ConfigurationError("prompt", f"no prompt is active for the backbone {backbone}", hint=hint)


def _told(refused: Refused) -> str:
    """The error for a log: a defect is named by its class."""
    error = refused.error
    return str(error) if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}"


def _is_too_large(result: Score | ImageRejected) -> bool:
    return isinstance(result, ImageRejected) and result.reason is RejectReason.OUT_OF_MEMORY
