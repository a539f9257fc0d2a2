"""The paper's whole results table beside this run's accuracies, in per cent as the paper gives them."""

from __future__ import annotations

from collections.abc import Sequence

from moderation.cli.wide_table import print_wide_table
from moderation.datasets.published import MEAN, published_table
from moderation.evaluation.result import CandidateResult

PRESET = "antifakeprompt"


def papers_title() -> str:
    """What the table is, and whose."""
    return (
        f"accuracy in per cent; the first columns are this run's, the others the paper's ({published_table().source})"
    )


def print_papers_table(candidates: Sequence[CandidateResult]) -> None:
    """The whole published table beside this run's columns, in as many pieces as the screen is narrow."""
    paper = published_table()
    names = [*paper.rows, MEAN]
    ours = {candidate.name: [_percent(candidate, name) for name in names] for candidate in candidates}
    theirs = {f"paper {name}": [f"{paper.value(row, name):.2f}" for row in names] for name in paper.columns}
    print_wide_table({"set": names, **ours}, theirs)


def _percent(candidate: CandidateResult, name: str) -> str:
    """As the paper gives it; '-' where the set is not there. A mean over other sets than the paper's is none."""
    if name != MEAN:
        found = candidate.sets.get(name)
        return f"{100 * found.accuracy.value:.2f}" if found and found.accuracy else "-"
    values = [found.accuracy.value for row in published_table().rows
              if (found := candidate.sets.get(row)) and found.accuracy]  # fmt: skip
    return f"{100 * sum(values) / len(values):.2f}" if len(values) == len(published_table().rows) else "-"
