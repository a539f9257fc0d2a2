"""Holds the tuned pseudo-word against the plain question, the best existing word and bare sharpness, bar by bar."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from moderation.detector import Backbone, SoftPrompt
from moderation.detector.question import MARKER, QUESTIONS
from moderation.miniature import measure, words
from moderation.miniature.condition import CONDITIONS
from moderation.miniature.measure import Honesty, Reading
from moderation.miniature.tune import Features, score, validation_auc

Scorer = Callable[[Features], np.ndarray]
CHOOSING = ("clean", "blurred", "jpeg75")
"""The conditions, on validation photographs, that choose the checkpoint, the best word and every sign."""
HONEST = ("clean", "jpeg75")
"""The conditions in which calibration is judged."""


@dataclass(frozen=True)
class Bar:
    """A figure that was promised. Distances are given whether it was met or not."""

    name: str
    wanted: float
    found: float
    is_upper: bool = False  # the figure should stay below

    @property
    def is_met(self) -> bool:
        """Whether the figure keeps the promise."""
        return self.found <= self.wanted if self.is_upper else self.found >= self.wanted


def word_prompt(word: str, template: str, like: SoftPrompt) -> SoftPrompt:
    """The question with an existing word where the pseudo-word stands."""
    return SoftPrompt.plain(
        like.backbone, revision=like.revision, question=template.replace(MARKER, word), normalisation=like.normalisation
    )


def signed(scorer: Scorer, validation: Mapping[str, Features]) -> Scorer:
    """The scorer, turned round if that is better on validation."""
    if validation_auc(scorer, validation) >= 0.5:
        return scorer
    return lambda features: -scorer(features)


def scorers(
    backbone: Backbone, tuned: SoftPrompt, fused: SoftPrompt, validation: Mapping[str, Features]
) -> dict[str, Scorer]:
    """The pseudo-word alone and with the expert, and what they are compared with; choices are made on validation."""
    plain = SoftPrompt.plain("miniature", revision=tuned.revision, normalisation=tuned.normalisation)
    word, template = best_word(backbone, tuned, validation)
    existing = word_prompt(word, template, tuned)
    return {
        "tuned": lambda features: score(backbone, tuned, features),
        "fused": lambda features: score(backbone, fused, features),
        "plain question": lambda features: score(backbone, plain, features),
        f"best word: {existing.question}": signed(lambda features: score(backbone, existing, features), validation),
        "sharpness alone": signed(lambda features: measure.sharpness(features.pictures), validation),
    }


def best_word(backbone: Backbone, prompt: SoftPrompt, validation: Mapping[str, Features]) -> tuple[str, str]:
    """(word, template): whichever tells most on validation, `yes` meaning real or fake as it turns out."""
    thinned = {name: _thinned(features) for name, features in validation.items()}
    found = {}
    for template in (QUESTIONS["postfix"], QUESTIONS["replace"]):
        for word in words.WORDS:
            asked = word_prompt(word, template, prompt)
            value = validation_auc(lambda one, asked=asked: score(backbone, asked, one), thinned)  # type: ignore[misc]
            found[word, template] = abs(value - 0.5)
    return max(found, key=lambda key: found[key])


def _thinned(features: Features) -> Features:
    """Every fourth pair: enough to choose among ninety questions."""
    rows = np.flatnonzero(features.pictures.pair % 4 == 0)
    return Features(features.pictures.subset(rows), features.values[rows])


def readings(found: Mapping[str, Scorer], conditions: Mapping[str, Features]) -> dict[str, dict[str, Reading]]:
    """{scorer: {condition: reading}}."""
    return {
        name: {condition: measure.read(scorer(conditions[condition]), conditions[condition].pictures, seed=0)
               for condition in CONDITIONS}
        for name, scorer in found.items()
    }  # fmt: skip


def bars(found: Mapping[str, Mapping[str, Reading]], honesty: Mapping[str, Mapping[str, Honesty]]) -> list[Bar]:
    """Every bar with what was found. Order of `found`: tuned, fused, plain question, best existing word, sharpness."""
    tuned, fused, plain, word, sharpness = found.values()
    matched = ("sharpened", "blurred", "soft-blurred")
    return [
        Bar("plain question, clean, mean AUC", 0.70, plain["clean"].mean, is_upper=True),
        Bar("tuned, clean, mean AUC", 0.90, tuned["clean"].mean),
        Bar("tuned, clean, worst family's AUC", 0.85, tuned["clean"].worst),
        Bar("tuned, JPEG quality 75, mean AUC", 0.80, tuned["jpeg75"].mean),
        Bar("tuned, reals blurred to match, mean AUC", 0.75, tuned["blurred"].mean),
        Bar("tuned, unsharpened decoders, reals blurred to match, mean AUC", 0.75, tuned["soft-blurred"].mean),
        *(Bar(f"tuned minus best existing word, {name}", 0.05, tuned[name].mean - word[name].mean) for name in matched),
        *(Bar(f"tuned minus sharpness, {name}", 0.05, tuned[name].mean - sharpness[name].mean) for name in matched),
        Bar("fused, clean, mean AUC", 0.95, fused["clean"].mean),
        Bar("fused, clean, worst family's AUC", 0.90, fused["clean"].worst),
        *(Bar(f"calibration error as shipped, {name}", 0.05, _ece(told["after"]), is_upper=True)
          for name, told in honesty.items()),
    ]  # fmt: skip


def honesties(
    backbone: Backbone, before: SoftPrompt, after: SoftPrompt, conditions: Mapping[str, Features]
) -> dict[str, dict[str, Honesty]]:
    """{condition: {before, after: how far P(fake) can be taken at its word}}; before: the word's own calibration."""
    prompts = {"before": before, "after": after}
    return {
        name: {
            when: measure.honesty(score(backbone, prompt, conditions[name]), conditions[name].pictures, prompt)
            for when, prompt in prompts.items()
        }
        for name in HONEST
    }


def _ece(honesty: Honesty) -> float:
    figure = honesty["ece"]
    return figure.value if figure else math.nan
