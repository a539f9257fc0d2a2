"""The plan of a retraining: from the active prompt's numbers, gently, so that what it knows is kept."""

from __future__ import annotations

from moderation.detector.backbone import Backbone
from moderation.detector.crops import Pool
from moderation.detector.prompt import SoftPrompt
from moderation.errors import ConfigurationError
from moderation.training.plan import Sides, TunePlan
from moderation.training.start import suggested_rate

RATE_SHARE = 0.1
"""Of the rate that tuning from random numbers takes: with all of it the miniature's word forgot; docs/retraining.md."""
PATIENCE = 8  # epochs without a lower validation loss


def plan_for(parent: SoftPrompt, backbone: Backbone, seed: int, name: str, *, epochs: int | None = None) -> TunePlan:
    """What `tune` is to do with the lessons.

    Question, sides, tokens, members, crops and normalisation stay the parent's, and so does whether there is an expert:
    only then can both share a vision pass, and only what was learned differs. Raises ConfigurationError.
    """
    word = parent.qformer if parent.qformer is not None else parent.llm
    if word is None or parent.position == "plain":
        problem = "the active one asks the plain question: it has no pseudo-word to go on from"
        raise ConfigurationError("prompt", problem, hint="tune one: modctl tune, then: modctl prompt activate ID")
    sides: Sides = "both" if parent.qformer is not None and parent.llm is not None else (
        "qformer" if parent.qformer is not None else "llm"
    )  # fmt: skip
    pool: Pool = parent.crops.pool if parent.crops else "mean"
    statistics = parent.normalisation
    return TunePlan(
        name=name,
        position=parent.position,
        sides=sides,
        tokens=word.shape[-2],
        members=word.shape[0] if word.ndim == 3 else 1,
        init=f"prompt:{parent.sha256}",
        normalisation="/".join(",".join(repr(value) for value in part) for part in (statistics.mean, statistics.std)),
        seed=seed,
        lr=float(f"{RATE_SHARE * suggested_rate(backbone):.1e}"),
        epochs=epochs,
        patience=PATIENCE,
        crops=parent.crops.count if parent.crops else 0,
        crop_pool=pool,
        expert=parent.expert is not None,
    )
