"""The loop: what moves and what does not, how it ends, and that a killed run goes on to the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moderation.detector import STATISTICS_150K, Backbone, load_backbone
from moderation.errors import ConfigurationError
from moderation.images import decode
from moderation.training.loader import Batch, Features, Fresh, keep
from moderation.training.objective import class_weights, margin_losses, weighted
from moderation.training.plan import TunePlan
from moderation.training.progress import Interrupt
from moderation.training.run import RunFolder
from moderation.training.start import Word, first_numbers
from moderation.training.state import Row, State
from moderation.training.tune import Outcome, order_of, tune
from moderation.training.validation import validate
from tests import tiny_backbones as tiny
from tests.training_pictures import labelled

PLAN = TunePlan(epochs=4, batch_size=4, lr=0.05, precision="fp32")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


@dataclass
class Watch:
    """Counts, and does something after so many epochs."""

    after: int = 0
    act: Callable[[], None] = lambda: None
    steps: int = 0
    epochs: int = 0

    def step(self, loss: float) -> None:
        self.steps += 1

    def epoch(self, row: Row) -> None:
        self.epochs += 1
        if self.epochs == self.after:
            self.act()


@pytest.fixture(scope="module", params=["llama", "t5"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    make = tiny.llama_folder if request.param == "llama" else tiny.t5_folder
    return load_backbone(str(make(tmp_path_factory.mktemp("backbone") / "model")), device="cpu")


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone, pool: Executor) -> tuple[Features, Features]:
    folder = tmp_path_factory.mktemp("pictures")
    both = (labelled(folder, 6), labelled(folder, 4, first=6))
    train, val = (keep(images, backbone, STATISTICS_150K, lambda data: decode(data)[0], pool, None) for images in both)
    return train, val


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "run", NOW)


def go(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder, plan: TunePlan = PLAN, **given: Any
) -> Outcome:
    word = given.pop("word", None) or Word(backbone, plan, first_numbers(backbone, plan, 0))
    watch, interrupt = given.pop("watch", Watch()), given.pop("interrupt", Interrupt(lambda _: None))
    return tune(word, plan, 0, *halves, run, [watch], interrupt)


def never_said(text: str) -> None:
    pytest.fail(text)


def test_only_the_vectors_move(backbone: Backbone, halves: tuple[Features, Features], run: RunFolder) -> None:
    before = {name: values.clone() for name, values in backbone.model.state_dict().items()}
    word = Word(backbone, PLAN, first_numbers(backbone, PLAN, 0))
    start = {side: values.detach().clone() for side, values in word.parameters.items()}
    outcome = go(backbone, halves, run, word=word)
    assert outcome.why == "done"
    after = backbone.model.state_dict()
    assert all(torch.equal(values, after[name]) for name, values in before.items())
    assert not any(values.requires_grad or values.grad is not None for values in backbone.model.parameters())
    assert not any(module.training for module in backbone.model.modules())
    assert set(word.parameters) == {"qformer", "llm"}
    for side, values in word.parameters.items():
        assert values.grad is not None
        assert values.dtype == torch.float32
        assert not torch.equal(values.detach(), start[side])


@pytest.mark.parametrize("loss", ["margin", "answer"])
def test_it_learns_what_it_is_shown(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder, loss: Any
) -> None:
    outcome = go(backbone, halves, run, replace(PLAN, epochs=8, loss=loss))
    losses = [row.loss for row in outcome.state.history]
    assert losses[-1] < losses[0]
    best = min(outcome.state.history, key=lambda row: row.validation_loss)
    assert (outcome.state.best_epoch, outcome.state.best_loss) == (best.epoch, best.validation_loss)
    assert outcome.numbers is not None
    plan = replace(PLAN, loss=loss)
    again = validate(Word(backbone, plan, outcome.numbers), plan, halves[1])
    assert again.loss == pytest.approx(best.validation_loss, abs=1e-7)
    assert again.auc == best.validation_auc


@pytest.mark.parametrize("sides", ["qformer", "llm"])
def test_one_side_alone(backbone: Backbone, halves: tuple[Features, Features], run: RunFolder, sides: Any) -> None:
    outcome = go(backbone, halves, run, replace(PLAN, epochs=1, sides=sides, tokens=3))
    assert outcome.numbers is not None
    assert {name: values.shape[0] for name, values in outcome.numbers.items()} == {sides: 3}


def test_an_epoch_of_several_passes_sees_what_as_many_epochs_see_and_is_validated_once(
    backbone: Backbone, halves: tuple[Features, Features], tmp_path: Path
) -> None:
    train, val = halves

    class Recorded:
        images, unreadable, read_all = train.images, train.unreadable, train.read_all

        def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
            seen.append((epoch, order))
            return train.batches(order, epoch)

    found = []
    for name, epochs, rounds in (("epochs", 4, None), ("rounds", 2, 2)):
        seen: list[tuple[int, Sequence[Sequence[int]]]] = []
        watch = Watch()
        plan = replace(PLAN, epochs=epochs, rounds=rounds)
        outcome = go(backbone, (Recorded(), val), RunFolder.create(tmp_path, name, NOW), plan, watch=watch)
        assert (watch.epochs, watch.steps) == (epochs, 12)
        found.append((seen, outcome.state.history[-1].learning_rate))
    assert found[0] == found[1]


@pytest.mark.parametrize(("augment", "rounds"), [("none", 1), ("none", 3), ("paper", 1), ("robust", 2)])
def test_a_killed_run_goes_on_to_the_same_numbers(
    backbone: Backbone, halves: tuple[Features, Features], pool: Executor, tmp_path: Path, augment: Any, rounds: int
) -> None:
    plan = replace(PLAN, augment=augment, rounds=rounds)
    if augment != "none":
        images = halves[0].images
        fresh = Fresh(images, backbone, STATISTICS_150K, lambda data: decode(data)[0], pool, augment, plan.seed)
        halves = (fresh, halves[1])
    whole = go(backbone, halves, RunFolder.create(tmp_path, "whole", NOW), plan)

    def kill() -> None:
        raise Killed

    killed = RunFolder.create(tmp_path, "killed", NOW)
    with pytest.raises(Killed):
        go(backbone, halves, killed, plan, watch=Watch(after=2, act=kill))
    torch.manual_seed(99)  # another process has another generator
    assert killed.load_state(0)[0].epochs == 2
    watch = Watch()
    resumed = go(backbone, halves, killed, plan, watch=watch)
    assert watch.epochs == 2
    assert whole.numbers is not None
    assert resumed.numbers is not None
    assert all(torch.equal(values, resumed.numbers[name]) for name, values in whole.numbers.items())
    plain = [replace(row, seconds=0) for row in whole.state.history]
    assert [replace(row, seconds=0) for row in resumed.state.history] == plain


def test_dropout_draws_leave_other_generators_alone(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    go(backbone, halves, run, replace(PLAN, epochs=1))
    assert torch.equal(torch.rand(1), expected)


def test_an_interrupt_keeps_the_best_before_it(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder
) -> None:
    interrupt = Interrupt(never_said)
    watch = Watch(after=2, act=interrupt.ask)
    outcome = go(backbone, halves, run, interrupt=interrupt, watch=watch)
    assert (outcome.why, outcome.state.epochs, watch.epochs) == ("interrupted", 2, 2)
    assert outcome.numbers is not None


def test_an_interrupt_within_the_first_epoch_keeps_what_there_is(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder
) -> None:
    class Impatient(Watch):
        def step(self, loss: float) -> None:
            super().step(loss)
            interrupt.ask()

    interrupt, watch = Interrupt(never_said), Impatient()
    outcome = go(backbone, halves, run, interrupt=interrupt, watch=watch)
    assert (outcome.why, watch.steps) == ("interrupted", 1)
    assert outcome.numbers is not None
    assert run.load_state(0) == (State(), {})  # half an epoch is nothing to go on from


def test_patience_ends_it_and_stays_ended(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder
) -> None:
    plan = replace(PLAN, epochs=30, lr=5.0, schedule="constant", patience=2)
    outcome = go(backbone, halves, run, plan)
    assert outcome.why == "patience"
    assert outcome.state.epochs == outcome.state.best_epoch + 2
    watch = Watch()
    assert go(backbone, halves, run, plan, watch=watch).why == "patience"
    assert watch.steps == 0


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_best(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder
) -> None:
    word = Word(backbone, PLAN, first_numbers(backbone, PLAN, 0))

    def spoil() -> None:
        with torch.no_grad():
            word.parameters["llm"].fill_(float("nan"))

    outcome = go(backbone, halves, run, word=word, watch=Watch(after=1, act=spoil))
    assert outcome.failed
    assert outcome.why == "the loss was nan in epoch 2, step 1"
    assert outcome.numbers is not None
    assert all(bool(torch.isfinite(values).all()) for values in outcome.numbers.values())


def test_full_memory_is_named_by_what_helps(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder
) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ConfigurationError, match=r"--batch-size: .* does not hold a batch of 4") as refused:
        go(backbone, halves, run, watch=Watch(after=1, act=full))
    assert "--resume" in refused.value.hint


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_moves_float32_numbers(
    backbone: Backbone, halves: tuple[Features, Features], run: RunFolder, precision: Any
) -> None:
    outcome = go(backbone, halves, run, replace(PLAN, epochs=1, precision=precision))
    assert outcome.numbers is not None
    assert all(values.dtype == torch.float32 for values in outcome.numbers.values())


def test_an_epoch_shuffles_by_seed_and_drops_what_fills_no_batch() -> None:
    first = order_of(10, PLAN, seed=1, turn=0)
    assert [len(batch) for batch in first] == [4, 4]
    assert first == order_of(10, PLAN, seed=1, turn=0)
    assert first != order_of(10, PLAN, seed=1, turn=1)
    assert first != order_of(10, PLAN, seed=2, turn=0)
    assert sorted(order_of(3, PLAN, seed=1, turn=0)[0]) == [0, 1, 2]


def test_the_margin_loss_weighs_both_classes_alike() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0], [0.0, 3.0], [1.0, 1.0]])
    is_fake = torch.tensor([False, False, False, True])
    values = margin_losses(logits, is_fake)
    margins = logits[:, 1] - logits[:, 0]
    expected = np.log1p(np.exp(np.where(is_fake, -margins, margins)))
    assert values.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    found = float(weighted(values, is_fake, class_weights("margin", real=3, fake=1)))
    assert found == pytest.approx((expected[:3].mean() + expected[3]) / 2, rel=1e-6)
    assert class_weights("answer", real=3, fake=1).tolist() == [1.0, 1.0]


def test_a_picture_that_weighs_twice_counts_like_two() -> None:
    values, is_fake = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([False, False, True])
    twice = weighted(values, is_fake, class_weights("margin", real=3, fake=1), torch.tensor([1.0, 2.0, 1.0]))
    listed = weighted(
        torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([False, False, False, True]),
        class_weights("margin", real=3, fake=1),
    )  # fmt: skip
    assert float(twice) * 3 == pytest.approx(float(listed) * 4)


def test_a_damaged_state_is_refused_by_its_file(run: RunFolder) -> None:
    run.save_state(0, State(), {"now.llm": torch.zeros(1)})
    file = run.path / "member-0" / "last.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ConfigurationError, match=r"member-0.last.safetensors: can't be read"):
        run.load_state(0)
