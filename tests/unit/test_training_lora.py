"""The LoRA baseline: its files, and that nobody else on the backbone feels it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from moderation.detector import STATISTICS_150K, Backbone, Calibration, Detector, Score, SoftPrompt, load_backbone
from moderation.errors import ConfigurationError, PromptMismatch
from moderation.images import decode
from moderation.images.views import views_of
from moderation.training.adapter import Adapter
from moderation.training.loader import keep
from moderation.training.lora import LoraDetector, load_lora, save_lora
from moderation.training.plan import TunePlan
from moderation.training.progress import Interrupt
from moderation.training.run import RunFolder
from moderation.training.tune import tune
from tests import tiny_backbones as tiny
from tests.training_pictures import labelled


@pytest.fixture(params=["llama", "t5"])
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    make = tiny.llama_folder if request.param == "llama" else tiny.t5_folder
    return load_backbone(str(make(tmp_path / "model")), device="cpu")


@pytest.fixture
def views(tmp_path: Path) -> list[Any]:
    images = labelled(tmp_path / "views", 2)
    return [views_of(decode(image.path.read_bytes())[0], tiny.IMAGE_SIZE) for image in images]


def shaken(backbone: Backbone, seed: int) -> Adapter:
    """An adapter whose matrices do something."""
    adapter = Adapter(backbone, seed)
    random = torch.Generator().manual_seed(seed)
    adapter.load({name: torch.randn(values.shape, generator=random) for name, values in adapter.parameters.items()})
    return adapter


def margins(detector: Detector | LoraDetector, views: list[Any]) -> list[float]:
    scores = detector.score(views)
    assert all(isinstance(score, Score) for score in scores)
    return [score.margin for score in scores if isinstance(score, Score)]


def saved(folder: Path, adapter: Adapter, name: str = "one") -> Path:
    calibration = Calibration(2.0, -0.5, source_bias={"site": 0.25})
    save_lora(folder, adapter, name=name, normalisation=STATISTICS_150K, calibration=calibration, metadata={"a": 1})
    return folder


def test_the_plain_prompt_never_feels_an_adapter(backbone: Backbone, views: list[Any]) -> None:
    plain = Detector(backbone, SoftPrompt.plain(backbone.name, revision=backbone.revision))
    before = margins(plain, views)
    lora = LoraDetector(shaken(backbone, 1), "one", STATISTICS_150K, Calibration())
    other = LoraDetector(shaken(backbone, 2), "two", STATISTICS_150K, Calibration())
    assert margins(plain, views) == before
    first, second = margins(lora, views), margins(other, views)
    assert first != before
    assert first != second
    assert margins(lora, views) == first
    assert margins(plain, views) == before
    assert margins(other, views) == second
    with pytest.raises(ZeroDivisionError), lora._adapter.scoring():
        1 / 0  # noqa: B018 - something that fails while it is on
    assert margins(plain, views) == before


def test_files_give_the_same_scores_back(tmp_path: Path, backbone: Backbone, views: list[Any]) -> None:
    adapter = shaken(backbone, 3)
    expected = margins(LoraDetector(adapter, "x", STATISTICS_150K, Calibration()), views)
    found = load_lora(saved(tmp_path / "lora", adapter, "mine"), backbone)
    assert (found.name, found.native_crops) == ("mine", 0)
    assert margins(found, views) == expected
    here, nowhere = found.score(views[:1], ["site"])[0], found.score(views[:1])[0]
    assert isinstance(here, Score)
    assert isinstance(nowhere, Score)
    assert here.probability > nowhere.probability
    assert not list((tmp_path / "lora").glob("*.bin"))


def test_peft_itself_reads_the_files(tmp_path: Path, backbone: Backbone) -> None:
    from peft import LoraConfig
    from safetensors.torch import load_file

    saved(tmp_path / "lora", shaken(backbone, 3))
    config = LoraConfig.from_pretrained(str(tmp_path / "lora"))
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (8, 32, 0.1, "none")
    targets = {"q", "v"} if backbone.encoder_decoder else {"q_proj", "v_proj"}
    assert set(config.target_modules) == targets
    names = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.") and "lora_" in name for name in names)


def test_the_same_loop_tunes_it_and_only_it(tmp_path: Path, backbone: Backbone, pool: ThreadPoolExecutor) -> None:
    images = labelled(tmp_path / "pictures", 4)
    kept = keep(images, backbone, STATISTICS_150K, lambda data: decode(data)[0], pool, None)
    plan = TunePlan(method="lora", epochs=3, batch_size=4, lr=0.01, precision="fp32")

    def numbers(name: str) -> dict[str, torch.Tensor]:
        adapter = Adapter(backbone, plan.seed)
        run = RunFolder.create(tmp_path, name, datetime(2026, 1, 2, tzinfo=UTC))
        outcome = tune(adapter, plan, 0, kept, kept, run, [], Interrupt(lambda _: None))
        assert outcome.numbers is not None
        assert all(bool(values.any()) for name, values in outcome.numbers.items() if "lora_B" in name)  # began at zero
        return dict(outcome.numbers)

    base = {name: values.clone() for name, values in backbone.model.state_dict().items()}
    first = numbers("first")
    after = {name.replace(".base_layer", ""): values for name, values in backbone.model.state_dict().items()}
    assert all(torch.equal(values, after[name]) for name, values in base.items())
    second = numbers("second")
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    assert not any(module.training for module in backbone.model.modules())


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, backbone: Backbone) -> None:
    folder = saved(tmp_path / "lora", shaken(backbone, 1))
    with pytest.raises(PromptMismatch, match="at revision another"):
        load_lora(folder, replace(backbone, revision="another"))
    with pytest.raises(ConfigurationError, match=r"lora:.*nowhere: can't be read"):
        load_lora(tmp_path / "nowhere", backbone)
    about = json.loads((folder / "antifake.json").read_text())
    (folder / "antifake.json").write_text(json.dumps({**about, "std": [0, 0, 0]}))
    with pytest.raises(ConfigurationError, match=r"lora:.*is damaged"):
        load_lora(folder, backbone)
    (folder / "antifake.json").write_text(json.dumps(about))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ConfigurationError, match=r"lora:.*is damaged"):
        load_lora(folder, backbone)
