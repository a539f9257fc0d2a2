"""Prompts of the registry as detectors on one backbone: each is loaded once, and one that can't be used is told once.

A refused prompt is not read again with every batch; but after a while it is, so that one that was mended is taken up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from moderation.detector import Backbone, Detector, SoftPrompt
from moderation.domain.claim import ScoredBy
from moderation.domain.prompt import PromptId, PromptRecord
from moderation.errors import ServiceDown
from moderation.storage.registry.prompts import Prompts

LOOK_AGAIN_S = 10.0


@dataclass(frozen=True)
class Loaded:
    """A prompt on the backbone, and what its scores are to be recorded as."""

    detector: Detector
    by: ScoredBy


@dataclass(frozen=True)
class Refused:
    """A prompt that can't be used now. `is_news`: that it can't for this reason was not told yet."""

    error: Exception
    is_news: bool


class LoadedPrompts:
    """The prompts in use. For one thread at a time: the one that holds the device."""

    def __init__(
        self,
        backbone: Backbone,
        prompts: Prompts,
        versions: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: seconds that only rise."""
        self._backbone = backbone
        self._prompts = prompts
        self._versions = versions
        self._clock = clock
        self._loaded: dict[PromptId, Loaded] = {}
        self._refused: dict[PromptId, tuple[Exception, float]] = {}
        self._told: set[tuple[PromptId, str]] = set()

    def get(self, record: PromptRecord) -> Loaded | Refused:
        """The prompt's detector, loaded where it was not. Raises ServiceDown."""
        prompt_id = record.prompt_id
        if prompt_id in self._loaded:
            return self._loaded[prompt_id]
        error, until = self._refused.get(prompt_id, (None, 0.0))
        if error is not None and self._clock() < until:
            return Refused(error, is_news=False)
        try:
            self._loaded[prompt_id] = self._load(record)
        except ServiceDown:
            raise
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with it, the last good prompt still works
            return self.refuse(prompt_id, problem)
        self._refused.pop(prompt_id, None)
        return self._loaded[prompt_id]

    def refuse(self, prompt_id: PromptId, error: Exception) -> Refused:
        """Leaves the prompt alone for a while."""
        self._loaded.pop(prompt_id, None)
        self._refused[prompt_id] = (error.with_traceback(None), self._clock() + LOOK_AGAIN_S)
        is_news = (prompt_id, str(error)) not in self._told
        self._told.add((prompt_id, str(error)))
        return Refused(error, is_news)

    def forget_all_but(self, prompt_ids: Collection[PromptId]) -> None:
        """Frees the memory of the others; a refused one that comes back into use is told again."""
        self._loaded = {key: loaded for key, loaded in self._loaded.items() if key in prompt_ids}
        self._refused = {key: refusal for key, refusal in self._refused.items() if key in prompt_ids}
        self._told = {(key, problem) for key, problem in self._told if key in prompt_ids}

    def _load(self, record: PromptRecord) -> Loaded:
        prompt = SoftPrompt.from_bytes(self._prompts.blob(record.prompt_id), sha256=record.sha256)
        versions = {
            **self._versions,
            "backbone_revision": self._backbone.revision,
            "calibration": prompt.calibration.described,
            "looks": prompt.looks,
        }
        return Loaded(Detector(self._backbone, prompt), ScoredBy(record.prompt_id, self._backbone.name, versions))
