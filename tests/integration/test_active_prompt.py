"""The active prompt: another one is in use from the next batch on; one that can't be used leaves the last good one."""

from __future__ import annotations

import dataclasses
import logging
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from moderation.detector import Backbone, Crops, ExpertWeights, PixelExpert, Score, SoftPrompt, load_backbone
from moderation.domain.prompt import PromptRecord
from moderation.errors import ConfigurationError, PromptMismatch
from moderation.flows.registry.install import install
from moderation.flows.registry.prompt import register
from moderation.flows.scanning.active import ActivePrompt, ActiveScorer
from moderation.images import Views
from moderation.miniature import PROMPT_FILE, WORD_FILE
from moderation.storage.database import Database
from moderation.storage.registry.prompts import Prompts
from moderation.storage.tables import PromptRow
from tests.store import open_database


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("miniature", device="cpu", dtype="float32")


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with open_database(sqlite_url) as opened:
        yield opened


@pytest.fixture
def prompts(database: Database) -> Prompts:
    return Prompts(database)


def word() -> SoftPrompt:
    """The shipped pseudo-word, which looks at wholes alone."""
    return SoftPrompt.load(WORD_FILE)


def add(prompts: Prompts, prompt: SoftPrompt, name: str) -> PromptRecord:
    record = register(prompts, prompt.to_bytes(), name=name)
    prompts.activate(record.prompt_id)
    return record


def shifted() -> SoftPrompt:
    """The same with another calibration, so that its probabilities differ."""
    prompt = word()
    calibration = dataclasses.replace(prompt.calibration, bias=prompt.calibration.bias + 1)
    return dataclasses.replace(prompt, calibration=calibration)


def probability(scorer: ActiveScorer, backbone: Backbone) -> float:
    grey = np.full((backbone.image_size, backbone.image_size, 3), 128, dtype=np.uint8)
    grey[:, ::2] = 30
    (score,) = scorer.score([Views(grey)], [""])
    assert isinstance(score, Score)
    return score.probability


def test_without_a_prompt_the_way_out_is_named(prompts: Prompts, backbone: Backbone) -> None:
    with pytest.raises(ConfigurationError, match=r"no prompt is active for the backbone miniature") as caught:
        ActivePrompt(backbone, prompts, {}).scorer()
    assert "modctl prompt import FILE --activate" in caught.value.hint


def test_another_prompt_is_in_use_at_the_next_look(prompts: Prompts, backbone: Backbone) -> None:
    first = add(prompts, word(), "first")
    active = ActivePrompt(backbone, prompts, {"device": "cpu"})
    scorer = active.scorer()
    assert scorer.by.prompt_id == first.prompt_id
    assert scorer.by.versions["backbone_revision"] == backbone.revision
    assert scorer.by.versions["device"] == "cpu"
    assert active.scorer().detector is scorer.detector  # nothing is loaded anew while nothing changes

    second = add(prompts, shifted(), "second")
    swapped = active.scorer()
    assert swapped.by.prompt_id == second.prompt_id
    assert swapped.by.versions["calibration"] != scorer.by.versions["calibration"]
    assert probability(scorer, backbone) != pytest.approx(probability(swapped, backbone))

    prompts.activate(first.prompt_id)
    assert active.scorer().by.prompt_id == first.prompt_id


def test_a_verdict_records_what_was_looked_at(prompts: Prompts, backbone: Backbone) -> None:
    active = ActivePrompt(backbone, prompts, {})
    assert active.native_crops() == 0  # before anything was loaded
    add(prompts, word(), "plain")
    assert active.scorer().by.versions["looks"] == "whole"
    expert = ExpertWeights(PixelExpert().tensors(), 0.5, 6)
    closer = dataclasses.replace(word(), crops=Crops(4, low=0.0, high=1.0), expert=expert)
    add(prompts, closer, "closer")
    assert active.native_crops() == 0  # it is the prompt last in use that counts, until the device asks
    scorer = active.scorer()
    assert scorer.by.versions["looks"] == f"whole + 4 crops mean in 0..1, {expert.described}"
    assert active.native_crops() == scorer.native_crops == 6


def test_a_prompt_that_does_not_fit_leaves_the_last_good_one(
    prompts: Prompts, backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    good = add(prompts, word(), "good")
    active = ActivePrompt(backbone, prompts, {})
    active.scorer()
    bad = add(prompts, dataclasses.replace(word(), revision="0" * 64), "bad")
    with caplog.at_level(logging.ERROR):
        assert active.scorer().by.prompt_id == good.prompt_id
    assert f"prompt {bad.prompt_id} can't be used, {good.prompt_id} stays" in caplog.text
    with pytest.raises(PromptMismatch):
        ActivePrompt(backbone, prompts, {}).scorer()  # a worker that starts now has no good one


def test_a_prompt_whose_bytes_were_changed_is_refused(prompts: Prompts, backbone: Backbone, database: Database) -> None:
    record = add(prompts, word(), "changed")
    with database.write() as session:
        row = session.get_one(PromptRow, record.prompt_id)
        row.blob = shifted().to_bytes()
    with pytest.raises(ConfigurationError, match="were changed"):
        ActivePrompt(backbone, prompts, {}).scorer()


def test_installing_twice_changes_nothing_and_keeps_a_persons_choice(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    prompts = Prompts(database)
    done = install(database, PROMPT_FILE)
    assert (done.before, done.activated) == (None, SoftPrompt.load(PROMPT_FILE).sha256[:12])
    chosen = add(prompts, shifted(), "chosen")
    again = install(database, PROMPT_FILE)
    assert (again.before, again.activated) == (done.after, None)
    active = prompts.active("miniature")
    assert active is not None
    assert active.prompt_id == chosen.prompt_id
    assert len(prompts.list()) == 2
    database.dispose()


def test_what_an_older_package_shipped_gives_way_to_what_this_one_ships(sqlite_url: str, tmp_path: Path) -> None:
    older = tmp_path / "older.safetensors"
    older.write_bytes(PROMPT_FILE.read_bytes()[:-4] + struct.pack("<f", 0.25))
    database = Database(sqlite_url)
    before = install(database, older).activated
    after = install(database, PROMPT_FILE).activated
    assert after not in (None, before)
    active = Prompts(database).active("miniature")
    assert active is not None
    assert active.prompt_id == after
    assert install(database, PROMPT_FILE).activated is None
    database.dispose()
