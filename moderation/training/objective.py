"""What tuning makes smaller. Both losses are differentiable in the prompt alone and take vision features."""

from __future__ import annotations

import torch
from torch.nn import functional

from moderation.detector.backbone import Backbone
from moderation.detector.prompt import PromptVectors
from moderation.detector.scoring import answer_logits, answer_losses
from moderation.training.plan import Loss


def losses(
    backbone: Backbone, prompt: PromptVectors, is_fake: torch.Tensor, features: torch.Tensor, kind: Loss
) -> torch.Tensor:
    """float32 [B]. answer: the paper's, over answer and EOS. margin: cross-entropy between `yes` and `no` alone.

    is_fake: bool [B], on the backbone's device.
    """
    if kind == "answer":
        return answer_losses(backbone, prompt, is_fake, features=features)
    return margin_losses(answer_logits(backbone, prompt, features=features), is_fake)


def margin_losses(logits: torch.Tensor, is_fake: torch.Tensor) -> torch.Tensor:
    """float32 [B] from `answer_logits` [B, 2]: what the calibration's logistic regression would minimise too."""
    return functional.cross_entropy(logits, is_fake.long(), reduction="none")


def class_weights(kind: Loss, real: float, fake: float) -> torch.Tensor:
    """float32 [2], of a real and of a fake picture: both classes weigh the same in the margin loss, 1 on average.

    real, fake: how many there are, or the sum of their own weights. The answer loss is the original's plain mean.
    """
    if kind == "answer":
        return torch.ones(2)
    total = real + fake
    return torch.tensor([total / (2 * real), total / (2 * fake)])


def weighted(
    values: torch.Tensor, is_fake: torch.Tensor, weights: torch.Tensor, own: torch.Tensor | None = None
) -> torch.Tensor:
    """The batch's loss, a scalar. weights: [2], of the classes; own: [B], of the pictures (None: all weigh 1)."""
    values = values * weights.to(values.device)[is_fake.long()]
    return (values if own is None else values * own.to(values.device)).mean()
