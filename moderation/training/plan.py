"""What a tuning run is to do: every choice in one frozen object that survives JSON. It refuses what makes no sense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from moderation.detector.crops import MAX_CROPS, Pool
from moderation.detector.preprocess import Normalisation, Triple
from moderation.detector.question import QUESTIONS
from moderation.errors import ConfigurationError
from moderation.training.schedule import Schedule

MAX_TOKENS = 16
MAX_MEMBERS = 16
MAX_RATE = 1000  # no rate near it is of use; AdamW itself fails beyond float32
CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""CLIP's image statistics (openai/CLIP, clip.py), which the Hub's processor of InstructBLIP uses too."""

PROMPT_RATE = 0.3
"""Our peak rate for vectors, in standard deviations of the word embeddings (`start.suggested_rate`).

The miniature's .03 worked (anything from 1e-3 to 1e-1 did) where that deviation is .095. AdamW moves a number by about
its rate a step, so the rate must be in the unit of what is tuned; the original's 1e-5 stands still in a few hundred."""
LORA_RATE = 2e-4 * 4096
"""Our peak rate for LoRA, times the width of the language model: 2e-4 at width 4,096 (Hu et al. 2021, GPT-3 175B use
2e-4), and inversely with width (Yang et al. 2022, Adam on hidden weights)."""
_STEPS = 400  # the miniature's pseudo-word took 300 steps to its best validation
_LEAST_EPOCHS, _LEAST_STEPS = 2, 10  # steps an epoch: then a small set is validated, and kept, 40 times a run

Position = Literal["prefix", "postfix", "replace"]
Sides = Literal["both", "qformer", "llm"]
Method = Literal["prompt", "lora"]
Loss = Literal["answer", "margin"]
Augment = Literal["none", "paper", "robust"]
Precision = Literal["fp32", "bf16", "fp16"]
Recipe = Literal["default", "paper"]
_ONLY_PROMPT = ("position", "sides", "tokens", "init", "members", "crops", "expert")


@dataclass(frozen=True, slots=True)
class TunePlan:
    """The default recipe is ours: two-way loss with balanced classes, vision features kept, OneCycle.

    None stands for what depends on backbone and data: `filled` puts a number there. `paper` has the authors' defaults.
    An epoch is `rounds` passes over the training pictures and one validation: one pass where `epochs` was given, as in
    the paper's recipe; else as many as make 10 steps.
    """

    name: str = "tuned"
    recipe: Recipe = "default"
    method: Method = "prompt"
    position: Position = "postfix"  # the paper's best: 91.59 against 90.51 prefix and 88.12 replace (its ablation)
    sides: Sides = "both"
    tokens: int = 1  # the paper's; more did not reliably help the miniature
    init: str = "random"  # random, word:W or prompt:ID
    loss: Loss = "margin"
    augment: Augment = "none"
    normalisation: str = "dataset"  # dataset, clip or R,G,B/R,G,B
    epochs: int | None = None  # None: about 400 steps, 2 to 40 epochs
    rounds: int | None = None  # None: 1 where epochs were given
    batch_size: int = 32  # about 12 GB of activations in bfloat16 at 7B parameters and 40 positions, by calculation
    lr: float | None = None  # None: PROMPT_RATE or LORA_RATE
    schedule: Schedule = "onecycle"
    weight_decay: float = 0.05  # the paper's
    seed: int = 42  # the paper's
    patience: int | None = None  # epochs without a lower validation loss; None: never stop early
    precision: Precision | None = None  # None: as the backbone was loaded (MODERATION_DTYPE)
    members: int = 1
    crops: int = 0
    crop_pool: Pool = "mean"
    expert: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigurationError, which names the option."""
        for name, allowed in _named().items():
            if getattr(self, name) not in allowed:
                known = ", ".join(value for value in allowed if value)
                raise refused(name, f"{getattr(self, name)!r} is not allowed: use {known}")
        if not self.name or self.name != self.name.strip() or set(self.name) & set("/\\\0\n"):
            raise refused("name", f"{self.name!r} can't be a folder's name")
        for name, low, high in (("tokens", 1, MAX_TOKENS), ("members", 1, MAX_MEMBERS), ("crops", 0, MAX_CROPS),
                                ("epochs", 1, 10_000), ("rounds", 1, 10_000), ("batch_size", 1, 65_536),
                                ("patience", 1, 10_000), ("seed", 0, 2**31 - 1)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise refused(name, f"{value} is not allowed: {low} to {high}")
        if self.lr is not None and not 0 < self.lr <= MAX_RATE:
            raise refused("lr", f"{self.lr} must be above 0 and at most {MAX_RATE}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise refused("weight_decay", f"{self.weight_decay} must not be below 0")
        if self.crop_pool != "mean" and not self.crops:
            raise refused("crop_pool", "says how crops are pooled, and there are none", hint="add --crops K")
        self._check_texts()
        self._check_method()

    @classmethod
    def paper(cls, **overrides: Any) -> Self:
        """The authors' defaults to the letter (repository nctu-eva-lab/AntifakePrompt); `overrides` go before."""
        return cls(**({"recipe": "paper", **PAPER, **overrides}))

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The plan that `to_json` wrote."""
        return cls(**found)

    def to_json(self) -> dict[str, Any]:
        """Plain values by field."""
        return asdict(self)

    @property
    def question(self) -> str:
        """What is asked: with the marker at the pseudo-word's place, or the plain question for LoRA."""
        return QUESTIONS["plain" if self.method == "lora" else self.position]

    @property
    def passes(self) -> int:
        """Over the training pictures, an epoch."""
        return self.rounds or 1

    def steps_a_pass(self, pictures: int) -> int:
        """An incomplete last batch is left out, as the original does, unless it is the only one."""
        return max(1, pictures // self.batch_size)

    def iterations(self, pictures: int) -> int:
        """Steps an epoch."""
        return self.passes * self.steps_a_pass(pictures)

    def filled(self, *, pictures: int, lr: float) -> Self:
        """The plan with numbers for what was left open; lr: the rate that suits the backbone."""
        plan = replace(self, lr=self.lr or lr)
        if self.epochs is None:
            rounds = self.rounds or math.ceil(_LEAST_STEPS / self.steps_a_pass(pictures))
            plan = replace(plan, rounds=rounds)
            plan = replace(plan, epochs=max(math.ceil(_STEPS / plan.iterations(pictures)), _LEAST_EPOCHS))
        return plan

    def statistics(self) -> Normalisation | None:
        """The normalisation that was named; None: that of the training pictures."""
        if self.normalisation == "dataset":
            return None
        return CLIP if self.normalisation == "clip" else _values(self.normalisation)

    def _check_texts(self) -> None:
        kind, _, value = self.init.partition(":")
        if self.init != "random" and (kind not in ("word", "prompt") or not value.strip()):
            raise refused("init", f"{self.init!r} is not allowed: use random, word:W or prompt:ID")
        self.statistics()

    def _check_method(self) -> None:
        if self.method == "lora":
            default = {field.name: field.default for field in fields(self)}
            for name in _ONLY_PROMPT:
                if getattr(self, name) != default[name]:
                    raise refused(name, "is for --method prompt; LoRA asks the plain question without a pseudo-word")


PAPER: Mapping[str, Any] = {
    "loss": "answer",
    "augment": "paper",
    "normalisation": "dataset",
    "epochs": 10,
    "batch_size": 6,
    "lr": 1e-5,
    "schedule": "paper",
    "weight_decay": 0.05,
    "seed": 42,
    "precision": "fp16",
    "init": "random",
    "tokens": 1,
    "position": "postfix",
    "sides": "both",
}
"""AdamW's betas (0.9, 0.999), no clipping, N(0, 0.02) and the best epoch by validation loss are the same in ours."""


def option(field: str) -> str:
    """How a field is called on the command line."""
    return "--" + field.replace("_", "-")


def refused(field: str, problem: str, *, hint: str = "") -> ConfigurationError:
    """The error for a field's value."""
    return ConfigurationError(option(field), problem, hint=hint)


def _named() -> dict[str, tuple[str | None, ...]]:
    """The fields that take one of a few names."""
    allowed = {}
    for name, hint in get_type_hints(TunePlan).items():
        kinds = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
        names = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
        if names:
            allowed[name] = (*names, *([None] if NoneType in kinds else []))
    return allowed


def _values(text: str) -> Normalisation:
    try:
        mean, std = (_triple(part) for part in text.split("/"))
        return Normalisation(mean, std)
    except ValueError as error:
        hint = "use dataset, clip, or mean and deviation by channel such as 0.473,0.4499,0.4129/0.278,0.2713,0.2872"
        raise refused("normalisation", f"{text!r} is not allowed: {error}", hint=hint) from None


def _triple(text: str) -> Triple:
    red, green, blue = (float(value) for value in text.split(","))
    return red, green, blue
