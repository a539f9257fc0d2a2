"""What the terminal shows of a training run: the gate's table without the slices that say nothing alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from moderation.cli.retrain.view import print_run
from moderation.domain.prompt import PromptId
from moderation.domain.training_run import RunConfig, RunId, RunState, TrainingRun
from moderation.evaluation.gate_result import GateLine, GateResult

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LINE = GateLine("replay", "all", 60, 30, 30, 30, 0, 0, 0.9, 0.9, None, 0.9, 0.9, None, 0, 0, 1.0)


def run(*lines: GateLine) -> TrainingRun:
    gate = GateResult(True, ("replay: no worse",), lines, 0.01, 42, 100)
    facts: dict[str, Any] = {
        "backbone": "miniature", "parent": PromptId("0" * 12), "config": RunConfig("new", 42, 0.01),
        "manifest_sha256": "", "progress": {}, "error": "", "attempts": 1, "cancel_requested": False,
        "lease_until": None, "actor": "eve", "reason": "", "created_at": NOW, "started_at": NOW, "finished_at": NOW,
    }  # fmt: skip
    return TrainingRun(
        run_id=RunId(1), state=RunState.PASSED, prompt_id=PromptId("1" * 12), metrics={"gate": gate.to_json()}, **facts
    )


def test_slices_that_say_nothing_alone_are_counted_and_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    few, enough = replace(LINE, slice="generator=rare", n_fake=3), replace(LINE, slice="generator=often")
    print_run(run(LINE, few, enough))
    shown = capsys.readouterr().out
    assert "generator=often" in shown
    assert "generator=rare" not in shown
    assert "not shown: 1 slice of fewer than 20 images, too few to say; the report has them" in shown


def test_an_open_run_says_in_words_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    progress = {"stage": "expert", "done": 11, "total": 0}
    print_run(replace(run(LINE), state=RunState.RUNNING, prompt_id=None, progress=progress))
    assert "running, pixel expert 11\n" in capsys.readouterr().out


def test_a_whole_part_is_listed_however_small_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_run(run(replace(LINE, n=3)))
    assert "replay  all" in capsys.readouterr().out
