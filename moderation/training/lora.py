"""The paper's baseline: LoRA on the language model's q and v (r 8, alpha 32, dropout 0.1), asked the plain question.

An adapter is on only while it trains or scores, so that other candidates on the same backbone never feel it.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from moderation.detector.backbone import Backbone
from moderation.detector.calibration import Calibration
from moderation.detector.detector import Score, Views
from moderation.detector.halving import halving
from moderation.detector.preprocess import Normalisation, normalise, stack
from moderation.detector.prompt import PromptVectors
from moderation.detector.question import QUESTIONS
from moderation.detector.scoring import answer_logits, margins
from moderation.errors import ConfigurationError, ImageRejected, PromptMismatch, RejectReason
from moderation.training.augment import number
from moderation.training.cache import write_whole
from moderation.training.plan import LORA_RATE

RANK, ALPHA, DROPOUT = 8, 32, 0.1
"""The paper's (arXiv 2310.17419, its LoRA baseline)."""
_TARGETS = {"llama": ("q_proj", "v_proj"), "t5": ("q", "v")}
_OURS, _WEIGHTS, _CONFIG = "antifake.json", "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."  # how peft names the tensors of a model that it wraps
_MATRICES = ("lora_A", "lora_B")


class Adapter:
    """LoRA matrices in one backbone's language model, float32: the thing that an optimiser moves."""

    def __init__(self, backbone: Backbone, seed: int = 0) -> None:
        """Puts new matrices in, switched off; B is zero, so they change nothing yet."""
        from peft import LoraConfig, inject_adapter_in_model

        self.backbone = backbone
        model = backbone.model.language_model
        self._name = f"antifake{len(getattr(model, 'peft_config', {}))}"
        self.config = LoraConfig(
            r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=list(_targets(backbone)), bias="none"
        )
        devices = [backbone.device] if backbone.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # peft's, that a second adapter goes in: it is meant to
            torch.manual_seed(number(seed, "lora"))
            inject_adapter_in_model(self.config, model, adapter_name=self._name)
        self._layers = {
            name: module
            for name, module in model.named_modules()
            if hasattr(module, "lora_A") and self._name in module.lora_A
        }
        self.parameters: dict[str, torch.Tensor] = {}
        for name, layer in self._layers.items():
            for matrix in _MATRICES:
                weight = getattr(layer, matrix)[self._name].weight
                weight.data = weight.data.float()
                self.parameters[f"{_PREFIX}{name}.{matrix}.weight"] = weight
        self._question = backbone.words.question(QUESTIONS["plain"], mark_qformer=False, mark_llm=False)
        self._switch(on=False)

    def vectors(self) -> PromptVectors:
        """The plain question."""
        return PromptVectors(self._question, None, None)

    @contextmanager
    def training(self) -> Iterator[None]:
        """On, with its dropout and the Q-Former's."""
        dropouts = [self.backbone.model.qformer, *(layer.lora_dropout[self._name] for layer in self._layers.values())]
        self._switch(on=True)
        for module in dropouts:
            module.train()
        try:
            yield
        finally:
            for module in dropouts:
                module.eval()
            self._switch(on=False)

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """On, without dropout and gradients."""
        self._switch(on=True)
        try:
            with torch.no_grad():
                yield
        finally:
            self._switch(on=False)

    def load(self, numbers: Mapping[str, torch.Tensor]) -> None:
        """Takes numbers over. Raises ValueError unless they are these matrices in name and shape."""
        shapes = {name: tuple(values.shape) for name, values in self.parameters.items()}
        found = {name: tuple(values.shape) for name, values in numbers.items()}
        if found != shapes:
            odd = sorted(set(shapes.items()) ^ set(found.items()))[0]
            raise ValueError(f"its matrices are not those of {self.backbone.name}: {odd[0]} {list(odd[1])}")
        if not all(bool(torch.isfinite(values).all()) for values in numbers.values()):
            raise ValueError("it holds numbers that are not finite")
        with torch.no_grad():
            for name, values in self.parameters.items():
                values.copy_(numbers[name])

    def _switch(self, *, on: bool) -> None:
        for layer in self._layers.values():
            if on:
                layer.set_adapter(self._name)
            layer.enable_adapters(on)


class LoraDetector:
    """Scores as a Detector does, with an adapter in the place of a prompt. Not locked: one call at a time."""

    native_crops = 0

    def __init__(self, adapter: Adapter, name: str, normalisation: Normalisation, calibration: Calibration) -> None:
        self.backbone = adapter.backbone
        self.name = name
        self.normalisation = normalisation
        self.calibration = calibration
        self._adapter = adapter

    def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> list[Score | ImageRejected]:
        """One item per image, in order; see Detector.score."""
        found = halving(self._margins, stack([view.whole for view in views], self.backbone.image_size))
        named = sources or [""] * len(views)
        return [self._score(margin, source) for margin, source in zip(found, named, strict=True)]

    def _margins(self, pixels: torch.Tensor) -> list[float]:
        ready = normalise(pixels.to(self.backbone.device), self.normalisation)
        with self._adapter.scoring():
            values: list[float] = margins(answer_logits(self.backbone, self._adapter.vectors(), ready)).tolist()
        return values

    def _score(self, margin: float | ImageRejected, source: str) -> Score | ImageRejected:
        if isinstance(margin, ImageRejected):
            return margin
        if not math.isfinite(margin):
            return ImageRejected(RejectReason.NOT_A_NUMBER, f"margin {margin}")
        return Score(margin, self.calibration.probability(margin, source))


def suggested_rate(backbone: Backbone) -> float:
    """LORA_RATE at the language model's width, to 2 digits."""
    return float(f"{LORA_RATE / backbone.llm_width:.1e}")


def save_lora(
    folder: Path,
    adapter: Adapter,
    *,
    name: str,
    normalisation: Normalisation,
    calibration: Calibration,
    metadata: Mapping[str, Any],
) -> None:
    """Writes peft's own two files, which peft can read, and antifake.json with what it takes to score."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone = adapter.backbone
    about = {
        "format": 1,
        "name": name,
        "backbone": backbone.name,
        "revision": backbone.revision,
        "question": QUESTIONS["plain"],
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "calibration": _calibration_to_json(calibration),
        "metadata": dict(metadata),
    }
    tensors = {key: values.detach().cpu().contiguous() for key, values in adapter.parameters.items()}
    write_whole(folder / _WEIGHTS, save(tensors, metadata={"format": "pt"}))
    adapter.config.save_pretrained(str(folder))
    write_whole(folder / _OURS, (json.dumps(about, indent=2, sort_keys=True) + "\n").encode())


def load_lora(path: Path, backbone: Backbone) -> LoraDetector:
    """The adapter in folder `path`, put into `backbone`. Raises ConfigurationError, PromptMismatch."""
    try:
        about = json.loads((path / _OURS).read_text(encoding="utf-8"))
        mean, std = tuple(about["mean"]), tuple(about["std"])
        normalisation, calibration = Normalisation(mean, std), _calibration_from_json(about["calibration"])
        name, tuned_on, revision, text = (str(about[key]) for key in ("name", "backbone", "revision", "question"))
        numbers = load((path / _WEIGHTS).read_bytes())
    except OSError as error:
        hint = f"a folder that `modctl tune --method lora` wrote: {_OURS}, {_WEIGHTS}, {_CONFIG}"
        raise ConfigurationError(f"lora:{path}", f"can't be read: {error}", hint=hint) from None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ConfigurationError(f"lora:{path}", f"is damaged: {error}") from None
    if revision != backbone.revision:
        raise PromptMismatch(
            f"lora:{path} was tuned on {tuned_on} at revision {revision}; "
            f"the backbone loaded is {backbone.name} at revision {backbone.revision}"
        )
    if text != QUESTIONS["plain"]:
        raise ConfigurationError(f"lora:{path}", f"asks {text!r}; this version asks {QUESTIONS['plain']!r}")
    adapter = Adapter(backbone)
    try:
        adapter.load(numbers)
    except ValueError as error:
        raise ConfigurationError(f"lora:{path}", str(error)) from None
    return LoraDetector(adapter, name, normalisation, calibration)


def _targets(backbone: Backbone) -> tuple[str, ...]:
    return _TARGETS[backbone.model.config.text_config.model_type]


def _calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    return {
        "scale": calibration.scale,
        "bias": calibration.bias,
        "isotonic": [list(knot) for knot in calibration.isotonic],
        "source_bias": dict(calibration.source_bias),
    }


def _calibration_from_json(found: Mapping[str, Any]) -> Calibration:
    knots = tuple((float(x), float(y)) for x, y in found["isotonic"])
    return Calibration(float(found["scale"]), float(found["bias"]), knots, dict(found["source_bias"]))
