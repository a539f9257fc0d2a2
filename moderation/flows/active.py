"""The active prompt: one backbone, and whatever pseudo-word is active for it, read anew before each batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moderation.detector import Backbone, Detector, Score, SoftPrompt
from moderation.domain.claim import ScoredBy
from moderation.domain.prompt import PromptId, PromptRecord
from moderation.errors import ConfigurationError, ImageRejected
from moderation.images import Views
from moderation.storage.prompts import Prompts

log = logging.getLogger(__name__)

_IMPORT = "import one: modctl prompt import FILE --activate (for the miniature: modctl db upgrade)"


@dataclass(frozen=True)
class ActiveScorer:
    """A detector that knows what its scores are to be recorded as."""

    detector: Detector
    by: ScoredBy

    @property
    def native_crops(self) -> int:
        """How many native crops of each picture it looks at."""
        return self.detector.native_crops

    def score(self, views: Sequence[Views], sources: Sequence[str]) -> Sequence[Score | ImageRejected]:
        """One result a picture, in order."""
        return self.detector.score(views, sources)


class ActivePrompt:
    """Gives the scorer to use now. Keep `scorer` to one thread at a time: the one that holds the device."""

    def __init__(self, backbone: Backbone, prompts: Prompts, versions: Mapping[str, str]) -> None:
        self._backbone = backbone
        self._prompts = prompts
        self._versions = versions
        self._scorer: ActiveScorer | None = None

    def scorer(self) -> ActiveScorer:
        """The active prompt's scorer. A new prompt that can't be used is refused loudly and the last good one stays.

        Raises ConfigurationError when there is no usable prompt at all, ServiceDown when SQL does not answer.
        """
        record = self._prompts.active(self._backbone.name)
        if record is None and self._scorer is None:
            raise no_active_prompt(self._backbone.name)
        if record is not None and (self._scorer is None or record.prompt_id != self._scorer.by.prompt_id):
            self._scorer = self._swap(record)
        if self._scorer is None:  # cannot be, but says so to the type checker
            raise no_active_prompt(self._backbone.name)
        return self._scorer

    def native_crops(self) -> int:
        """How many native crops the prompt last in use looks at; for any thread, and without a look into SQL."""
        scorer = self._scorer
        return 0 if scorer is None else scorer.native_crops

    def _swap(self, record: PromptRecord) -> ActiveScorer:
        try:
            scorer = self._load(record)
        except ConfigurationError as error:
            if self._scorer is None:
                raise
            log.error("prompt %s can't be used, %s stays: %s", record.prompt_id, self._scorer.by.prompt_id, error)
            return self._scorer
        log.info("prompt %s (%s) is in use", record.prompt_id, record.name)
        return scorer

    def _load(self, record: PromptRecord) -> ActiveScorer:
        prompt = SoftPrompt.from_bytes(self._prompts.blob(record.prompt_id), sha256=record.sha256)
        versions = {
            **self._versions,
            "backbone_revision": self._backbone.revision,
            "calibration": prompt.calibration.described,
            "looks": prompt.looks,
        }
        return ActiveScorer(
            detector=Detector(self._backbone, prompt),
            by=ScoredBy(PromptId(record.prompt_id), self._backbone.name, versions),
        )


def no_active_prompt(backbone: str, hint: str = _IMPORT) -> ConfigurationError:
    """The error for a backbone nobody tuned or imported a prompt for."""
    return ConfigurationError("prompt", f"no prompt is active for the backbone {backbone}", hint=hint)
