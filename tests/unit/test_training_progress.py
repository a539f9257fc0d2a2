"""What a run shows, and how it is stopped."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from moderation.errors import ConfigurationError
from moderation.training.progress import Interrupt, TensorBoard, check_tensorboard, counter, screen
from moderation.training.state import Row

ROW = Row(1, 3, loss=0.5, validation_loss=0.25, validation_auc=0.875, learning_rate=0.01, seconds=1.5)


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_an_epoch_is_a_line() -> None:
    said: list[str] = []
    console = Console(file=io.StringIO())
    with screen("tuning", 10, said.append, console, members=2) as watcher:
        watcher.step(0.7)
        watcher.epoch(ROW)
    with counter("reading", 3, console) as advance:
        advance(1)
    assert said == ["member 2, epoch 3: loss 0.5000, validation loss 0.2500, AUC 0.875, 1.5 s"]
    assert shown(console) == ""


def test_a_terminal_of_80_columns_shows_loss_auc_and_time_left_whole() -> None:
    console = terminal()
    with screen("tuning", 1200, lambda _: None, console) as watcher:
        watcher.epoch(ROW)
        for _ in range(3):
            watcher.step(0.625)
    text = shown(console)
    assert "3/1200" in text
    assert "loss 0.625, val 0.250, AUC 0.875" in text
    assert "left" in text
    assert "…" not in text


def test_the_first_ctrl_c_asks_and_the_second_ends() -> None:
    said: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with Interrupt(said.append).listening() as interrupt:
        assert not interrupt.asked
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked
        assert "the best so far is kept" in said[0]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_tensorboard_writes_what_was_seen(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]  # it ships no types
        EventAccumulator,
    )

    board = TensorBoard(tmp_path)
    board.step(0.75)
    board.epoch(ROW)
    board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Scalars("loss/step")[0].value == 0.75
    assert events.Scalars("member-1/auc/validation")[0].value == 0.875
    check_tensorboard()


def test_a_missing_tensorboard_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigurationError, match="--tensorboard: TensorBoard is not installed") as refused:
        TensorBoard(tmp_path)
    assert refused.value.hint == "pip install 'antifake-moderation[tensorboard]'"
