"""The pixel expert's training: it learns what is in the pixels, from files, the same each time; and its fusion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from moderation.detector import ExpertWeights
from moderation.errors import ConfigurationError, ImageRejected
from moderation.evaluation.metrics import auc
from moderation.training.expert import Epoch, Examples, expert_logits, file_crops, fuse, train_expert
from moderation.training.expert_run import begun_in
from moderation.training.fusion import MOST_TRUST
from moderation.training.native import drawn, robust
from moderation.training.run import RunFolder

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE, FILES = 24, 24
EPOCHS = 16


class Killed(BaseException):
    """Ends a training as a kill does: nothing catches it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise for real pictures; the fakes are noise that was shrunk and enlarged, as decoders do."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(FILES):
        smooth = Image.fromarray(rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)).filter(
            ImageFilter.GaussianBlur(0.6)
        )
        if number % 2:
            smooth = smooth.resize((22, 20), Image.Resampling.NEAREST).resize((44, 40), Image.Resampling.NEAREST)
        smooth.save(folder / f"{number:02}.png")
    return folder


def _examples(folder: Path, numbers: range, crops: int = 2) -> Examples:
    paths = [folder / f"{number:02}.png" for number in numbers]
    look = file_crops(paths, SIZE, crops, treat=lambda image, _: image)
    return Examples(look, np.array([number % 2 == 1 for number in numbers]))


def test_it_learns_what_is_in_the_pixels(folder: Path) -> None:
    training, validation = _examples(folder, range(16)), _examples(folder, range(16, FILES))
    epochs: list[Epoch] = []
    tensors = train_expert(training, validation, seed=1, report=epochs.append, epochs=EPOCHS, batch_size=8)
    assert [epoch.number for epoch in epochs] == list(range(1, EPOCHS + 1))
    assert min(epoch.validation_loss for epoch in epochs) < epochs[0].validation_loss - 0.05
    ExpertWeights(tensors, 1.0, 2)
    logits = expert_logits(tensors, validation.look, FILES - 16)
    assert logits[validation.is_fake].min() > logits[~validation.is_fake].max()


def test_what_is_kept_scores_as_it_did_in_training(folder: Path) -> None:
    """The normalisations of training are folded into the convolutions: the AUC reported is that of the tensors."""
    training, validation = _examples(folder, range(16)), _examples(folder, range(16, FILES))
    epochs: list[Epoch] = []
    tensors = train_expert(training, validation, seed=3, report=epochs.append, epochs=1, batch_size=8)

    def treated(index: int, _: np.random.Generator | None) -> NDArray[np.uint8]:
        return validation.look(index, np.random.default_rng((0, index)))

    logits = expert_logits(tensors, treated, FILES - 16)
    pairs = [fake > real for fake in logits[validation.is_fake] for real in logits[~validation.is_fake]]
    assert epochs[0].validation_auc == pytest.approx(np.mean(pairs))


def test_it_goes_on_from_an_expert_and_keeps_that_where_nothing_is_better(folder: Path) -> None:
    training, validation = _examples(folder, range(16)), _examples(folder, range(16, FILES))
    epochs: list[Epoch] = []
    known = train_expert(training, validation, seed=1, epochs=EPOCHS, batch_size=8)
    further = train_expert(
        training, validation, seed=2, epochs=1, batch_size=8, lr=1e-4, start=known, report=epochs.append
    )
    fresh: list[Epoch] = []
    train_expert(training, validation, seed=2, epochs=1, batch_size=8, lr=1e-4, report=fresh.append)
    assert epochs[0].validation_loss < fresh[0].validation_loss  # it did not begin anew
    ExpertWeights(further, 1.0, 2)
    ruined = train_expert(training, validation, seed=2, epochs=1, batch_size=8, lr=10.0, start=known)
    assert all(torch.equal(values, known[name]) for name, values in ruined.items())


def test_the_same_seed_gives_the_same_numbers_however_files_are_read(folder: Path) -> None:
    training, validation = _examples(folder, range(16)), _examples(folder, range(16, FILES))

    def train(seed: int, readers: ThreadPoolExecutor | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(int(np.random.default_rng().integers(1_000)))  # the world's own state must not matter
        return train_expert(training, validation, seed=seed, epochs=1, batch_size=8, readers=readers)

    with ThreadPoolExecutor(3) as readers:
        first, again, other = train(7), train(7, readers), train(8)
    assert all(torch.equal(values, again[name]) for name, values in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("killed_after", [(1,), (2, 4)])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_killed_training_goes_on_to_the_same_bytes(
    folder: Path, tmp_path: Path, killed_after: tuple[int, ...], goes_on: bool
) -> None:
    training, validation = _examples(folder, range(16)), _examples(folder, range(16, FILES))
    start = train_expert(training, validation, seed=1, epochs=1, batch_size=8) if goes_on else None
    whole, killed = (RunFolder.create(tmp_path, name, datetime(2026, 1, 2, tzinfo=UTC)) for name in ("whole", "killed"))
    told: list[int] = []

    def train(run: RunFolder, until: int | None = None) -> tuple[dict[str, torch.Tensor], list[Epoch]]:
        def tell(epochs: int) -> None:
            told.append(epochs)
            if epochs == until:
                raise Killed

        begun, epochs = begun_in(run, tell), list[Epoch]()
        tensors = train_expert(
            training, validation, seed=2, epochs=5, batch_size=8, start=start, begun=begun, report=epochs.append
        )
        return tensors, epochs

    expected, epochs = train(whole)
    told.clear()
    for until in killed_after:
        with pytest.raises(Killed):
            train(killed, until)
        torch.manual_seed(99)  # another process has another generator
    found, further = train(killed)
    assert further == epochs[killed_after[-1] :]
    assert told == sorted(told)  # of what was told nothing is taken back
    assert {name: values.numpy().tobytes() for name, values in found.items()} == {
        name: values.numpy().tobytes() for name, values in expected.items()
    }
    (file,) = killed.path.glob("expert/*")
    assert file.read_bytes() == (whole.path / "expert" / file.name).read_bytes()


def test_a_training_that_was_done_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    training, validation = _examples(folder, range(16)), _examples(folder, range(16, FILES))
    run = RunFolder.create(tmp_path, "run", datetime(2026, 1, 2, tzinfo=UTC))

    def train(report: list[Epoch]) -> dict[str, torch.Tensor]:
        begun = begun_in(run, lambda _: None)
        return train_expert(training, validation, seed=1, epochs=2, batch_size=8, begun=begun, report=report.append)

    epochs: list[Epoch] = []
    first = train(epochs)
    again = train(epochs)
    assert len(epochs) == 2
    assert all(torch.equal(values, again[name]) for name, values in first.items())


def test_weights_of_one_change_nothing_and_others_do(folder: Path) -> None:
    training, validation = _examples(folder, range(16)), _examples(folder, range(16, FILES))

    def train(weights: NDArray[np.float64] | None) -> dict[str, torch.Tensor]:
        weighed = Examples(training.look, training.is_fake, weights)
        return train_expert(weighed, validation, seed=7, epochs=1, batch_size=8)

    plain, alike, hard = train(None), train(np.ones(16)), train(np.array([3.0] * 4 + [1.0] * 12))
    assert all(torch.equal(values, alike[name]) for name, values in plain.items())
    assert not torch.equal(plain["head.weight"], hard["head.weight"])


def test_two_batches_of_crops_are_in_memory_at_most(folder: Path) -> None:
    examples, alive, most = _examples(folder, range(16)), 0, 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= self.base is None

    def look(index: int, rng: np.random.Generator | None) -> NDArray[np.uint8]:
        nonlocal alive, most
        crops = examples.look(index, rng)
        counted: NDArray[np.uint8] = Counted(crops.shape, np.uint8)
        counted[...] = crops
        alive += 1
        most = max(most, alive)
        return counted

    counting = Examples(look, examples.is_fake)
    with ThreadPoolExecutor(2) as readers:
        train_expert(counting, counting, seed=0, epochs=1, batch_size=2, readers=readers)
    assert 2 <= most <= 6, "16 pictures, read two at a time: the batch at work, the next, and what is just let go"


def test_classes_are_met_alike_however_unequal(folder: Path) -> None:
    numbers = [0, 2, 4, 6, 8, 10, 1]
    paths = [folder / f"{number:02}.png" for number in numbers]
    look, seen = file_crops(paths, SIZE, 1), list[int]()

    def noted(index: int, rng: np.random.Generator | None) -> NDArray[np.uint8]:
        if rng is not None:
            seen.append(index)
        return look(index, rng)

    examples = Examples(noted, np.array([number % 2 == 1 for number in numbers]))
    train_expert(examples, Examples(look, examples.is_fake), seed=0, epochs=2, batch_size=4)
    assert seen.count(6) in (6, 8)
    assert len(seen) == 14


@pytest.mark.parametrize(("training", "validation"), [(range(0, 8, 2), range(8)), (range(8), range(1, 8, 2))])
def test_one_class_alone_is_refused(folder: Path, training: range, validation: range) -> None:
    named = "training" if training.step == 2 else "validation"
    with pytest.raises(ConfigurationError, match=f"the {named} pictures are all of one class"):
        train_expert(_examples(folder, training), _examples(folder, validation), seed=0)


def test_a_file_that_is_no_picture_says_so(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(ImageRejected):
        file_crops([tmp_path / "note.png"], SIZE, 1)(0, None)


def test_drawn_crops_are_pieces_of_the_picture_turned_and_mirrored() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 26, 3), dtype=np.uint8))
    pixels = np.asarray(image)
    pieces = {
        np.rot90(piece, turns)[:, ::step].tobytes()
        for top in range(7)
        for left in range(3)
        for piece in [pixels[top : top + SIZE, left : left + SIZE]]
        for turns in range(4)
        for step in (1, -1)
    }
    found = {drawn(image, SIZE, np.random.default_rng(seed)).tobytes() for seed in range(40)}
    assert found <= pieces
    assert len(found) > 20


def test_the_robust_treatment_is_a_function_of_the_draw_alone() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    treated = [robust(image, np.random.default_rng(seed)) for seed in range(30)]
    assert [one.tobytes() for one in treated] == [
        robust(image, np.random.default_rng(seed)).tobytes() for seed in range(30)
    ]
    untouched = sum(one.size == image.size and one.tobytes() == image.tobytes() for one in treated)
    assert 2 <= untouched <= 15
    assert len({one.size for one in treated}) >= 3


def _population(worth: float, n: int = 4000) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(3)
    is_fake = np.arange(n) % 2 == 1
    signs = np.where(is_fake, 1.0, -1.0)
    return 3 + 2 * (signs + rng.normal(size=n)), worth * signs + rng.normal(size=n), is_fake


def test_the_fusion_weighs_two_witnesses_by_what_they_are_worth() -> None:
    """Two independent normals of unit deviation: the log-odds are 2 x + 2 worth y, where x is half of margin - 3."""
    margins, logits, is_fake = _population(0.5)
    fusion = fuse(margins, logits, is_fake)
    assert fusion.weight == pytest.approx(1.0, rel=0.15)
    assert fusion.calibration.scale == pytest.approx(1.0, rel=0.1)
    fused = margins + fusion.weight * logits
    probabilities = np.array([fusion.calibration.probability(margin) for margin in fused])
    assert probabilities.mean() == pytest.approx(0.5, abs=0.02)
    for low in (0.1, 0.4, 0.7):
        within = (probabilities >= low) & (probabilities < low + 0.2)
        assert is_fake[within].mean() == pytest.approx(probabilities[within].mean(), abs=0.08)


@pytest.mark.parametrize("worth", [-0.5, -5.0])
def test_an_expert_that_speaks_against_the_truth_is_left_out(worth: float) -> None:
    with pytest.raises(ConfigurationError, match="does not help on the validation pictures") as caught:
        fuse(*_population(worth))
    assert "leave the pixel expert out" in caught.value.hint


def test_a_perfect_expert_beside_a_margin_that_errs_is_trusted_so_far_and_no_further() -> None:
    """As on fakes of a kind that the prompt was not tuned on, and that fool it."""
    rng = np.random.default_rng(1)
    is_fake = np.arange(400) % 2 == 1
    signs = np.where(is_fake, 1.0, -1.0)
    logits = 3 * signs + rng.normal(size=400) / 3
    margins = 20 * (rng.normal(size=400) - 0.2 * signs)
    fusion = fuse(margins, logits, is_fake)
    fused = margins + fusion.weight * logits
    assert fusion.weight * logits.std() == pytest.approx(MOST_TRUST * margins.std())
    assert auc(is_fake.tolist(), fused.tolist()) > 0.999
    assert fusion.calibration.scale > 0


def test_separable_pictures_give_a_finite_fusion() -> None:
    is_fake = np.arange(20) % 2 == 1
    margins = np.where(is_fake, 5.0, -5.0) + np.linspace(0, 0.1, 20)
    fusion = fuse(margins, margins + np.random.default_rng(0).normal(size=20), is_fake)
    assert 0 < fusion.weight < 100
    assert 0 < fusion.calibration.scale < 10


def test_a_constant_expert_says_nothing() -> None:
    margins, _, is_fake = _population(1.0, 100)
    with pytest.raises(ConfigurationError, match="does not help"):
        fuse(margins, np.full(100, 0.3), is_fake)
