"""Renders the data card from measured results; it holds no figure of its own.

python -m moderation.miniature.card      # writes DATA_CARD.md anew from results.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import moderation.miniature as package
from moderation.miniature import card_text
from moderation.miniature.condition import CONDITIONS, MEANING

Results = Mapping[str, Any]
_FLAGGED = (
    "Fakes among the samples are less blocky than reals at the phase of the JPEG grid. PNG files of such",
    "pictures show a little of it without any JPEG: that part is the decoders' own, some of which enlarge in",
    "steps of 8 pixels; the rest shows after JPEG. Fakes take more bytes as PNG. Neither word nor expert is",
    "given files or bytes; that they use the same pixels is not ruled out.",
)


def render(results: Results) -> str:
    """The card's Markdown."""
    parts = [_head(results), _figures(results), _honesty(results), _bars(results), _expert(results["prompt"])]
    parts += [_shortcuts(results["shortcuts"]), card_text.data(), card_text.limits(), card_text.licences()]
    return "\n".join(parts)


def _head(results: Results) -> str:
    backbone, origin = results["backbone"], results["origin"]
    return f"""# Data card of the miniature

A real `InstructBlipForConditionalGeneration` with {backbone["parameters"]:,} parameters
({backbone["bytes"] / 1e6:.2f} MB), pre-trained from nothing and then frozen; one pseudo-word tuned on it; beside the
word a pixel expert of {results["prompt"]["cost"]["parameters"]:,} parameters. It tells whether a small picture went
through a small learned decoder. **It says nothing about Midjourney, Stable Diffusion or anything else in the wild**:
for that, load real weights.

Weights and word are made by `python -m moderation.miniature.build`, seed {results["recipe"]["seed"]}, on
{origin["machine"]} ({_stages(origin["seconds"])}).
Expert, calibration and all figures are made by it too, or alone with `--keep-weights`; here so, with decoders at hand,
on {results["machine"]} ({_stages(results["seconds"])}).
Backbone revision `{backbone["revision"][:16]}`, word `{results["word"]["sha256"][:16]}`, prompt
`{results["prompt"]["sha256"][:16]}`: the same word, bit for bit, with the expert. Figures in `results.json`.
"""


def _stages(seconds: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value} s" for name, value in seconds.items())


def _figures(results: Results) -> str:
    lines = [
        "## What it measures",
        "",
        "AUC on test photographs and test families, neither ever seen in pre-training or tuning. Each cell: mean over",
        "families [95 % bootstrap interval: photographs drawn again, then crops inside them] / worst family.",
        "*tuned* is the pseudo-word alone, *fused* is what ships: the word with the pixel expert.",
        "",
        *_table(results["test"]),
        "",
        *(f"- *{name}*: {meaning}." for name, meaning in MEANING.items()),
        "",
        "Three photographs are few: the intervals say how the figure moves among these, not among all pictures.",
        "",
        "Mean AUC a family / a photograph, clean and blurred to match:",
        "",
        *(line for scorer in ("tuned", "fused") for line in _breakdown(scorer, results["test"][scorer])),
        "",
        "One more photograph, on which nothing was chosen:",
        "",
        *_table(results["final"]),
        "",
        *card_text.HISTORY,
        "",
    ]
    return "\n".join(lines)


def _table(readings: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    head = ["| scorer | " + " | ".join(CONDITIONS) + " |", "|---|" + "---|" * len(CONDITIONS)]
    return head + [
        f"| {scorer} | "
        + " | ".join(
            f"{row['mean']:.3f} [{row['low']:.2f}, {row['high']:.2f}] / {row['worst']:.3f}"
            for row in (conditions[name] for name in CONDITIONS)
        )
        + " |"
        for scorer, conditions in readings.items()
    ]


def _breakdown(scorer: str, readings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = []
    for name in ("clean", "blurred"):
        for kind in ("families", "photographs"):
            cells = ", ".join(f"{key} {value:.3f}" for key, value in readings[name][kind].items())
            rows.append(f"- {scorer}, {name}, {kind}: {cells}")
    return rows


def _honesty(results: Results) -> str:
    lines = [
        "## How far P(fake) can be taken at its word",
        "",
        "On test photographs and families: share right at P(fake) >= .5, and calibration error (ECE in 15 bins of",
        "equally many pictures), with 95 % intervals over crops. *before*: the word alone, calibrated on validation",
        f"photographs by families of tuning ({results['word']['calibration']}). *after*: what ships, calibrated on",
        f"validation photographs by families that no tuning saw ({results['prompt']['calibration']}).",
        "",
        "| condition | | real | fake | calibration error |",
        "|---|---|---|---|---|",
    ]
    for name, both in results["honesty"].items():
        for when, told in both.items():
            cells = " | ".join(_interval(told[kind]) for kind in ("real", "fake", "ece"))
            lines.append(f"| {name} | {when} | {cells} |")
    return "\n".join([*lines, ""])


def _interval(figure: Mapping[str, float] | None) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]" if figure else "none"


def _bars(results: Results) -> str:
    return "\n".join(
        [
            "## Bars",
            "",
            "| bar | wanted | found | |",
            "|---|---|---|---|",
            *(
                f"| {bar['name']} | {'<=' if bar['is_upper'] else '>='} {bar['wanted']:.2f} | {bar['found']:.3f} | "
                f"{_outcome(bar)} |"
                for bar in results["bars"]
            ),
            "",
        ]
    )


def _outcome(bar: Mapping[str, Any]) -> str:
    return "met" if bar["met"] else f"missed by {abs(bar['found'] - bar['wanted']):.3f}"


def _expert(prompt: Results) -> str:
    cost, validation = prompt["cost"], prompt["validation"]["fused"]
    small, large, backbone = (cost[name] / 1e6 for name in ("flops_128", "flops_224", "backbone_flops"))
    lines = [
        "## The pixel expert",
        "",
        f"{cost['parameters']:,} parameters on one native crop: {small:.1f} MFLOP at 128 pixels and {large:.0f} MFLOP",
        f"at 224, a multiply-add counted as two. The miniature itself takes {backbone:.0f} MFLOP, so here the expert",
        f"is no small addition: {small / backbone:.0%} of it.",
        "",
        f"Trained on {prompt['pictures']['train']:,} pictures, judged on {prompt['pictures']['val']:,}: validation",
        "photographs by families and random reconstructors that trained nothing. One unit of its logit adds",
        f"{prompt['weight']:.3g} to the margin; with it validation AUC is {validation['auc']:.3f} as the pictures are.",
        "",
        *(f"- {line}" for line in (*prompt["log"], *prompt["notes"])),
        "",
    ]
    return "\n".join(lines)


def _shortcuts(audits: Mapping[str, list[Mapping[str, Any]]]) -> str:
    features = list(dict.fromkeys(row["feature"] for rows in audits.values() for row in rows))
    cells = {name: {row["feature"]: row for row in rows} for name, rows in audits.items()}
    lines = [
        "## Shortcuts",
        "",
        "AUC of what should tell nothing, in whichever direction tells more, with 95 % intervals over crops; .5 is",
        "best, above .6 is flagged, as `modctl eval --shortcuts` does: there a figure may measure the data. A dash:",
        "the same in all pictures.",
        "",
        "| feature | " + " | ".join(audits) + " |",
        "|---|" + "---|" * len(audits),
        *(
            f"| {feature} | " + " | ".join(_shortcut(cells[name].get(feature)) for name in audits) + " |"
            for feature in features
        ),
        "",
        *_FLAGGED,
        "",
    ]
    return "\n".join(lines)


def _shortcut(row: Mapping[str, Any] | None) -> str:
    if row is None or row["auc"] is None:
        return "-"
    return f"{row['auc']:.3f} [{row['low']:.2f}, {row['high']:.2f}]{' flagged' if row['is_flagged'] else ''}"


def main() -> None:
    """Writes the card from the committed results."""
    results = json.loads(package.RESULTS_FILE.read_text(encoding="utf-8"))
    package.CARD_FILE.write_text(render(results), encoding="utf-8")


if __name__ == "__main__":
    main()
