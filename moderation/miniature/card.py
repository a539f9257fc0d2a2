"""Renders the data card from measured results; it holds no figure of its own.

python -m moderation.miniature.card      # writes DATA_CARD.md anew from results.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import moderation.miniature as package
from moderation.miniature import decoders, photographs
from moderation.miniature.condition import CONDITIONS, MEANING
from moderation.miniature.photographs import Split

Results = Mapping[str, Any]
_HISTORY = (
    "Two full builds were measured, so test and final photographs were read twice, not once. In the first, noise",
    "entered after the latents were enlarged; tuned it gave .825 clean (unet .513) and .872 on the final photograph.",
    "The decoders were changed on validation figures alone (nearest at .50 to .55), and this build had begun before",
    "the first one's test figures were out; with them came slightly fewer steps, and the best word is now chosen on",
    "every fourth validation pair. Nothing was changed after the test figures had been seen.",
)
_BORROWED = {Split.VALIDATION: "those of tune", Split.FINAL: "those of test"}
"""Whose families this prompt was chosen and read with, where the split's own came later."""


def render(results: Results) -> str:
    """The card's Markdown."""
    parts = [_head(results), _figures(results), _bars(results), _shortcuts(results), _data(), _limits(), _photographs()]
    return "\n".join(parts)


def _head(results: Results) -> str:
    backbone, seconds = results["backbone"], results["seconds"]
    stages = ", ".join(f"{name} {value} s" for name, value in seconds.items())
    return f"""# Data card of the miniature

A real `InstructBlipForConditionalGeneration` with {backbone["parameters"]:,} parameters
({backbone["bytes"] / 1e6:.2f} MB), pre-trained from nothing and then frozen; one pseudo-word tuned on it. It tells
whether a small picture went through a small learned decoder. **It says nothing about Midjourney, Stable Diffusion or
anything else in the wild**: for that, load real weights.

Everything here is made by `{results["command"]}`, seed {results["recipe"]["seed"]}, on {results["machine"]},
in {sum(seconds.values()) / 60:.0f} minutes ({stages}).
Backbone revision `{backbone["revision"][:16]}`, prompt `{results["prompt"]["sha256"][:16]}`; figures in `results.json`.
"""


def _figures(results: Results) -> str:
    lines = [
        "## What it measures",
        "",
        "AUC on test photographs and test families, neither ever seen in pre-training or tuning. Each cell: mean over",
        "families [95 % bootstrap interval: photographs drawn again, then crops inside them] / worst family.",
        "",
        *_table(results["test"]),
        "",
        *(f"- *{name}*: {meaning}." for name, meaning in MEANING.items()),
        "",
        "Three photographs are few: the intervals say how the figure moves among these, not among all pictures.",
        "",
        "Tuned, mean AUC a family / a photograph, clean and blurred to match:",
        "",
        *_breakdown(results["test"]["tuned"]),
        "",
        "One more photograph, on which nothing was chosen:",
        "",
        *_table(results["final"]),
        "",
        *_HISTORY,
        "",
        "Share right at P(fake) >= .5 with the shipped calibration (fitted on validation photographs):",
        "",
        "| condition | real | fake | calibration error |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row['real']:.3f} | {row['fake']:.3f} | {row['calibration error']:.3f} |"
            for name, row in results["accuracy"].items()
        ),
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


def _breakdown(tuned: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = []
    for name in ("clean", "blurred"):
        for kind in ("families", "photographs"):
            cells = ", ".join(f"{key} {value:.3f}" for key, value in tuned[name][kind].items())
            rows.append(f"- {name}, {kind}: {cells}")
    return rows


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


def _shortcuts(results: Results) -> str:
    names = list(results["shortcuts"])
    kinds = list(results["shortcuts"][names[0]])
    return "\n".join(
        [
            "## Shortcuts",
            "",
            "AUC of what should tell nothing, in whichever direction tells more; .5 is best.",
            "",
            "| shortcut | " + " | ".join(names) + " |",
            "|---|" + "---|" * len(names),
            *(
                f"| {kind} | " + " | ".join(f"{results['shortcuts'][name][kind]:.3f}" for name in names) + " |"
                for kind in kinds
            ),
            "",
        ]
    )


def _data() -> str:
    rows = []
    for split in Split:
        photos = ", ".join(photograph.name for photograph in photographs.of_split(split)) or "none"
        families = ", ".join(family.name for family in decoders.of_split(split))
        if split in _BORROWED:
            families = f"{_BORROWED[split]}; its own, which came later: {families}"
        rows.append(f"| {split} | {photos} | {families} |")
    return "\n".join(
        [
            "## Pictures and splits",
            "",
            "A real picture is a crop of a photograph, shrunk by a random factor of .5 to .9, cut to 128 x 128 pixels.",
            "A fake is such a crop passed through a small autoencoder and sharpened to about the crop's sharpness,",
            "because blur alone would give these small decoders away. Blur, noise, scaling, sharpening and JPEG of a",
            "photograph stay real. Both classes share crops, operations, sizes and encoder. All decoders learn from",
            "pre-training photographs and drawings; pre-training also sees dead-leaves drawings. No question of the",
            "pre-training names decoder traces; the vision tower and a head on the queries learn to carry them.",
            "",
            "| split | photographs | decoder families |",
            "|---|---|---|",
            *rows,
            "",
            "Pre-training shares no way of enlarging latents with tuning or test. Two test families, fsq8 and unet,",
            "enlarge as the tuning family nearest does and differ in the rest: latents quantised at an eighth of the",
            "side, and a one-step denoiser with skips.",
            "",
            "`python -m moderation.miniature.datasets` writes such pictures to folders, for `modctl tune` and `eval`.",
            "There validation has families of its own, which no tuning sees, and training has forty reconstructors of",
            "random architecture besides. All of these were designed when the test families' figures above were known:",
            "that skips hide from the pseudo-word is what made validation get a denoiser with skips, of another kind.",
            "",
        ]
    )


def _limits() -> str:
    return """## What it does not measure

- Generators of any size, whole generated scenes, inpainting, people, text: no such picture is in here.
- A false-positive rate: the crops come from a dozen photographs and overlap.
- Pictures much larger than 128 pixels: the detector shrinks them, and the traces go with it.
- Robustness beyond the conditions above: screenshots, filters and repeated compression were not tried.
"""


def _photographs() -> str:
    return "\n".join(
        [
            "## Photographs, licences, attribution",
            "",
            "All lie inside the scikit-image and scikit-learn wheels; licences as their documentation states them.",
            "Left out because none is stated there: moon, page, motorcycle, lfw_subset (faces).",
            "",
            "| photograph | split | licence | attribution | source |",
            "|---|---|---|---|---|",
            *_photograph_rows(photographs.PHOTOGRAPHS),
            "",
            "The CC BY 2.0 photographs (https://creativecommons.org/licenses/by/2.0/) were cropped, shrunk and, where",
            "the manifest says fake, altered by a decoder.",
            "",
        ]
    )


def _photograph_rows(listed: Sequence[photographs.Photograph]) -> list[str]:
    return [f"| {p.name} | {p.split} | {p.licence} | {p.attribution} | {p.source} |" for p in listed]


def main() -> None:
    """Writes the card from the committed results."""
    results = json.loads(package.RESULTS_FILE.read_text(encoding="utf-8"))
    package.CARD_FILE.write_text(render(results), encoding="utf-8")


if __name__ == "__main__":
    main()
