"""torch lives here: the frozen backbone, the tuned pseudo-word, and the forward pass from pixels to a margin.

It fetches no pictures, opens no files but weights and prompts, and decides nothing. Importing this package is cheap;
the first use of a name below loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderation.detector.backbone import Backbone, load_backbone
    from moderation.detector.calibration import Calibration
    from moderation.detector.checkpoint import OriginalCheckpoint, read_original
    from moderation.detector.crops import Crops
    from moderation.detector.detector import Detector, Score, score_together
    from moderation.detector.device import kind_of
    from moderation.detector.ensemble import member_margins
    from moderation.detector.expert import ExpertWeights, PixelExpert
    from moderation.detector.preprocess import STATISTICS_150K, STATISTICS_150K_LAMA, Normalisation, normalise
    from moderation.detector.prompt import PromptVectors, SoftPrompt
    from moderation.detector.question import MARKER, QUESTIONS
    from moderation.detector.scoring import answer_logits, answer_losses, margins, vision_features

_HOME = {
    "Backbone": "backbone",
    "load_backbone": "backbone",
    "Calibration": "calibration",
    "OriginalCheckpoint": "checkpoint",
    "read_original": "checkpoint",
    "Crops": "crops",
    "Detector": "detector",
    "score_together": "detector",
    "kind_of": "device",
    "member_margins": "ensemble",
    "ExpertWeights": "expert",
    "PixelExpert": "expert",
    "Score": "detector",
    "STATISTICS_150K": "preprocess",
    "STATISTICS_150K_LAMA": "preprocess",
    "Normalisation": "preprocess",
    "normalise": "preprocess",
    "PromptVectors": "prompt",
    "SoftPrompt": "prompt",
    "MARKER": "question",
    "QUESTIONS": "question",
    "answer_logits": "scoring",
    "answer_losses": "scoring",
    "margins": "scoring",
    "vision_features": "scoring",
}

__all__ = [
    "MARKER",
    "QUESTIONS",
    "STATISTICS_150K",
    "STATISTICS_150K_LAMA",
    "Backbone",
    "Calibration",
    "Crops",
    "Detector",
    "ExpertWeights",
    "Normalisation",
    "OriginalCheckpoint",
    "PixelExpert",
    "PromptVectors",
    "Score",
    "SoftPrompt",
    "answer_logits",
    "answer_losses",
    "kind_of",
    "load_backbone",
    "margins",
    "member_margins",
    "normalise",
    "read_original",
    "score_together",
    "vision_features",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
