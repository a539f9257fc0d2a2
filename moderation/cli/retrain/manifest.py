"""What a retraining would learn from, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moderation.cli.shared import counted, print_facts, print_table, say

_SIDES = {"train": "train", "val": "validate", "holdout": "held out"}
_CLASSES = ("real", "fake")
_SHOWN = 8


def say_manifest(counts: Mapping[str, Any]) -> None:
    """The manifest in a few lines of talk."""
    side, replay = _sums(counts["side"]), counts["replay"]
    shares = ", ".join(f"{side[name]:,} {what}" for name, what in _SIDES.items())
    say(f"{counted(counts['images'], 'reviewed image')}: {shares}")
    if replay["pictures"]:
        shares = ", ".join(f"{_sums(replay['side'])[name]:,} {what}" for name, what in _SIDES.items())
        say(f"{counted(replay['pictures'], 'picture')} replayed: {shares}")
    if counts["left_out"]:
        say(f"{sum(counts['left_out'].values()):,} left out: {_listed(counts['left_out'])}")


def print_manifest(counts: Mapping[str, Any], parent: str) -> None:
    """All of it, on standard output."""
    replay = counts["replay"]
    columns = ("", *_CLASSES, *(f"replayed {name}" for name in _CLASSES))
    rows = [
        (what, *(f"{table[name][each]:,}" for table in (counts["side"], replay["side"]) for each in _CLASSES))
        for name, what in _SIDES.items()
    ]
    print_table(columns, rows, right=columns[1:])
    facts = {
        "from": parent,
        "labels": _listed(counts["label"]),
        "sources": _listed(counts["source"]),
        "looked at for": _listed(counts["reason"]),
        "trust": _listed(counts["trust"]),
        "sizes": _listed(counts["size"]),
        "groups": f"{counts['groups']:,}; near-duplicates are one",
        "hard": f"{counts['hard']:,} that a sure machine got wrong; they weigh more",
        "held out": f"{counts['held_out']:,}; {counts['newly_placed']:,} get their side with this run, for good",
        "replayed fakes": _listed(replay["generator"]),
        "left out": _listed(counts["left_out"]) or "none",
        "lessons": counts["sha256"],
    }
    print_facts({name: value for name, value in facts.items() if value})


def _sums(sides: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(classes.values()) for name, classes in sides.items()}


def _listed(counts: Mapping[str, int]) -> str:
    """The most frequent ones by number, the rest as one."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    listed = [f"{count:,} {name}" for name, count in ordered[:_SHOWN]]
    if rest := ordered[_SHOWN:]:
        listed.append(f"{sum(count for _, count in rest):,} of {len(rest)} others")
    return ", ".join(listed)
