"""An evaluation from files to figures, with scorers that look at brightness: what is read, when, and what is kept."""

from __future__ import annotations

import itertools
import json
import math
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from moderation.datasets.folders import from_root
from moderation.datasets.labelled import LabelledImage, manifest_sha256
from moderation.detector import Score
from moderation.domain.image import ImageFacts
from moderation.errors import ImageRejected, RejectReason
from moderation.evaluation.result import Evaluation, Subject
from moderation.evaluation.robustness import CONDITIONS
from moderation.evaluation.sample import sampled
from moderation.evaluation.scorefile import ScoreFile
from moderation.flows.measuring.evaluate import LabelledSet, Plan, evaluate
from moderation.flows.measuring.look import Look
from moderation.flows.measuring.score import Candidate, score_pictures
from moderation.images import Views, decode
from tests.broken_files import broken_files

SIZE = 16


class Brightness:
    """Says fake of bright pictures; `sign` -1: of dark ones. Remembers how many pictures it was shown."""

    native_crops = 0

    def __init__(self, sign: int = 1) -> None:
        self.sign = sign
        self.batches: list[int] = []
        self.sources: list[str] = []

    def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> list[Score | ImageRejected]:
        assert all(view.whole.shape == (SIZE, SIZE, 3) for view in views)
        self.batches.append(len(views))
        self.sources += sources
        margins = [self.sign * (float(view.whole.mean()) - 127.5) / 25 for view in views]
        return [Score(margin, 1 / (1 + math.exp(-margin))) for margin in margins]


class Picky(Brightness):
    """Fails on the darkest."""

    def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> list[Score | ImageRejected]:
        dark = [float(view.whole.mean()) < 20 for view in views]
        rejected = ImageRejected(RejectReason.OUT_OF_MEMORY, "too dark")
        return [rejected if bad else one for bad, one in zip(dark, super().score(views, sources), strict=True)]


def candidate(name: str, scorer: Brightness, threshold: float = 0.5) -> Candidate:
    return Candidate(Subject(name, f"identity of {name}", threshold), scorer)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sets of 4 real and 4 fake pictures; fakes are brighter, in set b with one exception."""
    folder = tmp_path / "root"
    for name in ("a", "b"):
        for kind, level in (("real", 40), ("fake", 200)):
            (folder / name / kind).mkdir(parents=True)
            for number in range(4):
                value = 30 if (name, kind, number) == ("b", "fake", 3) else level + number
                pixels = np.full((24, 32, 3), value, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / kind / f"{kind}{number}.png")
    return folder


@pytest.fixture
def readers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as pool:
        yield pool


def labelled(root: Path) -> LabelledSet:
    images = from_root(root)
    return LabelledSet("root", images, {"path": str(root), "sha256": manifest_sha256(images)})


LOOK = Look(decode=decode, size=SIZE, crops=0, max_bytes=100_000)


def run(
    root: Path, out: Path, readers: ThreadPoolExecutor, candidates: list[Candidate], **wanted: Any
) -> tuple[Evaluation, list[int]]:
    plan = Plan(**{"resamples": 50, "report": False, "batch_size": 5, **wanted})
    heard: list[int] = []
    found = evaluate(
        labelled(root),
        candidates,
        plan,
        look=LOOK,
        made_with={"candidates": [one.subject.name for one in candidates]},
        out=out,
        readers=readers,
        provenance={"command": "test"},
        advance=heard.append,
    )
    return found, heard


def test_figures_of_each_set_and_the_worst(root: Path, tmp_path: Path, readers: ThreadPoolExecutor) -> None:
    scorer = Brightness()
    found, heard = run(root, tmp_path / "out", readers, [candidate("bright", scorer)])
    (one,) = found.candidates
    assert list(one.sets) == ["a", "b"]
    assert one.worst == "b"
    figures = {name: metrics.accuracy_fake for name, metrics in one.sets.items()}
    assert {name: figure and figure.value for name, figure in figures.items()} == {"a": 1.0, "b": 0.75}
    assert (one.overall.n_real, one.overall.n_fake, one.mean_accuracy) == (8, 8, (1 + 0.875) / 2)
    assert sum(scorer.batches) == sum(heard) == 16
    assert max(scorer.batches) <= 5


def test_a_second_run_scores_nothing_twice(root: Path, tmp_path: Path, readers: ThreadPoolExecutor) -> None:
    first, _ = run(root, tmp_path / "out", readers, [candidate("bright", Brightness())])
    idle = Brightness()
    second, heard = run(root, tmp_path / "out", readers, [candidate("bright", idle, threshold=0.9999)])
    assert idle.batches == []
    assert heard == [16]
    assert second.candidates[0].overall.auc == first.candidates[0].overall.auc
    assert second.candidates[0].overall.accuracy_fake != first.candidates[0].overall.accuracy_fake


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_never_was(
    root: Path, tmp_path: Path, readers: ThreadPoolExecutor
) -> None:
    class Stops(Brightness):
        def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> list[Score | ImageRejected]:
            if self.batches:
                raise KeyboardInterrupt
            return super().score(views, sources)

    with pytest.raises(KeyboardInterrupt):
        run(root, tmp_path / "stopped", readers, [candidate("bright", Stops())])
    rest = Brightness()
    resumed, _ = run(root, tmp_path / "stopped", readers, [candidate("bright", rest)])
    whole, _ = run(root, tmp_path / "whole", readers, [candidate("bright", Brightness())])
    assert sum(rest.batches) == 16 - 5
    assert resumed.to_json() == whole.to_json()
    tables = [pq.read_table(tmp_path / name / "scores.parquet") for name in ("stopped", "whole")]
    assert tables[0].equals(tables[1])
    assert len(tables[0]) == 16


def test_broken_files_are_listed_with_their_reason_and_end_nothing(
    root: Path, tmp_path: Path, readers: ThreadPoolExecutor
) -> None:
    names = []
    for name, content in broken_files().items():
        if Path(name).suffix in {".jpg", ".png", ".webp", ".gif"}:
            (root / "a" / "real" / name).write_bytes(content)
            names.append(name)
    (root / "a" / "real" / "gone.png").symlink_to("nowhere.png")
    asked = [candidate("bright", Brightness()), candidate("dark", Brightness(-1))]
    found, heard = run(root, tmp_path / "out", readers, asked)
    listed = {Path(item.path).name: item for item in found.unreadable}
    assert set(listed) == {*names, "gone.png"}
    assert listed["gone.png"].reason == "not found: no such file"
    assert all(item.reason and item.set == "a" for item in listed.values())
    assert sum(heard) == 16 + len(listed)
    assert [one.sets["a"].n_failed for one in found.candidates] == [len(listed)] * 2
    assert found.candidates[0].sets["a"].n_real == 4
    assert found.to_json()["n_unreadable"] == len(listed)


def test_a_picture_that_one_candidate_fails_on_counts_for_the_others(
    root: Path, tmp_path: Path, readers: ThreadPoolExecutor
) -> None:
    Image.new("RGB", (32, 32), (9, 9, 9)).save(root / "a" / "real" / "dark.png")
    asked = [candidate("bright", Brightness()), candidate("picky", Picky())]
    found, _ = run(root, tmp_path / "out", readers, asked)
    assert [one.overall.n_failed for one in found.candidates] == [0, 1]
    assert [(Path(item.path).name, item.reason) for item in found.unreadable] == [
        ("dark.png", "out of device memory: too dark")
    ]
    assert found.comparisons[0].n == 16


def test_candidates_stand_side_by_side(root: Path, tmp_path: Path, readers: ThreadPoolExecutor) -> None:
    asked = [candidate("bright", Brightness()), candidate("dark", Brightness(-1))]
    found, _ = run(root, tmp_path / "out", readers, asked)
    (compared,) = found.comparisons
    assert (compared.first, compared.second, compared.n) == ("bright", "dark", 16)
    assert compared.balanced_accuracy is not None
    assert compared.balanced_accuracy.value == pytest.approx(1 / 16 - 15 / 16)
    assert (compared.only_first, compared.only_second) == (15, 1)


def test_conditions_are_applied_to_the_sample_alone(root: Path, tmp_path: Path, readers: ThreadPoolExecutor) -> None:
    scorer = Brightness()
    found, _ = run(root, tmp_path / "out", readers, [candidate("bright", scorer)], robustness_sample=2)
    assert sum(scorer.batches) == 16 + 4 * len(CONDITIONS)
    assert {row.condition for row in found.robustness} == {"", *CONDITIONS}
    assert {row.n for row in found.robustness} == {4}
    assert found.candidates[0].overall.n_real == 8  # of pictures as they are
    flips = {row.condition: row.flip_rate for row in found.robustness}
    assert flips["clean"] == flips["jpeg 50"] == 0.0


def test_a_file_in_two_sets_is_in_the_baseline_where_it_was_degraded(
    tmp_path: Path, readers: ThreadPoolExecutor
) -> None:
    images = []
    for number in range(8):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (24, 24), (20 * number,) * 3).save(file)
        images += [LabelledImage(file, number > 3, name, "", "", f"{name} {number}", "") for name in ("a", "b")]
    data = LabelledSet("shared", images, {"path": "shared", "sha256": manifest_sha256(images)})
    assert len({image.path for image in sampled(images, 2, 0)}) > 2  # not the same files of both sets
    plan = Plan(robustness_sample=2, resamples=0, report=False)
    asked = [candidate("bright", Brightness())]
    found = evaluate(data, asked, plan, look=LOOK, made_with={}, out=tmp_path / "out", readers=readers, provenance={},
                     advance=lambda pictures: None)  # fmt: skip
    assert {row.n for row in found.robustness} == {4}


def test_shortcuts_are_of_all_pictures_also_after_a_stop(
    root: Path, tmp_path: Path, readers: ThreadPoolExecutor
) -> None:
    found, _ = run(root, tmp_path / "out", readers, [candidate("bright", Brightness())], shortcuts=True)
    by_feature = {one.feature: one for one in found.shortcuts if not one.set}
    assert by_feature["red"].auc == pytest.approx(1 - 8 / 64)  # one fake is darker than all eight real ones
    assert by_feature["red"].is_flagged
    assert not by_feature["width"].is_flagged
    again, _ = run(root, tmp_path / "out", readers, [candidate("bright", Brightness())], shortcuts=True)
    assert again.shortcuts == found.shortcuts


def test_the_source_reaches_the_scorer(root: Path, tmp_path: Path, readers: ThreadPoolExecutor) -> None:
    images = [replace(image, source=image.path.stem) for image in from_root(root)]
    scorer = Brightness()
    with ScoreFile(tmp_path / "parts", {}) as file:
        score_pictures(
            images, candidates=[candidate("bright", scorer)], look=LOOK, file=file, readers=readers, batch_size=3
        )
        table = file.table()
    assert scorer.sources == [image.path.stem for image in images] == table.source.tolist()


def test_pictures_do_not_pile_up(root: Path, tmp_path: Path, readers: ThreadPoolExecutor) -> None:
    """2,000 pictures: of those read, never more are alive or waiting than a few batches."""
    alive: set[int] = set()
    numbers = itertools.count()
    read, scored, most_alive, most_ahead = 0, 0, 0, 0

    def counting(data: bytes) -> tuple[Image.Image, ImageFacts]:
        nonlocal read, most_alive
        image, facts = decode(data)
        read = number = next(numbers)
        alive.add(number)
        weakref.finalize(image, alive.discard, number)
        most_alive = max(most_alive, len(alive))
        return image, facts

    class Counting(Brightness):
        def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> list[Score | ImageRejected]:
            nonlocal scored, most_ahead
            most_ahead = max(most_ahead, read - scored)
            scored += len(views)
            return super().score(views, sources)

    image = from_root(root)[0]
    many = [replace(image, set=f"set {number}") for number in range(2000)]
    with ScoreFile(tmp_path / "parts", {}) as file:
        look = replace(LOOK, decode=counting)
        score_pictures(
            many, candidates=[candidate("bright", Counting())], look=look, file=file, readers=readers, batch_size=8
        )
        assert len(file.table()) == 2000
    assert most_alive <= 2 * 3 + 8
    assert most_ahead <= 4 * 8


def test_a_folder_is_no_picture_and_a_large_file_is_not_read(
    root: Path, tmp_path: Path, readers: ThreadPoolExecutor
) -> None:
    image = from_root(root)[0]
    images = [replace(image, path=root), image, replace(image, path=tmp_path / "large.png")]
    (tmp_path / "large.png").write_bytes(bytes(200_000))
    with ScoreFile(tmp_path / "parts", {}) as file:
        score_pictures(
            images, candidates=[candidate("bright", Brightness())], look=LOOK, file=file, readers=readers, batch_size=8
        )
        errors = file.table().error.tolist()
    assert errors == ["bad image id: not a file", "", "too many bytes: 200000; 100000 are allowed"]


def test_the_result_is_plain_json_with_everything_in_it(
    root: Path, tmp_path: Path, readers: ThreadPoolExecutor
) -> None:
    found, _ = run(root, tmp_path / "out", readers, [candidate("bright", Brightness())], formats=("parquet", "csv"))
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written == found.to_json()
    assert list(written)[:3] == ["data", "candidates", "comparisons"]
    assert written["data"]["sha256"] == manifest_sha256(from_root(root))
    assert written["candidates"][0]["sets"]["a"]["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert (written["seed"], written["resamples"], written["provenance"]) == (0, 50, {"command": "test"})
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 17


# --- samples


def image_of(name: str, *, is_fake: bool, number: int) -> LabelledImage:
    return LabelledImage(Path(f"{name}-{is_fake}-{number}.png"), is_fake, name, "", "", f"{name}/{number}", "")


def test_samples_are_balanced_keep_pairs_and_do_not_depend_on_order() -> None:
    images = [image_of("a", is_fake=is_fake, number=number) for is_fake in (False, True) for number in range(50)]
    images += [image_of("b", is_fake=True, number=number) for number in range(30)]
    images += [image_of("c", is_fake=number > 0, number=number) for number in range(30)]
    found = sampled(images, 10, seed=1)
    assert found == [image for image in images if image in found]
    count = {name: sum(image.set == name for image in found) for name in "abc"}
    assert count == {"a": 10, "b": 10, "c": 10}
    of_a = [image for image in found if image.set == "a"]
    groups = {is_fake: {image.group for image in of_a if image.is_fake is is_fake} for is_fake in (False, True)}
    assert groups[False] == groups[True]
    assert len(groups[True]) == 5
    assert sum(not image.is_fake for image in found if image.set == "c") == 1
    assert set(map(str, sampled(images[::-1], 10, seed=1))) == set(map(str, found))
    assert sampled(images, 10, seed=2) != found
    assert sampled(images, 1000, seed=1) == images
