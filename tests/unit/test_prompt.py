"""The soft prompt's file: the same bytes for the same prompt, bit for bit there and back, and refusals by name."""

from __future__ import annotations

import dataclasses
import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from moderation.detector import (
    QUESTIONS,
    Backbone,
    Calibration,
    Crops,
    ExpertWeights,
    Normalisation,
    PixelExpert,
    SoftPrompt,
    load_backbone,
)
from moderation.detector.expert import ARCHITECTURE, MAX_PARAMETERS
from moderation.errors import ConfigurationError, PromptMismatch
from moderation.miniature import PROMPT_FILE, WORD_FILE
from tests import tiny_backbones as tiny


def _prompt(**changes: Any) -> SoftPrompt:
    fields: dict[str, Any] = {
        "backbone": "miniature",
        "qformer": torch.tensor([[1e-38, -0.0, 3.1415927]]),
        "llm": torch.tensor([[0.1, 1 / 3], [2.0, -65504.0]]),
        "revision": "abc",
        "normalisation": Normalisation((0.1, 0.2, 1 / 3), (0.7, 0.8, 0.9)),
        "calibration": Calibration(1.7, -0.3),
        "metadata": {"run": 7, "notes": ["ünïcode", None]},
    }
    return SoftPrompt(**{**fields, **changes})


def _expert(**changes: Any) -> ExpertWeights:
    torch.manual_seed(3)
    return ExpertWeights(**{"tensors": PixelExpert().tensors(), "weight": 0.7, "crops": 2, **changes})


def _ensemble(**changes: Any) -> SoftPrompt:
    """Three members with all that format 2 can say."""
    generator = torch.Generator().manual_seed(4)
    fields: dict[str, Any] = {
        "qformer": torch.randn(3, 2, 5, generator=generator),
        "llm": torch.randn(3, 1, 7, generator=generator),
        "calibration": Calibration(1.7, -0.3, ((-1.0, 0.1), (1 / 3, 0.5), (2.0, 0.9)), {"avatars": 0.25, "ü": -1 / 3}),
        "crops": Crops(4, "max", 0.1, 2 / 3),
        "expert": _expert(),
    }
    return _prompt(**{**fields, **changes})


def _same(one: SoftPrompt, two: SoftPrompt) -> bool:
    for field in dataclasses.fields(SoftPrompt):
        left, right = getattr(one, field.name), getattr(two, field.name)
        if isinstance(left, torch.Tensor):
            if left.numpy().tobytes() != right.numpy().tobytes():
                return False
        elif isinstance(left, ExpertWeights):
            same = all(torch.equal(values, right.tensors[name]) for name, values in left.tensors.items())
            if not same or (left.weight, left.crops) != (right.weight, right.crops):
                return False
        elif left != right:
            return False
    return True


def _with_header(prompt: SoftPrompt, **changes: Any) -> bytes:
    """The prompt's bytes with entries of its header replaced; None removes one."""
    data = prompt.to_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    outer = json.loads(data[8 : 8 + size])
    header = {**json.loads(outer["__metadata__"]["antifake_prompt"]), **changes}
    header = {key: value for key, value in header.items() if value is not ...}
    return save(load(data), metadata={"antifake_prompt": json.dumps(header)})


@pytest.mark.parametrize(
    "prompt",
    [
        _prompt(),
        _prompt(revision=None, metadata={}),
        _prompt(llm=None),
        _prompt(qformer=None, position="replace", question=QUESTIONS["replace"]),
        _prompt(position="prefix", question=QUESTIONS["prefix"]),
        SoftPrompt.plain("miniature", revision="abc"),
        _ensemble(),
        _ensemble(qformer=None),
        _ensemble(llm=None, expert=None),
        _prompt(crops=Crops(1)),
        _prompt(expert=_expert(weight=1 / 3, crops=16)),
        _prompt(calibration=Calibration(source_bias={"forum": 0.5})),
        _prompt(calibration=Calibration(isotonic=((-1.0, 0.25), (1.0, 0.75)))),
        dataclasses.replace(SoftPrompt.plain("miniature"), crops=Crops(2), expert=_expert()),
    ],
)
def test_a_round_trip_keeps_every_bit(prompt: SoftPrompt, tmp_path: Path) -> None:
    data = prompt.to_bytes()
    again = SoftPrompt.from_bytes(data, sha256=prompt.sha256)
    assert _same(prompt, again)
    assert again.to_bytes() == data
    assert prompt.save(tmp_path / "prompt.safetensors") == prompt.sha256
    assert _same(SoftPrompt.load(tmp_path / "prompt.safetensors", sha256=prompt.sha256), prompt)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8), st.floats(-9, 9))
def test_a_round_trip_keeps_any_numbers(numbers: list[float], bias: float) -> None:
    prompt = _prompt(qformer=torch.tensor([numbers], dtype=torch.float32), calibration=Calibration(1.0, bias))
    assert _same(SoftPrompt.from_bytes(prompt.to_bytes()), prompt)


def test_the_bytes_do_not_depend_on_how_the_prompt_came_about() -> None:
    strided = torch.stack((torch.tensor([0.1, 1 / 3]), torch.tensor([2.0, -65504.0])), dim=1).T
    assert not strided.is_contiguous()
    other = _prompt(llm=strided, metadata={"notes": ["ünïcode", None], "run": 7})
    assert other.to_bytes() == _prompt().to_bytes()
    assert _prompt(metadata={"run": 8}).sha256 != _prompt().sha256


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"position": "middle"}, "position 'middle' is unknown: use prefix, postfix, replace, plain"),
        ({"question": "Is this photo real?"}, r"must hold \[\*\] once"),
        ({"question": "[*] [*]"}, r"must hold \[\*\] once"),
        ({"position": "plain"}, "plain has no vectors"),
        ({"qformer": None, "llm": None}, "plain has no vectors"),
        ({"qformer": torch.zeros(3)}, r"qformer must be float32 \[K, H\]"),
        ({"llm": torch.zeros(0, 2)}, r"llm must be float32 \[K, H\]"),
        ({"llm": torch.zeros(1, 2, dtype=torch.float16)}, "llm must be float32"),
        ({"llm": torch.tensor([[float("nan"), 1.0]])}, "llm holds numbers that are not finite"),
        ({"qformer": torch.tensor([[float("inf")]])}, "qformer holds numbers that are not finite"),
        (
            {"qformer": torch.zeros(3, 1, 2), "llm": torch.zeros(2, 1, 2)},
            r"as many members: .*\[3, 1, 2\].*\[2, 1, 2\]",
        ),
        ({"qformer": torch.zeros(2, 1, 2), "llm": torch.zeros(1, 2)}, "both sides must hold as many members"),
        ({"qformer": torch.zeros(0, 1, 2), "llm": None}, r"qformer must be float32 \[K, H\], or \[M, K, H\]"),
        ({"llm": torch.zeros(1, 1, 1, 2)}, r"llm must be float32 \[K, H\], or \[M, K, H\]"),
    ],
)
def test_a_prompt_that_can_not_be_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        _prompt(**changes)


def test_a_prompt_that_says_nothing_new_keeps_the_bytes_of_format_1() -> None:
    word = WORD_FILE.read_bytes()
    prompt = SoftPrompt.from_bytes(word)
    assert prompt.to_bytes() == word
    assert (_header(word)["format"], prompt.members, prompt.native_crops, prompt.looks) == (1, 1, 0, "whole")
    assert _header(_prompt(crops=Crops(1)).to_bytes())["format"] == 2


def test_the_shipped_prompt_is_the_word_to_the_bit_with_an_expert() -> None:
    shipped, word = PROMPT_FILE.read_bytes(), SoftPrompt.load(WORD_FILE)
    prompt = SoftPrompt.from_bytes(shipped)
    assert prompt.to_bytes() == shipped
    assert (_header(shipped)["format"], prompt.members, prompt.native_crops, prompt.crops) == (2, 1, 1, None)
    for side in ("qformer", "llm"):
        assert getattr(prompt, side).numpy().tobytes() == getattr(word, side).numpy().tobytes()
    assert (prompt.question, prompt.normalisation, prompt.revision) == (
        word.question,
        word.normalisation,
        word.revision,
    )
    assert prompt.metadata["word"] == word.sha256


def test_a_prompt_says_what_it_sees() -> None:
    assert _prompt(crops=Crops(4)).looks == "whole + 4 crops mean in 0.2..0.8"
    assert _ensemble().looks == f"whole + 4 crops max in 0.1..0.666667, expert {ARCHITECTURE} on 2 crops, weight 0.7"
    assert [prompt.native_crops for prompt in (_ensemble(), _ensemble(crops=None), _prompt())] == [4, 2, 0]
    assert [prompt.members for prompt in (_ensemble(), _ensemble(llm=None), _prompt())] == [3, 3, 1]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"count": 0}, "0 crops: 1 to 16"),
        ({"count": 17}, "17 crops: 1 to 16"),
        ({"pool": "median"}, "pooled by mean or max, not 'median'"),
        ({"low": 0.9, "high": 0.1}, "must rise"),
        ({"high": float("nan")}, "must rise"),
    ],
)
def test_crops_that_can_not_be_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Crops(**{"count": 4, **changes})


def _spoilt(name: str, values: torch.Tensor | None) -> dict[str, torch.Tensor]:
    tensors = {**PixelExpert().tensors(), name: torch.zeros(1) if values is None else values}
    return {key: value for key, value in tensors.items() if values is not None or key != name}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tensors": {}}, "lacks head.bias, head.weight, layers.0.bias"),
        ({"tensors": _spoilt("head.bias", None)}, "lacks head.bias$"),
        ({"tensors": _spoilt("layers.4.weight", torch.zeros(1))}, f"{ARCHITECTURE} has no layers.4.weight"),
        ({"tensors": _spoilt("head.weight", torch.zeros(2, 64))}, r"head.weight is \[2, 64\], not \[1, 64\]"),
        ({"tensors": _spoilt("head.bias", torch.zeros(1).half())}, "head.bias must be float32"),
        ({"tensors": _spoilt("head.bias", torch.tensor([float("nan")]))}, "head.bias must be float32 and finite"),
        ({"architecture": "residual-0"}, f"'residual-0' is unknown; this version has {ARCHITECTURE}"),
        ({"weight": 0.0}, "weight 0.0 must be finite and above 0"),
        ({"crops": 0}, "looks at 1 to 16 crops, not 0"),
    ],
)
def test_an_expert_that_can_not_be_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        _expert(**changes)


def test_the_expert_is_tiny() -> None:
    assert sum(values.numel() for values in PixelExpert().tensors().values()) <= MAX_PARAMETERS


def _header(data: bytes) -> dict[str, Any]:
    outer = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    header: dict[str, Any] = json.loads(outer["__metadata__"]["antifake_prompt"])
    return header


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"crops": {"count": 4, "pool": "median", "low": 0, "high": 1}}, "pooled by mean or max"),
        ({"crops": {"count": 4, "where": "left"}}, "where"),
        ({"crops": 4}, "must be a mapping"),
        ({"expert": ...}, "holds the tensors of a pixel expert, and its header knows of none"),
        ({"expert": {"weight": 1.0, "crops": 2}}, "lacks 'architecture'"),
        ({"expert": {"weight": -1.0, "crops": 2, "architecture": ARCHITECTURE}}, "weight -1.0"),
        ({"expert": {"weight": 1.0, "crops": 2, "architecture": "transformer"}}, "'transformer' is unknown"),
        ({"isotonic": [[0.0, 0.9], [1.0, 0.1]]}, "do not rise"),
        ({"source_bias": {"forum": float("inf")}}, "source 'forum' is not finite"),
        ({"members": 4}, "its header says 4 members, its tensors hold 3"),
        ({"temperature": 2.0}, "unknown fields temperature"),
    ],
)
def test_a_field_of_format_2_that_is_wrong_is_refused_by_name(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        SoftPrompt.from_bytes(_with_header(_ensemble(), **changes))


def test_metadata_must_be_plain_json() -> None:
    for metadata in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises(ConfigurationError, match="plain JSON"):
            _prompt(metadata=metadata).to_bytes()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 3}, "format 3; this version reads 1, 2"),
        ({"position": "middle"}, "position 'middle'"),
        ({"position": ...}, "lacks 'position'"),
        ({"backbone": ...}, "lacks 'backbone'"),
        ({"backbone": 7}, "backbone must be text"),
        ({"mean": [1.0, 2.0]}, "not enough values"),
        ({"mean": 5}, "not iterable"),
        ({"std": [0.0, 1.0, 1.0]}, "std above 0"),
        ({"scale": -1.0}, "scale -1.0"),
        ({"scale": None}, "float"),
        ({"metadata": 5}, "not iterable"),
    ],
)
def test_a_header_that_is_wrong_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        SoftPrompt.from_bytes(_with_header(_prompt(), **changes))
    assert caught.value.setting == "prompt"


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    good = _prompt().to_bytes()
    for data in (b"", b"PK\x03\x04", good[:20], b"\xff" * 64, save({"x": torch.zeros(1)}), good[8:]):
        with pytest.raises(ConfigurationError, match="not a prompt of this program"):
            SoftPrompt.from_bytes(data)
    for data in (good[:-3], good + b"x"):
        with pytest.raises(ConfigurationError, match="not a safetensors file"):
            SoftPrompt.from_bytes(data)
    header = json.loads(good[8 : 8 + struct.unpack("<Q", good[:8])[0]])["__metadata__"]
    for metadata in ({"antifake_prompt": "[1]"}, {"antifake_prompt": "{"}):
        with pytest.raises(ConfigurationError):
            SoftPrompt.from_bytes(save({"qformer": torch.zeros(1, 1)}, metadata=metadata))
    with pytest.raises(ConfigurationError, match="unknown tensors extra"):
        SoftPrompt.from_bytes(save({"extra": torch.zeros(1, 1)}, metadata=header))
    with pytest.raises(ConfigurationError, match="No such file"):
        SoftPrompt.load(tmp_path / "missing.safetensors")


def test_another_sha256_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=f"sha256 is {_prompt().sha256}, expected 00"):
        SoftPrompt.from_bytes(_prompt().to_bytes(), sha256="00")


@given(st.integers(0, 700), st.integers(0, 255))
def test_a_changed_byte_gives_a_prompt_or_a_refusal(place: int, value: int) -> None:
    data = bytearray(_prompt().to_bytes())
    data[place % len(data)] = value
    with suppress(ConfigurationError):
        SoftPrompt.from_bytes(bytes(data))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(str(tiny.llama_folder(tmp_path_factory.mktemp("backbone") / "model")), device="cpu")


def _fitting(loaded: Backbone, /, **changes: Any) -> SoftPrompt:
    fields: dict[str, Any] = {
        "backbone": loaded.name,
        "qformer": torch.zeros(2, tiny.QFORMER_WIDTH),
        "llm": torch.zeros(1, tiny.LLM_WIDTH),
        "revision": loaded.revision,
    }
    return SoftPrompt(**{**fields, **changes})


def test_a_prompt_fits_the_backbone_it_was_tuned_on(backbone: Backbone) -> None:
    _fitting(backbone).check_fits(backbone)
    _fitting(backbone, revision=None).check_fits(backbone)
    _fitting(backbone, backbone="the same files, elsewhere").check_fits(backbone)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone": "other", "revision": None}, ["other"]),
        ({"backbone": "other", "revision": "0123"}, ["other", "0123"]),
        ({"qformer": torch.zeros(1, 768)}, ["qformer", "768", str(tiny.QFORMER_WIDTH)]),
        ({"llm": torch.zeros(1, 4096)}, ["llm", "4096", str(tiny.LLM_WIDTH)]),
    ],
)
def test_a_prompt_that_does_not_fit_says_why(backbone: Backbone, changes: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(PromptMismatch) as caught:
        _fitting(backbone, **changes).vectors(backbone)
    for text in (*named, backbone.name):
        assert text in str(caught.value)
