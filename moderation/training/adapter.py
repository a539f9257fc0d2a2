"""LoRA matrices in a language model's q and v, as the paper's baseline has them.

An adapter is on only while it trains or scores, so that other candidates on the same backbone never feel it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from moderation.detector.backbone import Backbone
from moderation.detector.prompt import PromptVectors
from moderation.detector.question import QUESTIONS
from moderation.training.augment import number
from moderation.training.plan import LORA_RATE

RANK, ALPHA, DROPOUT = 8, 32, 0.1
"""The paper's (arXiv 2310.17419, its LoRA baseline)."""
_TARGETS = {"llama": ("q_proj", "v_proj"), "t5": ("q", "v")}
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
            layer.eval()  # new modules are in training mode: their dropout would be drawn while scoring
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


def suggested_rate(backbone: Backbone) -> float:
    """LORA_RATE at the language model's width, to 2 digits."""
    return float(f"{LORA_RATE / backbone.llm_width:.1e}")


def _targets(backbone: Backbone) -> tuple[str, ...]:
    return _TARGETS[backbone.model.config.text_config.model_type]
