"""Metrics of a detector. `fake` says for each image whether it is one; higher scores mean more likely fake."""

from __future__ import annotations

from collections.abc import Sequence


def auc(fake: Sequence[bool], scores: Sequence[float]) -> float:
    """The area under the ROC curve: how often a fake outscores a real one, ties counting half (Mann-Whitney U).

    Raises ValueError unless both classes are there.
    """
    positives = sum(fake)
    negatives = len(fake) - positives
    if not positives or not negatives:
        raise ValueError("an AUC needs images of both classes")
    order = sorted(range(len(scores)), key=scores.__getitem__)
    rank_sum, start = 0.0, 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        mean_rank = (start + end + 1) / 2
        rank_sum += mean_rank * sum(fake[index] for index in order[start:end])
        start = end
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def accuracy(fake: Sequence[bool], probabilities: Sequence[float], threshold: float) -> float:
    """The share of images on the right side of `threshold`, fakes at or above it."""
    right = sum((probability >= threshold) is is_fake for is_fake, probability in zip(fake, probabilities, strict=True))
    return right / len(fake)
