"""The canary check of a worker: known pictures through the whole way of any other, by the prompt that is active.

Their answers are compared with those on record, or recorded where there are none: see `witness`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from moderation.domain.prompt import PromptId
from moderation.errors import CanaryFailed, ServiceDown
from moderation.flows.scanning.looker import Looker, Scores
from moderation.flows.scanning.witness import Checked, Witness, guarded
from moderation.images.canary import pictures


@dataclass(frozen=True)
class Canary:
    """One worker's check of itself. witness: what compares and records, on the device of `looker`."""

    looker: Looker
    witness: Witness

    def check(self) -> Checked:
        """Scores the pictures by the active prompt while holding the device, and compares.

        Raises CanaryFailed; ServiceDown and ConfigurationError where nothing can be said.
        """
        found = guarded(self._score)
        return self.witness.check(PromptId(found.by.prompt_id), found.results)

    def report(self, error: CanaryFailed, **more: str) -> None:
        """Writes the event; a database that is away keeps no worker from stopping."""
        me = self.witness
        with suppress(ServiceDown):
            payload = {
                "worker": me.worker,
                "problem": error.problem,
                "device": me.machine.device,
                "dtype": me.machine.dtype,
                "backbone_revision": me.backbone_revision,
                **error.data,
                **more,
            }
            me.canaries.failed(payload, worker=me.worker, reason=error.problem)

    def _score(self) -> Scores:
        crops = self.looker.native_crops()
        while True:
            views = [self.witness.prepare(data, crops).views for data in pictures()]
            with self.looker.device:
                scorer = self.looker.scorer()
                if scorer.native_crops <= crops:
                    return scorer.score_all(views, [""] * len(views))[0]
            crops = scorer.native_crops
