"""Loading a backbone: what it is frozen to, what it is called, and every way in which it can be refused."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

from moderation.detector import PromptVectors, answer_logits, hub, load_backbone
from moderation.detector.device import choose_device, choose_dtype
from moderation.errors import ConfigurationError
from tests import tiny_backbones as tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama_folder(tmp_path_factory.mktemp("backbone") / "model")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(folder, tmp_path / "copy")


def _logits(folder: Path, **options: Any) -> torch.Tensor:
    backbone = load_backbone(str(folder), device="cpu", **options)
    question = backbone.words.question("Is this photo real?", mark_qformer=False, mark_llm=False)
    pixels = torch.linspace(-1, 1, 3 * tiny.IMAGE_SIZE**2).view(1, 3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE)
    with torch.no_grad():
        return answer_logits(backbone, PromptVectors(question, None, None), pixels)


def test_a_backbone_is_frozen_and_evaluates(folder: Path) -> None:
    backbone = load_backbone(str(folder), device="cpu", dtype="float32")
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.model.vision_model.post_layernorm.eps == 1e-5  # the original's; transformers' is 1e-6
    sizes = (backbone.image_size, backbone.queries, backbone.qformer_width, backbone.llm_width)
    assert sizes == (tiny.IMAGE_SIZE, tiny.QUERIES, tiny.QFORMER_WIDTH, tiny.LLM_WIDTH)
    assert (backbone.device, backbone.dtype) == (torch.device("cpu"), torch.float32)


def test_the_revision_is_the_content_of_the_weights(folder: Path, copied: Path) -> None:
    original, copy = (load_backbone(str(place), device="cpu") for place in (folder, copied))
    assert len(original.revision) == 64
    assert original.revision == copy.revision
    assert copy.name == str(copied)
    tensors = load_file(copied / "model.safetensors")
    tensors["query_tokens"] += 1
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    assert load_backbone(str(copied), device="cpu").revision != original.revision


def test_a_large_backbone_is_hashed_once(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "_REMEMBER_BYTES", 1)
    first = hub.weights_sha256(copied)
    (memory,) = (tmp_path / "cache").rglob("*.json")
    remembered = json.loads(memory.read_text())
    assert list(remembered.values()) == [first]
    memory.write_text(json.dumps(dict.fromkeys(remembered, "remembered")))
    assert hub.weights_sha256(copied) == "remembered"
    (copied / "model.safetensors").touch()  # a newer file is hashed anew
    assert hub.weights_sha256(copied) == first


def test_swapping_the_language_model(folder: Path, copied: Path, tmp_path: Path) -> None:
    other = tiny.language_model_folder(tmp_path / "vicuna")
    swapped = load_backbone(str(folder), device="cpu", language_model=str(other))
    own = load_backbone(str(folder), device="cpu")
    assert swapped.name == f"{folder}+{other}"
    assert swapped.revision == f"{own.revision}+{hub.weights_sha256(other)}"
    tensors = load_file(copied / "model.safetensors")
    replaced = {f"language_model.{name}": value for name, value in load_file(other / "model.safetensors").items()}
    save_file({**tensors, **replaced}, copied / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(_logits(folder, language_model=str(other)), _logits(copied))
    assert not torch.equal(_logits(folder, language_model=str(other)), _logits(folder))


def test_a_language_model_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    wide = tiny.language_model_folder(tmp_path / "wide", width=64)
    t5 = tiny.t5_folder(tmp_path / "t5")
    for language_model, problem in ((wide, "width 64.*width 32"), (t5, "does not load|instructblip")):
        with pytest.raises(ConfigurationError, match=problem) as caught:
            load_backbone(str(folder), device="cpu", language_model=str(language_model))
        assert caught.value.setting == "MODERATION_LANGUAGE_MODEL"


def test_a_folder_that_is_no_backbone_is_refused(folder: Path, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"lacks config\.json or weights") as caught:
        load_backbone(str(tmp_path / "empty"))
    assert caught.value.setting == "MODERATION_BACKBONE"
    (copied / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(ConfigurationError, match="does not load"):
        load_backbone(str(copied))
    tensors = load_file(folder / "model.safetensors")
    del tensors["query_tokens"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigurationError, match="lacks weights: query_tokens"):
        load_backbone(str(copied))


def test_a_folder_without_a_tokenizer_is_refused(copied: Path) -> None:
    shutil.rmtree(copied / "qformer_tokenizer")
    with pytest.raises(ConfigurationError, match="qformer_tokenizer holds none of"):
        load_backbone(str(copied), device="cpu")


def test_devices_are_explicit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    for name in ("cuda", "cuda:3", "mps", "tpu", "xpu"):
        with pytest.raises(ConfigurationError) as caught:
            choose_device(name)
        assert caught.value.setting == "MODERATION_DEVICE"
    with pytest.raises(ConfigurationError, match="float64") as caught:
        choose_dtype("float64", torch.device("cpu"))
    assert caught.value.setting == "MODERATION_DTYPE"


def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert choose_dtype("auto", torch.device("cuda")) == torch.float32


class _Hub(BaseHTTPRequestHandler):
    """A Hub that has one model, gated, and knows no other."""

    def do_GET(self) -> None:
        code, status = ("GatedRepo", 403) if "gated" in self.path else ("RepoNotFound", 404)
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - named by http.server

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def fake_hub() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("someone/unknown", "no folder here, and the Hub shows no such model"),
        ("someone/gated", "terms to be accepted"),
        ("not a name!", "neither a folder nor a Hub id"),
        ("/no/such/folder", "neither a folder nor a Hub id"),
    ],
)
def test_a_name_the_hub_does_not_know(
    name: str, problem: str, fake_hub: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api = HfApi(endpoint=fake_hub)
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match=problem) as caught:
        load_backbone(name, device="cpu")
    assert caught.value.setting == "MODERATION_BACKBONE"
    assert "miniature" in caught.value.hint


def test_a_hub_that_can_not_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    api = HfApi(endpoint="http://127.0.0.1:9")  # the discard port: nothing listens
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match="the Hub can't be reached"):
        load_backbone("Salesforce/instructblip-vicuna-7b", device="cpu")
