"""Following a training run without a terminal: a line for each stage and epoch, and no figures of an earlier stage."""

from __future__ import annotations

from typing import cast

import pytest

from moderation.cli.retrain import follow
from moderation.domain.training_run import TrainingRun

WORD = {"epoch": 2, "loss": 0.7, "validation_loss": 0.61, "validation_auc": 0.67}


class _Run:
    """The part of a run that is shown."""

    is_open, state, cancel_requested = True, "running", False

    def __init__(self, **progress: object) -> None:
        self.progress = progress


def test_each_stage_tells_of_its_own_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    tell = follow._lines()
    steps = [
        _Run(), _Run(stage="tuning", done=4, total=9), _Run(stage="tuning", done=5, total=9, **WORD),
        _Run(stage="tuning", done=6, total=9, **WORD), _Run(stage="expert", done=0, total=0, **WORD),
        _Run(stage="expert", done=1, total=0, **WORD), _Run(stage="judging", done=64, total=299, **WORD),
    ]  # fmt: skip
    for run in steps:
        tell(cast("TrainingRun", run))
    assert capsys.readouterr().err.splitlines() == [
        "starting", "tuning", "tuning: epoch 2, val 0.610, AUC 0.670", "pixel expert", "pixel expert: epoch 1",
        "judging",
    ]  # fmt: skip
