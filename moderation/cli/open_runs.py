"""The loop's runs that have not ended, for the commands that say where things stand: a line each, or as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderation.domain.rescore import RescoreRun
    from moderation.domain.training_run import TrainingRun
    from moderation.wiring import Wiring


@dataclass(frozen=True, slots=True)
class OpenRuns:
    """Runs that are queued or under way, the newest first."""

    training: list[TrainingRun]
    rescoring: list[RescoreRun]

    def facts(self) -> dict[str, str]:
        """A line each, by name; nothing where there is none."""
        from moderation.cli.rescore import view as rescore
        from moderation.cli.retrain import view as retrain

        return {
            **{f"training run {run.run_id}": retrain.standing(run) for run in self.training},
            **{f"rescoring run {run.run_id}": rescore.standing(run) for run in self.rescoring},
        }

    def to_json(self) -> dict[str, list[Any]]:
        """All that is known of them, by kind."""
        return {"training": self.training, "rescoring": self.rescoring}


def open_runs(wiring: Wiring) -> OpenRuns:
    """Those of all backbones and prompts. Raises ServiceDown."""
    return OpenRuns(wiring.training_runs.list(only_open=True), wiring.rescores.list(only_open=True))
